"""Whether betas were z-scored by their training trials alone, seen from the betas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindeye.arrays import row_blocks
from mindeye.data.preprocess import ZScore
from mindeye.errors import LeakageError

MEDIAN_OFF, LARGEST_OFF = 2e-4, 1e-2
"""Largest median and largest single deviation of training means from 0 and deviations from 1.
Rounding in float32 leaves about 6e-8 times mean / deviation of the raw betas (3e-5 for a mean of
500 deviations); one test trial among 750 moves the median by 9e-4."""


@dataclass(frozen=True)
class ScalingDesign:
    """What z-scoring goes by.

    Parameters
    ----------
    sessions
        Session of every trial, (N,).
    training
        Whether a trial shows a training stimulus, (N,).
    zscore
        Kind of scaling, as in `PrepareConfig`.
    """

    sessions: NDArray[np.int64]
    training: NDArray[np.bool_]
    zscore: ZScore


class TrainingMoments:
    """Sums over the training trials of scaled betas, added up while they go by.

    Parameters
    ----------
    design
        Sessions, training trials and kind of scaling. With ``session`` and ``train`` the training
        trials of each group must have mean 0 and deviation 1 in every voxel; test trials in the
        statistics would move both. With the others there is nothing to see.
    voxels
        Number of voxels.
    """

    def __init__(self, design: ScalingDesign, voxels: int) -> None:
        self.group = np.full(len(design.sessions), -1)
        self.names = ["all sessions"]
        if design.zscore == "session":
            known, group = np.unique(design.sessions, return_inverse=True)
            self.names = [f"session {s}" for s in known]
            self.group[design.training] = group[design.training]
        elif design.zscore == "train":
            self.group[design.training] = 0
        self.total, self.squares = np.zeros((2, len(self.names), voxels))

    def add(self, where: slice, betas: NDArray[np.floating]) -> None:
        """Add the betas (n, V) of some trials."""
        group = self.group[where]
        for g in np.unique(group[group >= 0]):
            values = np.asarray(betas[group == g], dtype=np.float64)
            self.total[g] += values.sum(axis=0)
            self.squares[g] += np.einsum("nv,nv->v", values, values)

    def leak(self) -> LeakageError | None:
        """Return an error if anything but the training trials was in the statistics.

        Groups with fewer than two training trials are skipped (sessions outside a budget), and a
        group without held-out trials cannot leak.
        """
        counts = np.bincount(self.group[self.group >= 0], minlength=len(self.names))
        for g in np.flatnonzero(counts >= 2):
            mean = self.total[g] / counts[g]
            # Betas are near mean 0 and deviation 1 if all is well: the difference loses nothing.
            deviation = np.sqrt(np.maximum(self.squares[g] / counts[g] - mean**2, 0))
            for name, value, right in (("mean", mean, 0), ("deviation", deviation, 1)):
                off = np.abs(value - right)
                if np.median(off) > MEDIAN_OFF or off.max() > LARGEST_OFF:
                    worst = int(off.argmax())
                    return LeakageError(
                        f"training trials of {self.names[g]} have {name} {value[worst]:.4f} in "
                        f"voxel {worst} (median {np.median(off):.2g} off over voxels): the betas "
                        "were not scaled by their training trials alone, so held-out trials may be "
                        "in the statistics; prepare the subject again"
                    )
        return None


def scaling_leak(
    betas: NDArray[np.floating],
    sessions: NDArray[np.int64],
    training: NDArray[np.bool_],
    zscore: ZScore,
) -> LeakageError | None:
    """Return an error if betas were z-scored by anything but their training trials.

    Parameters
    ----------
    betas
        Betas as prepared, (N, V); may be memory-mapped, are read once in blocks of trials.
    sessions, training, zscore
        Parameters of the scaling; see `ScalingDesign`.
    """
    if zscore not in ("session", "train"):
        return None
    moments = TrainingMoments(ScalingDesign(sessions, training, zscore), betas.shape[1])
    for where, block in row_blocks(betas, "scaling"):
        moments.add(where, block)
    return moments.leak()
