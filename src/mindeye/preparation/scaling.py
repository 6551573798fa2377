"""From raw to scaled betas in two passes: statistics by voxel, then the betas by trial.

Whatever the guards need to know of the scaled betas is taken on the way, so that they are never
read again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.arrays import array_writer
from mindeye.data.preprocess import BetasRange, Scaler, ZScore, fit_scaler, noise_ceiling
from mindeye.data.trials import trials_by_stimulus
from mindeye.datasets.recording import Recording
from mindeye.preparation.alignment_sample import Sample
from mindeye.preparation.choices import Choice
from mindeye.preparation.config import PrepareConfig
from mindeye.preparation.reading import RawBetas
from mindeye.preparation.scaling_leak import ScalingDesign, TrainingMoments

UNITS = {
    "session": "z-scored within sessions on training trials",
    "train": "z-scored on training trials",
    "session_all": "z-scored within sessions on all trials, test trials included (as published)",
}


def resolve_zscore(recording: Recording, config: PrepareConfig, choice: Choice) -> ZScore:
    """Return what ``zscore=auto`` means for a recording and what is taken of it."""
    if config.zscore != "auto":
        return config.zscore
    if recording.scaled:
        return "none"
    if not choice.splits["train"]:
        return "session_all"
    return "session" if len(choice.sessions) > 1 else "train"


@dataclass(frozen=True)
class Statistics:
    """What is known of every kept voxel before its betas are written.

    Parameters
    ----------
    scaler
        Means and deviations to scale by; None if the betas stay as they are.
    ceiling
        Noise ceiling of one trial (V,), of the scaled betas; None where too few stimuli repeat.
    """

    scaler: Scaler | None
    ceiling: NDArray[np.float32] | None


def measure_voxels(
    raw: RawBetas,
    voxels: NDArray[np.int64],
    trials: pd.DataFrame,
    design: ScalingDesign,
    sample: Sample | None,
) -> Statistics:
    """Fit the scaler and measure noise ceilings, a block of voxels at a time.

    Parameters
    ----------
    raw
        Raw betas of N trials.
    voxels
        Voxels that are kept, increasing, (V,).
    trials
        Table of the trials, N rows.
    design
        Sessions, training trials and kind of scaling.
    sample
        Sample of the alignment self-test, which chooses its voxels; None without that test.
    """
    by_stimulus = list(trials_by_stimulus(trials).values())
    scalers, ceilings, reliability = [], [], []
    for where, block in raw.columns(voxels):
        scaler = fit_scaler(
            block,
            design.sessions,
            design.training,
            zscore=design.zscore,
            first_voxel=int(voxels[where.start]),
        )
        scaled = block if scaler is None else scaler.apply(block, design.sessions)
        scalers.append(scaler)
        ceilings.append(noise_ceiling(scaled, by_stimulus))
        if sample is not None:
            reliability.append(sample.reliability(scaled))
    if sample is not None:
        sample.choose(np.concatenate(reliability))
    known = [c for c in ceilings if c is not None]
    return Statistics(_joined(scalers), np.concatenate(known) if known else None)


def _joined(parts: list[Scaler | None]) -> Scaler | None:
    """Join the scalers of blocks of voxels."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    mean, deviation = (
        np.concatenate([getattr(part, name) for part in known], axis=1)
        for name in ("mean", "deviation")
    )
    return Scaler(known[0].groups, mean, deviation)


@dataclass(frozen=True)
class WrittenBetas:
    """What is known of the scaled betas once they are on disk.

    Parameters
    ----------
    moments
        Moments of the training trials.
    sha256
        Hash of the file.
    sound
        Whether all are finite and every voxel changes.
    """

    moments: TrainingMoments
    sha256: str
    sound: bool


def write_betas(
    raw: RawBetas,
    path: Path,
    voxels: NDArray[np.int64],
    scaler: Scaler | None,
    design: ScalingDesign,
    sample: Sample | None,
) -> WrittenBetas:
    """Write the scaled betas, a block of trials at a time.

    Parameters
    ----------
    raw, voxels, design, sample
        Betas, voxels, scaling and sample; see `measure_voxels`.
    path
        The file `betas.npy` to write, (N, V) float32.
    scaler
        What to scale by; None to write the betas as they are.

    """
    moments, values = TrainingMoments(design, len(voxels)), BetasRange(len(voxels))
    with array_writer(path, len(design.sessions), np.float32) as betas:
        for where, block in raw.rows(voxels):
            scaled = block if scaler is None else scaler.apply(block, design.sessions[where])
            betas.append(scaled)
            moments.add(where, scaled)
            values.add(scaled)
            if sample is not None:
                sample.take(where, scaled)
    return WrittenBetas(moments, betas.sha256.hexdigest(), values.sound)
