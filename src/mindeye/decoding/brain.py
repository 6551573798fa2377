"""The high-level decoder: betas to embeddings, with a diffusion prior to sample from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.config import HighConfig, RunConfig
from mindeye.config.fingerprints import config_hash
from mindeye.data.subject import Subject
from mindeye.decoding.estimator import Estimator
from mindeye.decoding.fitting import fit_high, load_high
from mindeye.decoding.prediction import Prediction
from mindeye.decoding.spaces import EmbeddedSubject
from mindeye.errors import ConfigError
from mindeye.generation.predict import embed_brains, sample_prior
from mindeye.models.pipelines import (
    HighLevel,
    describe_model,
    read_description,
    save_model,
)
from mindeye.models.sizes import Sizes
from mindeye.processes import Processes, join_processes
from mindeye.targets.encoders import Encoder


class BrainDecoder(Estimator):
    """MindEye's high-level decoder (paper sections 3.1 to 3.3): betas to image embeddings.

    A residual MLP with a contrastive projector, for retrieval, and a diffusion prior on the same
    backbone, for drawing.

    Parameters
    ----------
    encoder
        Image encoder whose embeddings are decoded: a name (``zoo``, a model folder, a fetched
        model, an entry of `ENCODERS`) or an encoder object.
    preset
        Preset or YAML file that gives every hyper-parameter that `config` leaves open.
    config
        Hyper-parameters of the pipeline, nested as in a preset's section `high`, for example
        ``{"optim": {"epochs": 10}, "decoder": {"width": 512}}``; the key `targets` holds the
        preset's section of that name.
    seed
        Seed of initial weights, batches, dropout and noise.
    device
        Device to train and predict on; ``auto`` takes a CUDA device where there is one.
    weights
        Folder of published models, as `mindeye fetch models` writes it; empty for the usual places.

    Attributes
    ----------
    model_ : HighLevel
        The trained network.
    spaces_ : TargetSpaces
        The encoder that it was trained towards.

    Examples
    --------
    >>> import mindeye
    >>> from mindeye.data.simulation import SimulateConfig
    >>> small = SimulateConfig(train=24, test=6, repeats=2, sessions=2, voxels=60)
    >>> subject = mindeye.simulate_subject(small, 0)
    >>> tiny = {"decoder": {"width": 16}, "optim": {"epochs": 1, "batch_size": 12}}
    >>> decoder = mindeye.BrainDecoder(config=tiny).fit(subject)
    >>> decoder.predict(subject.betas_of("test")).retrieval.shape
    (6, 17, 64)
    """

    model_: HighLevel
    high_: HighConfig

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
        """Embed the stimuli and train on the training split, with a progress bar.

        Parameters
        ----------
        data
            A subject, the folder of one, or betas (N, V) of single trials.
        stimuli, trials
            Where `data` are betas: images and trials, as in `Subject.from_arrays`.
        folder
            Folder for embeddings and checkpoints: the same call with the same folder goes on where
            it was cut off. None keeps them in a temporary folder.

        Returns
        -------
        BrainDecoder
            The estimator itself.

        Raises
        ------
        ConfigError
            If a hyper-parameter is unknown or out of bounds.
        DataError
            If the data are not sound, or too few for a training.
        """
        config = self._run_config()
        subject = self._subject(data, stimuli, trials)
        processes = join_processes(self.device)
        with self._embedded(subject, config, folder) as (embedded, home):
            embedded.embed(latents=False, processes=processes)
            encoder = embedded.spaces.encoder.fingerprint
            key = config_hash("high", config.high, encoder, subject.fingerprint, self.seed)
            self.fit_embedded(embedded, config.high, home / "high", key=key, processes=processes)
        return self

    def fit_embedded(
        self,
        data: EmbeddedSubject,
        config: HighConfig,
        folder: Path,
        *,
        key: str,
        processes: Processes,
    ) -> Self:
        """Train on a subject whose stimuli are embedded; a run's stage `high` makes this call."""
        self.model_ = fit_high(data, config, folder, key=key, processes=processes)
        self.spaces_, self.high_ = data.spaces, config
        self._keep(data.subject)
        return self

    def predict(
        self,
        betas: Subject | NDArray[np.floating] | Tensor,
        *,
        ids: Sequence[str] | None = None,
        session: int | NDArray[np.int64] | None = None,
    ) -> Prediction:
        """Predict embeddings from betas.

        Parameters
        ----------
        betas
            Betas (S, V), averaged over the repeats of each stimulus and z-scored as in training
            (`subject.betas_of("test")`); or a subject, whose test stimuli are predicted.
        ids
            Stimulus ids, one a row; their numbers by default.
        session
            Session that *raw* betas were measured in, one number or one a row: they are z-scored
            by the scaler that was fitted on the training trials. None takes betas as they are.

        Returns
        -------
        Prediction
            `tokens` of the backbone and `retrieval` of the projector, both (S, K, D).
        """
        values, names = self._betas(betas, ids, session)
        device = next(self.model_.parameters()).device
        found = embed_brains(self.model_, torch.from_numpy(values), device=device)
        backbone, contrastive = found.backbone.numpy(), found.contrastive.numpy()
        return Prediction(backbone, contrastive, names, values, self)

    def sample(self, prediction: Prediction, seeds: list[int]) -> Tensor:
        """Return embeddings (S * n, K, D) to be drawn: prior samples, or one estimate repeated.

        Parameters
        ----------
        prediction
            Predicted embeddings of S stimuli.
        seeds
            One a sample, n for every stimulus, stimulus-major.
        """
        self._check_fitted()
        model, draws = self.model_, len(seeds) // len(prediction)
        device = next(model.parameters()).device
        backbone = torch.from_numpy(np.asarray(prediction.tokens))
        if model.prior is None:
            brain = torch.from_numpy(np.asarray(prediction.retrieval))
            with torch.inference_mode():
                estimate = model.point_estimate(backbone.to(device), brain.to(device))
            return estimate.cpu().repeat_interleave(draws, dim=0)
        return sample_prior(
            model,
            backbone.repeat_interleave(draws, dim=0),
            self.high_.prior,
            seeds=seeds,
            device=device,
            precision=self.high_.optim.precision,
        )

    def _write(self, folder: Path) -> None:
        sizes = self.spaces_.sizes(self.fitted_.voxels)
        save_model(self.model_, folder, describe_model("high", sizes, self.high_))

    def _read(self, folder: Path) -> None:
        self.high_ = self._run_config().high
        self.model_ = load_high(folder, sizes_of(folder), self.high_, self.spaces_.device)

    @classmethod
    def of_run(cls, data: EmbeddedSubject, config: HighConfig, folder: Path) -> Self:
        """Open what a run's stage `high` has trained on an embedded subject."""
        made = cls(data.spaces.config.encoder, seed=data.seed)
        made.spaces_, made.high_ = data.spaces, config
        sizes = data.spaces.sizes(data.subject.betas.shape[1])
        made.model_ = load_high(folder, sizes, config, data.spaces.device)
        made._keep(data.subject)
        return made

    def _open_run(self, config: RunConfig, folder: Path, sizes: Sizes | None) -> Sizes:
        if not config.high_enabled:
            raise ConfigError(f"{folder} trained no high level (high_enabled=false)")
        sizes = sizes or sizes_of(folder / "high")
        self.high_ = config.high
        self.model_ = load_high(folder / "high", sizes, config.high, self.spaces_.device)
        return sizes


def sizes_of(folder: Path) -> Sizes:
    """Return the sizes that a model folder was written with."""
    sizes = read_description(folder)["sizes"]
    return Sizes(sizes["voxels"], sizes["tokens"], sizes["width"], tuple(sizes["latents"]))
