"""Checks and transforms of betas: finiteness, z-scoring on training trials, noise ceilings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mindeye.arrays import row_blocks
from mindeye.errors import DataError

Floats = NDArray[np.float32]
ZScore = Literal["train", "session", "session_all", "none"]
ELSEWHERE = -1
"""Group of a scaler that serves every session without statistics of its own."""


class BetasRange:
    """Range of every voxel's betas, taken while they go by; NaN where a beta is not finite.

    Parameters
    ----------
    voxels
        Number of voxels.
    """

    def __init__(self, voxels: int) -> None:
        self.low, self.high = np.full(voxels, np.inf), np.full(voxels, -np.inf)

    def add(self, betas: NDArray[np.floating]) -> None:
        """Look at the betas (n, V) of some trials."""
        np.minimum(self.low, betas.min(axis=0), out=self.low)
        np.maximum(self.high, betas.max(axis=0), out=self.high)

    @property
    def finite(self) -> bool:
        """Whether there is no NaN and no infinity."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    @property
    def constant(self) -> NDArray[np.int64]:
        """Voxels that never change."""
        return np.flatnonzero(self.low == self.high)

    @property
    def sound(self) -> bool:
        """Whether all betas are finite and every voxel changes."""
        return self.finite and not len(self.constant)


def betas_problems(betas: NDArray[np.floating]) -> list[str]:
    """Return in words what is wrong with betas (N, V), which are read once; empty if nothing is."""
    found, problems = BetasRange(betas.shape[1]), []
    for _, block in row_blocks(betas, "check betas"):
        found.add(block)
    if not found.finite:
        problems.append(_first_not_finite(betas))
    if len(found.constant):
        problems.append(
            f"voxel {found.constant[0]} never changes ({len(found.constant)} such voxels)"
        )
    return problems


def _first_not_finite(betas: NDArray[np.floating]) -> str:
    for where, block in row_blocks(betas, "search"):
        bad = np.argwhere(~np.isfinite(block))
        if len(bad):
            trial, voxel = (int(i) for i in bad[0])
            return (
                f"betas hold {block[trial, voxel]} at trial {where.start + trial}, voxel {voxel} "
                f"({len(bad)} such values near it); leave out the voxel or the trial"
            )
    return "betas hold values that are not finite"


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of every voxel, one row a group of trials.

    Parameters
    ----------
    groups
        Numbers of the groups (G,), increasing: sessions, and `ELSEWHERE` first where trials of
        other sessions are to be scaled too.
    mean, deviation
        Mean and standard deviation of every voxel, (G, V), in the unit of the raw betas.
    """

    groups: NDArray[np.int64]
    mean: Floats
    deviation: Floats

    def apply(
        self, betas: NDArray[np.floating], session: int | NDArray[np.int64] | None = None
    ) -> Floats:
        """Return z-scored betas (N, V), such as those of trials that were measured later.

        Parameters
        ----------
        betas
            Betas in the unit that the scaler was fitted on, (N, V).
        session
            Session of all trials, or of each (N,); None for a session without statistics of its
            own, which takes those of all training trials.

        Raises
        ------
        DataError
            If the number of voxels differs, or a session has no statistics and there are none of
            all training trials.

        Examples
        --------
        >>> import numpy as np
        >>> scaler = Scaler(np.array([1]), np.array([[2.0]]), np.array([[4.0]]))
        >>> scaler.apply(np.array([[10.0]]), session=1)
        array([[2.]], dtype=float32)
        """
        if betas.ndim != 2 or betas.shape[1] != self.mean.shape[1]:
            raise DataError(
                f"betas of shape {betas.shape} cannot be scaled as {self.mean.shape[1]} voxels; "
                "give (trials, voxels) with the voxels of the subject"
            )
        own = ELSEWHERE if session is None else session
        sessions = np.broadcast_to(np.asarray(own, dtype=np.int64), len(betas))
        place = np.searchsorted(self.groups, sessions)
        known = self.groups[np.minimum(place, len(self.groups) - 1)] == sessions
        if not known.all() and self.groups[0] != ELSEWHERE:
            unknown = sessions[~known][0]
            name = "a new session" if unknown == ELSEWHERE else f"session {unknown}"
            raise DataError(
                f"{name} has no statistics: the scaler knows sessions "
                f"{', '.join(map(str, self.groups))}; prepare the subject with that session"
            )
        row = np.where(known, place, 0)
        scaled = (betas - self.mean[row]) / self.deviation[row]
        return np.asarray(scaled, dtype=np.float32)


def fit_scaler(
    betas: NDArray[np.floating],
    sessions: NDArray[np.int64],
    training: NDArray[np.bool_],
    *,
    zscore: ZScore,
    first_voxel: int = 0,
) -> Scaler | None:
    """Fit z-scoring over all training trials or within each session.

    A session without any training trial is scaled by the statistics of all training trials.

    Parameters
    ----------
    betas
        Raw betas of all trials, (N, V).
    sessions
        Session of every trial, (N,).
    training
        Whether the stimulus of a trial is in the training split, (N,).
    zscore
        ``train``, ``session``, ``none``, or ``session_all``: within sessions over all trials, test
        ones included, as the published data sets are.
    first_voxel
        Number of the first voxel, where `betas` are a block of all voxels; for messages only.

    Raises
    ------
    DataError
        If a group has one training trial alone, or a voxel does not vary in it.
    """
    if zscore == "none":
        return None
    groups = [(ELSEWHERE, training, "the training split")]
    if zscore != "train":
        fitted = np.ones_like(training) if zscore == "session_all" else training
        within = [(int(g), fitted & (sessions == g), f"session {g}") for g in np.unique(sessions)]
        seen = [group for group in within if group[1].any()]
        groups = seen if len(seen) == len(within) else groups + seen
    means, deviations = [], []
    for _, rows, where in groups:
        mean, deviation = _moments(betas[rows], where, first_voxel)
        means.append(mean)
        deviations.append(deviation)
    numbers = np.array([number for number, _, _ in groups], dtype=np.int64)
    return Scaler(numbers, np.stack(means), np.stack(deviations))


def _moments(betas: NDArray[np.floating], where: str, first_voxel: int) -> tuple[Floats, Floats]:
    if len(betas) < 2:
        raise DataError(
            f"{where} has {len(betas)} training trials, too few to z-score by; use "
            "--zscore train, or --zscore none for betas that are already scaled"
        )
    values = np.asarray(betas, dtype=np.float64)
    deviation = values.std(axis=0)
    if (deviation == 0).any():
        voxel = first_voxel + int(np.flatnonzero(deviation == 0)[0])
        raise DataError(
            f"voxel {voxel} is constant over the training trials of {where} "
            f"({int((deviation == 0).sum())} such voxels); use --bad-voxels drop"
        )
    return values.mean(axis=0).astype(np.float32), deviation.astype(np.float32)


def noise_ceiling(
    betas: NDArray[np.floating], rows_by_stimulus: list[NDArray[np.int64]]
) -> Floats | None:
    """Return each voxel's single-trial noise ceiling, the share of variance that is signal.

    Signal variance is the total variance less the variance across repeats of one stimulus, as in
    the NSD data paper (Allen et al. 2022, "noise ceiling estimation"), floored at 0.

    Parameters
    ----------
    betas
        Betas of all trials, (N, V).
    rows_by_stimulus
        Trials of each stimulus; stimuli shown once carry no information on noise.

    Returns
    -------
    array or None
        Share of variance in [0, 1] of every voxel, (V,); None if fewer than two stimuli were
        repeated.
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
