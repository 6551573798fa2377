"""Stages that use what was learnt: embeddings of the test stimuli, and images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor

from mindeye.arrays import ArrayWriter, array_writer
from mindeye.data.images import to_pictures
from mindeye.decoding.prediction import Prediction
from mindeye.decoding.reconstructor import blended, draw_systems
from mindeye.files import write_array, write_json
from mindeye.generation.generators import Generator
from mindeye.runs.drawing_baselines import draw_baselines
from mindeye.runs.workspace import Workspace


def predict(work: Workspace) -> None:
    """Write brain embeddings and low-level latents of all test stimuli."""
    folder = work.folder / "predict"
    if work.config.high_enabled:
        prediction = work.decoder.predict(work.test_betas, ids=work.test_ids)
        write_array(folder / "backbone.npy", prediction.tokens)
        write_array(folder / "contrastive.npy", prediction.retrieval)
    if work.config.low_enabled:
        write_array(folder / "latents.npy", work.low_decoder.predict(work.test_betas))
    write_json(folder / "stimulus_ids.json", work.test_ids)


def predicted(work: Workspace, name: str) -> Tensor:
    """Open a prediction of all test stimuli: backbone, contrastive or latents."""
    return torch.from_numpy(np.load(work.folder / "predict" / f"{name}.npy"))


def prediction_of(work: Workspace) -> Prediction:
    """Open what the high level predicted for all test stimuli, ready to be drawn."""
    backbone, brain = (predicted(work, name).numpy() for name in ("backbone", "contrastive"))
    return Prediction(backbone, brain, work.test_ids, decoder=work.decoder)


def reconstruct(work: Workspace) -> None:
    """Draw the test stimuli: low, high, both, ridge, the mean training picture and ceilings."""
    folder = work.folder / "reconstruct"
    count = len(work.drawn_ids)
    low = None
    if work.config.low_enabled:
        low = predicted(work, "latents")[:count]
        write_array(folder / "low.npy", to_pictures(work.spaces.decode(low)))
    if work.generator is not None and work.config.high_enabled:
        _draw_high(work, work.generator, low)
    draw_baselines(work, work.generator)
    write_json(folder / "stimulus_ids.json", work.drawn_ids)


def _draw_high(work: Workspace, generator: Generator, low: Tensor | None) -> None:
    """Draw `high` and `both` from the same prior samples and noise; the brain picks."""
    config, folder = work.config.reconstruct, work.folder / "reconstruct"
    systems = ["high", "both"] if low is not None and generator.uses_start else ["high"]
    draws = 1 if config.pick == "first" else config.candidates
    with ExitStack() as stack:
        found = draw_systems(
            prediction_of(work)[: len(work.drawn_ids)],
            generator,
            work.spaces,
            config,
            systems=systems,
            low=low,
            seed=work.config.seed,
            passing=_Kept(work, stack, draws).passing,
        )
    for name, images in found.items():
        write_array(folder / f"{name}.npy", images.pictures)
        write_array(folder / f"{name}_pick.npy", images.pick)
        write_array(folder / f"{name}_scores.npy", images.scores)
    if config.blend and low is not None and "both" in found:
        plain = found["both"].pictures
        write_array(folder / "both_unblended.npy", plain)
        write_array(folder / "both.npy", blended(plain, low, work.spaces, config.blend))


class _Kept:
    """Writes candidates to disk while they go by: `NAME_candidates.npy`, (S, n, H, W, 3) uint8."""

    def __init__(self, work: Workspace, stack: ExitStack, draws: int) -> None:
        self.work, self.stack, self.draws = work, stack, draws
        self.wanted = draws > 1 and work.config.reconstruct.keep_candidates
        self.files: dict[str, ArrayWriter] = {}

    def passing(self, name: str, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield images (n, 3, H, W), stimulus-major, as they come."""
        for batch in batches:
            if self.wanted:
                pictures = to_pictures(batch)
                if name not in self.files:
                    self.files[name] = self._opened(name)
                self.files[name].append(pictures)
            yield batch

    def _opened(self, name: str) -> ArrayWriter:
        path = self.work.folder / "reconstruct" / f"{name}_candidates.npy"
        rows = (len(self.work.drawn_ids), self.draws)
        return self.stack.enter_context(array_writer(path, rows, np.uint8))
