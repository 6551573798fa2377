"""The low-level decoder: betas to latents of an image autoencoder (paper section 3.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.config import LowConfig, RunConfig
from mindeye.config.fingerprints import config_hash
from mindeye.data.images import resize, to_images, to_pictures
from mindeye.data.subject import Subject
from mindeye.decoding.brain import sizes_of
from mindeye.decoding.estimator import Estimator
from mindeye.decoding.fitting import fit_low, load_low
from mindeye.decoding.prediction import Floats
from mindeye.decoding.spaces import EmbeddedSubject
from mindeye.errors import ConfigError
from mindeye.generation.predict import predict_latents
from mindeye.models.lowlevel import LowLevel as LowLevelNetwork
from mindeye.models.pipelines import describe_model, read_description, save_model
from mindeye.models.sizes import Sizes
from mindeye.processes import Processes, join_processes
from mindeye.targets.encoders import Encoder


class LowLevelDecoder(Estimator):
    """Betas to autoencoder latents, from which drawing starts or which are decoded as they are.

    Parameters
    ----------
    encoder
        Image encoder whose maps the network is contrasted with in training: a name or an object.
    preset
        Preset or YAML file that gives every hyper-parameter that `config` leaves open.
    config
        Hyper-parameters of the pipeline, nested as in a preset's section `low`; the key `targets`
        holds the preset's section of that name (`{"targets": {"vae": ...}}`).
    seed
        Seed of initial weights, batches and dropout.
    device
        Device to train and predict on; ``auto`` takes a CUDA device where there is one.
    weights
        Folder of published models; empty for the usual places.

    Attributes
    ----------
    model_ : LowLevelNetwork
        The trained network.

    Examples
    --------
    >>> import mindeye
    >>> from mindeye.data.simulation import SimulateConfig
    >>> small = SimulateConfig(train=24, test=6, repeats=2, sessions=2, voxels=60)
    >>> subject = mindeye.simulate_subject(small, 0)
    >>> tiny = {"width": 16, "contrastive_weight": 0, "optim": {"epochs": 1, "batch_size": 12}}
    >>> low = mindeye.LowLevelDecoder(config=tiny).fit(subject)
    >>> low.draw(subject.betas_of("test")).shape
    (6, 64, 64, 3)
    """

    _section = "low"
    model_: LowLevelNetwork
    low_: LowConfig

    def __init__(
        self,
        encoder: str | Encoder = "zoo",
        *,
        preset: str = "demo",
        config: Mapping[str, Any] | None = None,
        seed: int = 0,
        device: str = "auto",
        weights: str = "",
    ) -> None:
        self.encoder = encoder
        self.preset = preset
        self.config = config
        self.seed = seed
        self.device = device
        self.weights = weights

    def fit(
        self,
        data: Subject | str | Path | NDArray[np.floating],
        stimuli: Any = None,
        trials: Any = None,
        *,
        folder: str | Path | None = None,
    ) -> Self:
        """Embed the stimuli and train on the training split; see `BrainDecoder.fit`."""
        config = self._run_config()
        subject = self._subject(data, stimuli, trials)
        processes = join_processes(self.device)
        with self._embedded(subject, config, folder) as (embedded, home):
            embedded.embed(low=config.low, processes=processes)
            models = [m.fingerprint for m in (embedded.spaces.vae, embedded.spaces.maps_encoder)]
            key = config_hash("low", config.low, models, subject.fingerprint, self.seed)
            self.fit_embedded(embedded, config.low, home / "low", key=key, processes=processes)
        return self

    def fit_embedded(
        self,
        data: EmbeddedSubject,
        config: LowConfig,
        folder: Path,
        *,
        key: str,
        processes: Processes,
    ) -> Self:
        """Train on a subject whose stimuli are embedded; a run's stage `low` makes this call."""
        self.model_ = fit_low(data, config, folder, key=key, processes=processes)
        self.spaces_, self.low_ = data.spaces, config
        self._keep(data.subject)
        return self

    def predict(  # type: ignore[override]  # latents, not embeddings
        self,
        betas: Subject | NDArray[np.floating] | Tensor,
        *,
        ids: Sequence[str] | None = None,
        session: int | NDArray[np.int64] | None = None,
    ) -> Floats:
        """Predict latents (S, C, h, w) of betas (S, V); parameters as `BrainDecoder.predict`."""
        values, _ = self._betas(betas, ids, session)
        device = next(self.model_.parameters()).device
        found = predict_latents(self.model_, torch.from_numpy(values), device=device)
        return np.asarray(found.numpy(), dtype=np.float32)

    def draw(
        self,
        betas: Subject | NDArray[np.floating] | Tensor,
        *,
        session: int | NDArray[np.int64] | None = None,
    ) -> NDArray[np.uint8]:
        """Return the low-level images (S, H, W, 3) of betas, decoded by the autoencoder."""
        latents = torch.from_numpy(self.predict(betas, session=session))
        return to_pictures(self.spaces_.decode(latents))

    def score(self, betas: Subject | NDArray[np.floating] | Tensor, images: Any = None) -> float:
        """Return the mean correlation of low-level images with those seen (PixCorr).

        Parameters
        ----------
        betas
            A subject, whose test stimuli are scored, or betas (S, V).
        images
            The stimuli, (S, H, W, 3) uint8, where betas are an array.
        """
        from mindeye.metrics.pixels import pixcorr

        if isinstance(betas, Subject):
            images = betas.pictures_of(betas.splits["test"])
        seen = to_images(np.asarray(images))
        drawn = resize(to_images(self.draw(betas)), seen.shape[-1])
        return float(pixcorr(drawn, seen, size=None).mean())

    def _write(self, folder: Path) -> None:
        spaces = self.spaces_
        sizes = spaces.sizes(self.fitted_.voxels)
        description = describe_model("low", sizes, self.low_, maps=spaces.maps_shape(self.low_))
        save_model(self.model_, folder, description)

    def _read(self, folder: Path) -> None:
        self.low_ = self._run_config().low
        self.model_ = self._loaded(folder, sizes_of(folder))

    def _loaded(self, folder: Path, sizes: Sizes) -> LowLevelNetwork:
        maps = None
        if not self.low_.weights:
            kept = read_description(folder).get("maps")
            maps = (kept[0], kept[1]) if kept else None
        return load_low(folder, sizes, self.low_, maps, self.spaces_.device)

    @classmethod
    def of_run(cls, data: EmbeddedSubject, config: LowConfig, folder: Path) -> Self:
        """Open what a run's stage `low` has trained on an embedded subject."""
        made = cls(data.spaces.config.encoder, seed=data.seed)
        made.spaces_, made.low_ = data.spaces, config
        made.model_ = made._loaded(folder, data.spaces.sizes(data.subject.betas.shape[1]))
        made._keep(data.subject)
        return made

    def _open_run(self, config: RunConfig, folder: Path, sizes: Sizes | None) -> Sizes:
        if not config.low_enabled:
            raise ConfigError(f"{folder} trained no low level (low_enabled=false)")
        sizes = sizes or sizes_of(folder / "low")
        self.low_ = config.low
        self.model_ = self._loaded(folder / "low", sizes)
        return sizes
