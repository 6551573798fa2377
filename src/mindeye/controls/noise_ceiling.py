"""A noise ceiling without a decoder: how well repeats of a stimulus identify each other.

Patterns of one half of a stimulus's trials are looked up among the other halves of all stimuli,
as in identification by measured patterns (compare Kay et al. 2008, Nature 452, 352-355, who
look measured patterns up among predicted ones).

It is a reference and not a strict upper bound. Query and gallery are each noisy and hold only part
of the trials, which makes it lower than what a decoder of all trials may score; and a decoder whose
targets leave things out that voxels tell apart may stay below.

Axes: N trials, V voxels, S stimuli.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.data.preprocess import noise_ceiling
from mindeye.errors import DataError


@dataclass(frozen=True, eq=False)
class HalvesMatch:
    """How halves of the trials find each other.

    Attributes
    ----------
    scores
        (S, S) float64 weighted Pearson r in [-1, 1]: rows are first halves, columns second halves;
        `retrieval_rows.rows_from_scores` makes rows of the table of them.
    picks
        (S,) the stimulus whose second half is most like a stimulus's first half.
    kept
        (S,) positions, among the stimuli given, of those with two trials at least.
    note
        How many trials the halves hold.
    """

    scores: Tensor
    picks: NDArray[np.int64]
    kept: NDArray[np.int64]
    note: str


def training_reliability(
    betas: NDArray[np.floating], training: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Share of single-trial variance that is signal, from TRAINING repeats only.

    Parameters
    ----------
    betas
        (N, V).
    training
        Trials of every training stimulus.

    Returns
    -------
    array
        (V,) in [0, 1]; ones, so that all voxels weigh the same, where training stimuli were not
        repeated or no voxel is reliable.
    """
    reliability = noise_ceiling(betas, list(training))
    if reliability is None or not reliability.any():
        return np.ones(betas.shape[1])
    return np.asarray(reliability, dtype=np.float64)


def match_halves(
    betas: NDArray[np.floating],
    trials: Sequence[NDArray[np.int64]],
    reliability: NDArray[np.floating],
    *,
    rng: np.random.Generator,
) -> HalvesMatch:
    """Correlate halves of the trials of all pairs of stimuli.

    Every half is the mean of its trials, each voxel is z-scored over stimuli within its half, and
    patterns are correlated over voxels with weights w: weighted means and covariances,
    r = cov_w(a, b) / sqrt(cov_w(a, a) cov_w(b, b)).

    Parameters
    ----------
    betas
        (N, V); may be memory-mapped.
    trials
        Rows of the betas of every test stimulus. Half of them, rounded down and drawn at random,
        make the first half.
    reliability
        (V,) weights, not negative, estimated on other stimuli: `training_reliability`.
    rng
        Draws the halves.

    Returns
    -------
    HalvesMatch
        Scores whose truth is the diagonal.

    Raises
    ------
    DataError
        If fewer than two stimuli were repeated, or weights do not fit the voxels.
    """
    weights = np.asarray(reliability, dtype=np.float64)
    if weights.shape != betas.shape[1:] or not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError(f"weights of shape {weights.shape} do not fit {betas.shape[1]} voxels")
    if not weights.any():
        raise DataError("no voxel has a weight: nothing can be correlated")
    repeated = np.array([i for i, rows in enumerate(trials) if len(rows) > 1], dtype=np.int64)
    if len(repeated) < 2:
        raise DataError(
            f"a noise ceiling needs 2 repeated test stimuli at least, got {len(repeated)}"
        )
    first, second = [], []
    sizes = set()
    for i in repeated:
        order = rng.permutation(trials[i])
        half = len(order) // 2
        sizes.add((half, len(order) - half))
        first.append(np.asarray(betas[np.sort(order[:half])], dtype=np.float64).mean(axis=0))
        second.append(np.asarray(betas[np.sort(order[half:])], dtype=np.float64).mean(axis=0))
    share = weights / weights.sum()
    scores = _standard(np.stack(first), share) @ _standard(np.stack(second), share).T
    counts = " or ".join(f"{a} against {b}" for a, b in sorted(sizes))
    note = f"trials of one half look up the other: {counts}"
    return HalvesMatch(torch.from_numpy(scores), scores.argmax(axis=1), repeated, note)


def _standard(patterns: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Z-score voxels over stimuli, then patterns (S, V) so that a product of two is weighted r."""
    deviation = patterns.std(axis=0)
    z = (patterns - patterns.mean(axis=0)) / np.where(deviation == 0, 1, deviation)
    z = z - (z @ share)[:, None]
    z *= np.sqrt(share)
    norm = np.linalg.norm(z, axis=1, keepdims=True)
    return np.asarray(z / np.where(norm == 0, 1, norm))
