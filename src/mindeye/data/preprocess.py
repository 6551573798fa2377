"""Checks and transforms of betas: finiteness, z-scoring on training trials, noise ceilings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError

Floats = NDArray[np.float32]
ZScore = Literal["train", "session", "none"]


def check_finite(betas: NDArray[np.floating], *, chunk: int = 1024) -> None:
    """Raise DataError at the first NaN or infinite beta, naming trial and voxel.

    Parameters
    ----------
    betas
        (N, V).
    chunk
        Trials looked at at once, so that memory-mapped betas stay on disk.
    """
    for start in range(0, len(betas), chunk):
        bad = np.argwhere(~np.isfinite(betas[start : start + chunk]))
        if len(bad):
            trial, voxel = start + int(bad[0, 0]), int(bad[0, 1])
            raise DataError(
                f"betas hold {betas[trial, voxel]} at trial {trial}, voxel {voxel} "
                f"({len(bad)} such values near it); leave out the voxel or the trial"
            )


def constant_voxels(betas: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the indices of voxels that never change, of betas (N, V)."""
    return np.flatnonzero(np.ptp(betas, axis=0) == 0).astype(np.int64)


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of every voxel, one row a group of trials.

    Parameters
    ----------
    groups
        (G,) session numbers, or one 0 if all trials share the statistics.
    mean, deviation
        (G, V).
    """

    groups: NDArray[np.int64]
    mean: Floats
    deviation: Floats

    def apply(self, betas: NDArray[np.floating], sessions: NDArray[np.int64]) -> Floats:
        """Return z-scored betas (N, V)."""
        if len(self.groups) == 1:
            row = np.zeros(len(betas), dtype=np.int64)
        else:
            row = np.searchsorted(self.groups, sessions)
        scaled = (betas - self.mean[row]) / self.deviation[row]
        return np.asarray(scaled, dtype=np.float32)


def fit_scaler(
    betas: NDArray[np.floating],
    sessions: NDArray[np.int64],
    training: NDArray[np.bool_],
    *,
    zscore: ZScore,
) -> Scaler | None:
    """Fit z-scoring on training trials alone, over all of them or within each session.

    Parameters
    ----------
    betas
        (N, V).
    sessions
        (N,).
    training
        (N,), true for trials whose stimulus is in the training split.
    zscore
        ``train``, ``session`` or ``none``.

    Raises
    ------
    DataError
        If a session has fewer than two training trials, or a voxel does not vary in them.
    """
    if zscore == "none":
        return None
    groups = np.unique(sessions) if zscore == "session" else np.zeros(1, dtype=np.int64)
    means, deviations = [], []
    for group in groups:
        rows = training & (sessions == group) if zscore == "session" else training
        where = f"session {group}" if zscore == "session" else "the training split"
        if rows.sum() < 2:
            raise DataError(
                f"{where} has {int(rows.sum())} training trials, too few to z-score by; use "
                "--zscore train, or --zscore none for betas that are already scaled"
            )
        values = np.asarray(betas[rows], dtype=np.float64)
        deviation = values.std(axis=0)
        if (deviation == 0).any():
            voxel = int(np.flatnonzero(deviation == 0)[0])
            raise DataError(
                f"voxel {voxel} is constant over the training trials of {where} "
                f"({int((deviation == 0).sum())} such voxels); use --drop-constant-voxels"
            )
        means.append(values.mean(axis=0))
        deviations.append(deviation)
    return Scaler(
        groups.astype(np.int64),
        np.stack(means).astype(np.float32),
        np.stack(deviations).astype(np.float32),
    )


def noise_ceiling(
    betas: NDArray[np.floating], rows_by_stimulus: list[NDArray[np.int64]]
) -> Floats | None:
    """Return each voxel's single-trial noise ceiling, the share of variance that is signal.

    Signal variance is the total variance less the variance across repeats of one stimulus, as in
    the NSD data paper (Allen et al. 2022, "noise ceiling estimation"), floored at 0.

    Parameters
    ----------
    betas
        (N, V).
    rows_by_stimulus
        Trials of each stimulus; stimuli shown once carry no information on noise.

    Returns
    -------
    array or None
        (V,) in [0, 1]; None if fewer than two stimuli were repeated.
    """
    repeated = [rows for rows in rows_by_stimulus if len(rows) > 1]
    if len(repeated) < 2:
        return None
    noise, weight = np.zeros(betas.shape[1]), 0
    for rows in repeated:
        values = np.asarray(betas[rows], dtype=np.float64)
        noise += values.var(axis=0, ddof=1) * (len(rows) - 1)
        weight += len(rows) - 1
    noise /= weight
    total = np.asarray(betas[np.concatenate(repeated)], dtype=np.float64).var(axis=0, ddof=1)
    ceiling = np.clip(1 - noise / np.maximum(total, 1e-12), 0, 1)
    return np.asarray(ceiling, dtype=np.float32)
