"""The high-level decoder: betas to embeddings, with a diffusion prior to sample from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mindeye.config import HighConfig
from mindeye.decoding.fitting import fit_high, load_high
from mindeye.decoding.network import NetworkDecoder
from mindeye.decoding.prediction import Floats, Prediction
from mindeye.decoding.spaces import EmbeddedSubject
from mindeye.generation.predict import embed_brains, sample_prior
from mindeye.models.pipelines import HighLevel, describe_model, save_model
from mindeye.models.sizes import Sizes
from mindeye.processes import Processes


class BrainDecoder(NetworkDecoder[Prediction]):
    """MindEye's high-level decoder (paper sections 3.1 to 3.3): betas to image embeddings.

    A residual MLP with a contrastive projector, for retrieval, and a diffusion prior on the same
    backbone, for drawing. The retrieval tokens are the projector's, the tokens the backbone's.

    Parameters
    ----------
    encoder
        Image encoder whose embeddings are decoded: a name (``zoo``, a model folder, a fetched
        model, an entry of `ENCODERS`) or an encoder object.
    preset
        Preset or YAML file that gives every hyper-parameter that `config` leaves open.
    config
        Hyper-parameters, nested as in a preset's section `high`, for example
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
        Trained network.
    spaces_ : TargetSpaces
        Encoder that it was trained towards.

    Examples
    --------
    >>> import mindeye
    >>> from mindeye.data.simulation import SimulateConfig
    >>> small = SimulateConfig(train=24, test=6, repeats=2, sessions=2, voxels=60)
    >>> subject = mindeye.simulate_subject(small, 0)
    >>> tiny = {"decoder": {"width": 16}, "optim": {"epochs": 1, "batch_size": 12}}
    >>> decoder = mindeye.BrainDecoder(config=tiny).fit(subject)
    >>> decoder.predict(subject.betas_of("test")).retrieval.shape
    (6, 65, 64)
    """

    model_: HighLevel
    section_: HighConfig

    def sample(self, prediction: Prediction, seeds: list[int]) -> Tensor:
        """Return embeddings (S * n, K, D) to be drawn: prior samples, or one estimate repeated.

        Parameters
        ----------
        prediction
            Predicted embeddings of S stimuli.
        seeds
            Seeds of the samples, n for every stimulus, stimulus-major.
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
            self.section_.prior,
            seeds=seeds,
            device=device,
            precision=self.section_.optim.precision,
        )

    def _predict(self, betas: Floats, ids: list[str]) -> Prediction:
        device = next(self.model_.parameters()).device
        found = embed_brains(self.model_, torch.from_numpy(betas), device=device)
        return Prediction(found.backbone.numpy(), found.contrastive.numpy(), ids, betas, self)

    def _embed(self, data: EmbeddedSubject, config: HighConfig, processes: Processes) -> list[str]:
        data.embed(latents=False, processes=processes)
        return [data.spaces.encoder.fingerprint]

    def _train(
        self,
        data: EmbeddedSubject,
        config: HighConfig,
        folder: Path,
        *,
        key: str,
        processes: Processes,
    ) -> HighLevel:
        return fit_high(data, config, folder, key=key, processes=processes)

    def _load(self, folder: Path, sizes: Sizes) -> HighLevel:
        return load_high(folder, sizes, self.section_, self.spaces_.device)

    def _write(self, folder: Path) -> None:
        sizes = self.spaces_.sizes(self.fitted_.voxels)
        save_model(self.model_, folder, describe_model("high", sizes, self.section_))
