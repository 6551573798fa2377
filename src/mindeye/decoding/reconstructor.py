"""From predicted embeddings to images: sample, start from the low level, draw, pick by the brain.

Axes: S stimuli, n candidates, K tokens, D width, C H W.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import Tensor

from mindeye.config import ReconstructConfig
from mindeye.config.settings import preset_content, run_config
from mindeye.data.images import to_images, to_pictures
from mindeye.decoding.estimator import flat_fields
from mindeye.decoding.low_level import LowLevelDecoder
from mindeye.decoding.prediction import Prediction
from mindeye.decoding.spaces import TargetSpaces
from mindeye.errors import ConfigError
from mindeye.generation.generators import Generator, load_generator
from mindeye.generation.reconstruct import (
    Choice,
    Reconstructions,
    blend,
    candidate_seeds,
    draw_batches,
    pick_streamed,
)

PRIOR_BATCH = 128
"""Samples that `sample_prior` draws at once."""
SAMPLED_AT_ONCE = 2048
"""About how many embeddings are held between the prior and the generator."""

Passing = Callable[[str, Iterable[Tensor]], Iterable[Tensor]]


class DrawnImages(NamedTuple):
    """Images of one system.

    Attributes
    ----------
    pictures
        Images picked among the candidates, (S, H, W, 3) uint8.
    pick
        Index of the candidate that was picked, (S,).
    scores
        Cosine of every candidate's embedding to the brain's, (S, n).
    """

    pictures: NDArray[np.uint8]
    pick: NDArray[np.int64]
    scores: NDArray[np.float32]


class Reconstructor(BaseEstimator):  # type: ignore[misc]
    """Images of predicted embeddings, by a generator that takes such embeddings.

    Parameters
    ----------
    generator
        Generator by its name (``zoo``, ``pixels``, a model folder, a fetched model, an entry of
        `GENERATORS`) or a generator object.
    low_level
        Fitted low-level decoder whose latents the drawing starts from; None starts from noise.
    preset
        Preset or YAML file that gives every option that `config` leaves open.
    config
        Options of the drawing, as in a preset's section `reconstruct`:
        ``{"candidates": 4, "steps": 20}``.
    seed
        Seed of noise.
    device
        Device to draw on.
    weights
        Folder of published models; empty for the usual places.

    Examples
    --------
    >>> import mindeye
    >>> from mindeye.data.simulation import SimulateConfig
    >>> small = SimulateConfig(train=24, test=3, repeats=2, sessions=2, voxels=60)
    >>> subject = mindeye.simulate_subject(small, 0)
    >>> seen = mindeye.RidgeDecoder().fit(subject).predict(subject)
    >>> mindeye.Reconstructor(config={"candidates": 1, "steps": 2}).draw(seen).shape
    (3, 64, 64, 3)
    """

    def __init__(
        self,
        generator: str | Generator = "zoo",
        *,
        low_level: LowLevelDecoder | None = None,
        preset: str = "demo",
        config: Mapping[str, Any] | None = None,
        seed: int = 0,
        device: str = "auto",
        weights: str = "",
    ) -> None:
        self.generator = generator
        self.low_level = low_level
        self.preset = preset
        self.config = config
        self.seed = seed
        self.device = device
        self.weights = weights

    def draw(
        self, prediction: Prediction, *, start: NDArray[np.floating] | None = None
    ) -> NDArray[np.uint8]:
        """Draw one image a stimulus.

        Parameters
        ----------
        prediction
            Predicted embeddings of S stimuli, from a fitted decoder.
        start
            Latents (S, C, h, w) to start from, in place of those that `low_level` predicts.

        Returns
        -------
        ndarray
            Images (S, H, W, 3) uint8.

        Raises
        ------
        ConfigError
            If the generator does not take the decoder's embeddings, or the prediction has no
            decoder to sample from.
        """
        if prediction.decoder is None:
            raise ConfigError("this prediction has no decoder to sample from; use decoder.predict")
        options, spaces = self._options(), prediction.decoder.spaces_
        generator = self._generator(prediction, options, spaces)
        low = self._start(prediction, start) if generator.uses_start else None
        name = "high" if low is None else "both"
        images = draw_systems(
            prediction, generator, spaces, options, systems=[name], low=low, seed=self.seed
        )[name]
        if options.blend and low is not None:
            return blended(images.pictures, low, spaces, options.blend)
        return images.pictures

    def _start(self, prediction: Prediction, start: NDArray[np.floating] | None) -> Tensor | None:
        if start is not None:
            return torch.from_numpy(np.asarray(start, dtype=np.float32))
        if self.low_level is None:
            return None
        if prediction.betas is None:
            raise ConfigError("this prediction has no betas; give the low level's latents as start")
        return torch.from_numpy(self.low_level.predict(prediction.betas))

    def _options(self) -> ReconstructConfig:
        fields = {f"reconstruct.{name}": value for name, value in (self.config or {}).items()}
        return run_config({**flat_fields(preset_content(self.preset)), **fields}).reconstruct

    def _generator(
        self, prediction: Prediction, options: ReconstructConfig, spaces: TargetSpaces
    ) -> Generator:
        if not isinstance(self.generator, str):
            return self.generator
        assert prediction.decoder is not None
        generator = generator_of(
            self.generator, spaces, options, prediction.decoder.reference_images()
        )
        if generator is None:
            raise ConfigError("generator is none, so there is nothing to draw with; give a name")
        return generator


def generator_of(
    name: str, spaces: TargetSpaces, options: ReconstructConfig, images: Tensor | None
) -> Generator | None:
    """Load a generator for the embeddings of some spaces, None for the name ``none``."""
    return load_generator(
        name,
        spaces.encoder,
        spaces.vae,
        config=options,
        device=spaces.device,
        weights=spaces.weights,
        pictures=images,
    )


def draw_systems(
    prediction: Prediction,
    generator: Generator,
    spaces: TargetSpaces,
    options: ReconstructConfig,
    *,
    systems: Sequence[str],
    low: Tensor | None,
    seed: int,
    passing: Passing = lambda name, batches: batches,
) -> dict[str, DrawnImages]:
    """Draw `high` (from noise) and `both` (from the low level) of the same samples and noise.

    Parameters
    ----------
    prediction
        Predicted embeddings of S stimuli.
    generator
        Generator of images.
    spaces
        Encoder that picks among candidates.
    options
        Candidates, pick, batch size.
    systems
        Names out of ``high`` and ``both``.
    low
        Latents (S, C, h, w) that `both` starts from.
    seed
        Seed of samples and noise.
    passing
        Called with a system's name and its candidate images, stimulus-major, in batches; yields
        them on. A run writes them to disk so.
    """
    assert prediction.decoder is not None
    draws = 1 if options.pick == "first" else options.candidates
    seeds = candidate_seeds(seed, len(prediction), draws, purpose=1)
    choice = Choice(spaces.encoder, draws, options.pick)
    parts_of: dict[str, list[DrawnImages]] = {name: [] for name in systems}
    for group in _groups(len(prediction), draws, options.batch_size):
        part = seeds[group.start * draws : group.stop * draws]
        samples = prediction.decoder.sample(prediction[group], part)
        brain = torch.from_numpy(np.asarray(prediction.retrieval[group]))
        for name in systems:
            start = None
            if name == "both" and low is not None:
                start = low[group].repeat_interleave(draws, dim=0)
            batches = draw_batches(
                generator,
                samples,
                seeds=part,
                start=start,
                batch_size=options.batch_size,
                name=name,
            )
            picked = pick_streamed(passing(name, batches), brain, choice)
            parts_of[name] += [_as_pictures(one) for one in picked]
    return {name: _joined(parts) for name, parts in parts_of.items()}


def blended(
    pictures: NDArray[np.uint8], low: Tensor, spaces: TargetSpaces, share: float
) -> NDArray[np.uint8]:
    """Mix low-level images into images (S, H, W, 3), `share` of the result."""
    parts = (slice(i, i + 64) for i in range(0, len(pictures), 64))
    return np.concatenate(
        [
            to_pictures(blend(to_images(pictures[part]), spaces.decode(low[part]), share))
            for part in parts
        ]
    )


def _as_pictures(result: Reconstructions) -> DrawnImages:
    return DrawnImages(to_pictures(result.images), result.pick.numpy(), result.scores.numpy())


def _joined(parts: list[DrawnImages]) -> DrawnImages:
    return DrawnImages(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _groups(stimuli: int, draws: int, batch_size: int) -> Iterator[slice]:
    """Yield slices of stimuli of which embeddings are sampled at once.

    At full size all samples of a test set are 12 GB. The groups end where batches of the prior and
    of the generator end, so that they change no batch.
    """
    whole = math.lcm(draws, batch_size, PRIOR_BATCH)
    size = max(whole, SAMPLED_AT_ONCE // whole * whole) // draws
    for first in range(0, stimuli, size):
        yield slice(first, min(first + size, stimuli))
