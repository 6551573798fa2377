"""Stages that use what was learned: brain embeddings of the test stimuli, and pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.files import write_array, write_json
from mindeye.generation.generators import Generator
from mindeye.generation.predict import embed_brains, predict_latents, sample_prior
from mindeye.generation.reconstruct import (
    Choice,
    Reconstructions,
    blend,
    candidate_seeds,
    draw_batches,
    pick_streamed,
)
from mindeye.models.pipelines import HighLevel
from mindeye.runs.appending import Append, appended_array
from mindeye.runs.drawing_baselines import decode_latents, draw_baselines
from mindeye.runs.embedding import generator_of
from mindeye.runs.learning import load_high, load_low
from mindeye.runs.workspace import Workspace
from mindeye.targets.images import to_images, to_pictures

PRIOR_BATCH = 128
"""Samples that `sample_prior` draws at once."""
SAMPLED_AT_ONCE = 2048
"""About how many embeddings are held between the prior and the generator."""


def predict(work: Workspace) -> None:
    """Write brain embeddings and low-level latents of all test stimuli."""
    folder = work.folder / "predict"
    betas = work.mean_betas(work.test_ids)
    if work.config.high_enabled:
        brains = embed_brains(load_high(work), betas, device=work.device)
        write_array(folder / "backbone.npy", brains.backbone.numpy())
        write_array(folder / "contrastive.npy", brains.contrastive.numpy())
    if work.config.low_enabled:
        latents = predict_latents(load_low(work), betas, device=work.device)
        write_array(folder / "latents.npy", latents.numpy())
    write_json(folder / "stimulus_ids.json", work.test_ids)


def predicted(work: Workspace, name: str) -> Tensor:
    """Open a prediction of all test stimuli: backbone, contrastive or latents."""
    return torch.from_numpy(np.load(work.folder / "predict" / f"{name}.npy"))


def reconstruct(work: Workspace) -> None:
    """Draw the test stimuli: low, high, both, ridge, the mean training picture and ceilings."""
    folder = work.folder / "reconstruct"
    count = len(work.drawn_ids)
    low = None
    if work.config.low_enabled:
        low = predicted(work, "latents")[:count]
        write_array(folder / "low.npy", to_pictures(decode_latents(work, low)))
    generator = generator_of(work)
    if generator is not None and work.config.high_enabled:
        _draw_high(work, generator, low)
    draw_baselines(work, generator)
    write_json(folder / "stimulus_ids.json", work.drawn_ids)


def _draw_high(work: Workspace, generator: Generator, low: Tensor | None) -> None:
    """Draw `high` and `both` from the same prior samples and noise; the brain picks."""
    config = work.config.reconstruct
    draws = 1 if config.pick == "first" else config.candidates
    seeds = candidate_seeds(work.config.seed, len(work.drawn_ids), draws, purpose=1)
    brain, backbone = (
        predicted(work, n)[: len(work.drawn_ids)] for n in ("contrastive", "backbone")
    )
    model, choice = load_high(work), Choice(work.encoder, draws, config.pick)
    systems = ["high", "both"] if low is not None and generator.uses_start else ["high"]
    found: dict[str, list[_Picked]] = {name: [] for name in systems}
    with ExitStack() as stack:
        kept = _Kept(work, stack, draws)
        for group in _groups(len(brain), draws, config.batch_size):
            own = seeds[group.start * draws : group.stop * draws]
            samples = sample_embeddings(work, model, backbone[group], brain[group], own)
            for name in systems:
                start = None
                if name == "both" and low is not None:
                    start = low[group].repeat_interleave(draws, dim=0)
                batches = draw_batches(
                    generator,
                    samples,
                    seeds=own,
                    start=start,
                    batch_size=config.batch_size,
                    name=name,
                )
                picked = pick_streamed(kept.passing(name, batches), brain[group], choice)
                found[name] += [_Picked.of(part) for part in picked]
    for name, parts in found.items():
        _write(work, name, parts)
    if config.blend and low is not None and "both" in found:
        _blend(work, low, config.blend)


class _Kept:
    """Writes candidates to disk while they go by: `NAME_candidates.npy`, (S, n, H, W, 3) uint8."""

    def __init__(self, work: Workspace, stack: ExitStack, draws: int) -> None:
        self.work, self.stack, self.draws = work, stack, draws
        self.wanted = draws > 1 and work.config.reconstruct.keep_candidates
        self.files: dict[str, Append] = {}

    def passing(self, name: str, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield images (n, 3, H, W), stimulus-major, as they come."""
        for batch in batches:
            if self.wanted:
                pictures = to_pictures(batch)
                if name not in self.files:
                    self.files[name] = self._opened(name, pictures.shape[1:])
                self.files[name](pictures)
            yield batch

    def _opened(self, name: str, shape: tuple[int, ...]) -> Append:
        path = self.work.folder / "reconstruct" / f"{name}_candidates.npy"
        whole = (len(self.work.drawn_ids), self.draws, *shape)
        return self.stack.enter_context(appended_array(path, whole, np.uint8))


class _Picked(NamedTuple):
    """Picked pictures (S, H, W, 3), 0..255, with picks (S,) and scores (S, n)."""

    pictures: NDArray[np.uint8]
    pick: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def of(cls, found: Reconstructions) -> _Picked:
        """Turn images into pictures, a quarter of the memory."""
        return cls(to_pictures(found.images), found.pick.numpy(), found.scores.numpy())


def _groups(stimuli: int, draws: int, batch_size: int) -> Iterator[slice]:
    """Yield slices of stimuli of which embeddings are sampled at once.

    At full size all samples of a test set are 12 GB. The groups end where batches of the prior and
    of the generator end, so that they change no batch.
    """
    whole = math.lcm(draws, batch_size, PRIOR_BATCH)
    size = max(whole, SAMPLED_AT_ONCE // whole * whole) // draws
    for first in range(0, stimuli, size):
        yield slice(first, min(first + size, stimuli))


def _blend(work: Workspace, low: Tensor, share: float) -> None:
    """Mix the low-level pictures into `both`; without them it is kept as `both_unblended`."""
    folder = work.folder / "reconstruct"
    plain = np.load(folder / "both.npy")
    write_array(folder / "both_unblended.npy", plain)
    mixed = [
        to_pictures(blend(to_images(plain[part]), decode_latents(work, low[part]), share))
        for part in (slice(i, i + 64) for i in range(0, len(plain), 64))
    ]
    write_array(folder / "both.npy", np.concatenate(mixed))


def sample_embeddings(
    work: Workspace, model: HighLevel, backbone: Tensor, brain: Tensor, seeds: list[int]
) -> Tensor:
    """Return embeddings (S * n, K, D), stimulus-major: prior samples or one estimate repeated.

    Parameters
    ----------
    work
        The run.
    model
        Its trained high-level pipeline.
    backbone, brain
        (S, K, D) backbone and contrastive tokens.
    seeds
        One a sample, n for every stimulus.
    """
    draws = len(seeds) // len(backbone)
    if model.prior is None:
        with torch.inference_mode():
            estimate = model.point_estimate(backbone.to(work.device), brain.to(work.device))
        return estimate.cpu().repeat_interleave(draws, dim=0)
    return sample_prior(
        model,
        backbone.repeat_interleave(draws, dim=0),
        work.config.high.prior,
        seeds=seeds,
        device=work.device,
        precision=work.config.high.optim.precision,
    )


def _write(work: Workspace, name: str, parts: list[_Picked]) -> None:
    folder = work.folder / "reconstruct"
    pictures, picks, scores = zip(*parts, strict=True)
    write_array(folder / f"{name}.npy", np.concatenate(pictures))
    write_array(folder / f"{name}_pick.npy", np.concatenate(picks))
    write_array(folder / f"{name}_scores.npy", np.concatenate(scores))
