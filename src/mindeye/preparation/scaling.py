"""Z-scoring and noise ceilings of betas that are on disk, in bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.preprocess import Scaler, ZScore, fit_scaler, noise_ceiling
from mindeye.data.trials import trials_by_stimulus
from mindeye.datasets.recording import Recording
from mindeye.files import write_array
from mindeye.preparation.choices import Choice
from mindeye.preparation.config import PrepareConfig
from mindeye.preparation.rows import column_blocks, create_rows, row_blocks, write_rows

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


def scale(
    raw: Path,
    out: Path,
    voxels: NDArray[np.int64],
    *,
    sessions: NDArray[np.int64],
    training: NDArray[np.bool_],
    zscore: ZScore,
) -> None:
    """Write the kept voxels of raw betas, scaled, to `out/betas.npy`, and the scaler beside it.

    Parameters
    ----------
    raw
        .npy (N, all voxels) float32.
    out
        Folder; gets `betas.npy` (N, V) and, unless `zscore` is none, `scaler/*.npy`.
    voxels
        (V,) columns to keep, increasing.
    sessions, training, zscore
        As in `fit_scaler`.
    """
    trials = len(sessions)
    scaler = None
    if zscore != "none":
        scaler = _fit(raw, voxels, sessions=sessions, training=training, zscore=zscore)
        for name in ("groups", "mean", "deviation"):
            write_array(out / "scaler" / f"{name}.npy", getattr(scaler, name))
    create_rows(out / "betas.npy", (trials, len(voxels)), np.float32)
    for where, block in row_blocks(raw, "scale"):
        kept = block[:, voxels]
        rows = np.arange(where.start, where.stop)
        scaled = kept if scaler is None else scaler.apply(kept, sessions[rows])
        write_rows(out / "betas.npy", rows, scaled)


def _fit(
    raw: Path,
    voxels: NDArray[np.int64],
    *,
    sessions: NDArray[np.int64],
    training: NDArray[np.bool_],
    zscore: ZScore,
) -> Scaler:
    parts = []
    for where, block in column_blocks(raw, voxels, "statistics"):
        first = int(voxels[where.start])
        part = fit_scaler(block, sessions, training, zscore=zscore, first_voxel=first)
        assert part is not None
        parts.append(part)
    return Scaler(
        parts[0].groups,
        np.concatenate([p.mean for p in parts], axis=1),
        np.concatenate([p.deviation for p in parts], axis=1),
    )


def measure_ceiling(betas: Path, trials: pd.DataFrame) -> NDArray[np.float32] | None:
    """Return `noise_ceiling` of betas on disk: (V,), or None where too few stimuli repeat."""
    voxels = np.load(betas, mmap_mode="r").shape[1]
    by_stimulus = list(trials_by_stimulus(trials).values())
    parts = []
    for _, block in column_blocks(betas, np.arange(voxels), "ceiling"):
        part = noise_ceiling(block, by_stimulus)
        if part is None:
            return None
        parts.append(part)
    return np.concatenate(parts)
