"""The low-level decoder: betas to latents of an image autoencoder (paper section 3.4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.config import LowConfig
from mindeye.data.images import resize, to_images, to_pictures
from mindeye.data.subject import Subject
from mindeye.decoding.fitting import fit_low, load_low
from mindeye.decoding.network import NetworkDecoder
from mindeye.decoding.prediction import Floats
from mindeye.decoding.spaces import EmbeddedSubject
from mindeye.generation.predict import predict_latents
from mindeye.metrics.pixels import pixcorr
from mindeye.models.lowlevel import LowLevel
from mindeye.models.pipelines import describe_model, read_description, save_model
from mindeye.models.sizes import Sizes
from mindeye.processes import Processes


class LowLevelDecoder(NetworkDecoder[Floats]):
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
    model_ : LowLevel
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
    model_: LowLevel
    section_: LowConfig

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
        if isinstance(betas, Subject):
            images = betas.pictures_of(betas.splits["test"])
        truth = to_images(np.asarray(images))
        prediction = resize(to_images(self.draw(betas)), truth.shape[-1])
        return float(pixcorr(prediction, truth, size=None).mean())

    def _predict(self, betas: Floats, ids: list[str]) -> Floats:
        device = next(self.model_.parameters()).device
        found = predict_latents(self.model_, torch.from_numpy(betas), device=device)
        return np.asarray(found.numpy(), dtype=np.float32)

    def _embed(self, data: EmbeddedSubject, config: LowConfig, processes: Processes) -> list[str]:
        data.embed(low=config, processes=processes)
        return [m.fingerprint for m in (data.spaces.vae, data.spaces.maps_encoder)]

    def _train(
        self,
        data: EmbeddedSubject,
        config: LowConfig,
        folder: Path,
        *,
        key: str,
        processes: Processes,
    ) -> LowLevel:
        return fit_low(data, config, folder, key=key, processes=processes)

    def _load(self, folder: Path, sizes: Sizes) -> LowLevel:
        maps = None
        if not self.section_.weights:
            kept = read_description(folder).get("maps")
            maps = (kept[0], kept[1]) if kept else None
        return load_low(folder, sizes, self.section_, maps, self.spaces_.device)

    def _write(self, folder: Path) -> None:
        spaces, low = self.spaces_, self.section_
        sizes = spaces.sizes(self.fitted_.voxels)
        save_model(
            self.model_, folder, describe_model("low", sizes, low, maps=spaces.maps_shape(low))
        )
