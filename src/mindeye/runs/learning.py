"""Stages that embed the stimuli and train both pipelines."""

from __future__ import annotations

from mindeye.decoding.brain import BrainDecoder
from mindeye.decoding.fitting import refuse_misfits
from mindeye.decoding.low_level import LowLevelDecoder
from mindeye.runs.workspace import Workspace


def embed(work: Workspace, key: str = "") -> None:
    """Embed every stimulus: tokens, their augmented views, latents, maps.

    Every process of a run makes this call. All models that are given by name are opened first, so
    that one that is missing or does not fit is refused now and not after a training.
    """
    config = work.config
    if work.processes.is_first:
        _refuse_misfits(work)
        _ = work.generator
    work.embedded.embed(low=config.low if config.low_enabled else None, processes=work.processes)


def train_high(work: Workspace, key: str) -> None:
    """Train backbone, projector and prior jointly, or take the weights that are given."""
    if not work.config.high_enabled:
        return
    _refuse_misfits(work)
    decoder = BrainDecoder(seed=work.config.seed)
    decoder.fit_embedded(
        work.embedded, work.config.high, work.folder / "high", key=key, processes=work.processes
    )


def train_low(work: Workspace, key: str) -> None:
    """Train the low-level pipeline, or take the weights that are given."""
    if not work.config.low_enabled:
        return
    decoder = LowLevelDecoder(seed=work.config.seed)
    decoder.fit_embedded(
        work.embedded, work.config.low, work.folder / "low", key=key, processes=work.processes
    )


def _refuse_misfits(work: Workspace) -> None:
    high, low = work.config.high, work.config.low
    refuse_misfits(
        work.sizes,
        high if work.config.high_enabled else None,
        low if work.config.low_enabled else None,
    )
