"""The baseline that learns nothing: what the training stimuli with the most alike betas were.

Axes: N training stimuli, M test stimuli, V voxels, T targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.models.columns import Columns

Floats = NDArray[np.float32]

COUNTS = (1, 3, 10, 30, 100, 300)
"""Neighbours among which cross-validation chooses; where betas are noisy, many are averaged."""
FOLDS = 3


@dataclass(frozen=True)
class Neighbours:
    """How many neighbours are averaged.

    Parameters
    ----------
    count
        Number of neighbours k.
    scores
        Mean cosine for every k that was tried, over held-out training stimuli, of predicted and
        true targets, both without the mean of the other training targets.
    """

    count: int
    scores: dict[int, float]


def nearest(betas: Floats, test: Floats, count: int) -> NDArray[np.int64]:
    """Return (M, count) rows of the training betas that correlate most over voxels, best first.

    Parameters
    ----------
    betas
        (N, V) training betas.
    test
        (M, V) test betas.
    count
        At most N.

    Raises
    ------
    DataError
        If there are fewer training stimuli than neighbours.
    """
    from sklearn.neighbors import NearestNeighbors

    if count > len(betas):
        raise DataError(f"{count} neighbours among {len(betas)} training stimuli")
    # The cosine of rows without their mean is their correlation, and a matrix product.
    search = NearestNeighbors(n_neighbors=count, metric="cosine", algorithm="brute")
    search.fit(betas - betas.mean(axis=1, keepdims=True))
    rows = search.kneighbors(test - test.mean(axis=1, keepdims=True), return_distance=False)
    return np.asarray(rows, dtype=np.int64)


def choose_count(betas: Floats, targets: Floats, *, seed: int) -> Neighbours:
    """Choose k by k-fold cross-validation on the training stimuli, the smallest of equals.

    Parameters
    ----------
    betas
        (N, V).
    targets
        (N, T), all or a sample of the targets.
    seed
        Seed of the folds.

    Raises
    ------
    DataError
        If there are fewer than two training stimuli.
    """
    from sklearn.model_selection import KFold

    if len(betas) < 2:
        raise DataError(f"neighbours among {len(betas)} training stimuli; it needs two")
    folds = KFold(n_splits=min(FOLDS, len(betas)), shuffle=True, random_state=seed)
    splits = list(folds.split(betas))
    counts = [k for k in COUNTS if k <= min(len(known) for known, _ in splits)]
    found: dict[int, list[Floats]] = {k: [] for k in counts}
    for known, held in splits:
        rows = nearest(betas[known], betas[held], counts[-1])
        mean = targets[known].mean(axis=0)
        for k in counts:
            guess = targets[known][rows[:, :k]].mean(axis=1)
            found[k].append(_cosines(guess - mean, targets[held] - mean))
    scores = {k: float(np.concatenate(parts).mean()) for k, parts in found.items()}
    return Neighbours(max(counts, key=lambda k: scores[k]), scores)


def predict_by_neighbours(rows: NDArray[np.int64], columns: Columns, name: str) -> Floats:
    """Return (M, T): the mean of the targets of the training stimuli in `rows` (M, k).

    Parameters
    ----------
    rows
        Rows among the training stimuli.
    columns
        Their targets, read in blocks.
    name
        Shown in the progress bar.
    """
    from scipy.sparse import csr_array

    count, k = rows.shape
    weights = csr_array(
        (np.full(rows.size, 1 / k, np.float32), rows.ravel(), np.arange(0, rows.size + 1, k)),
        shape=(count, columns.rows),
    )
    means = np.empty((count, columns.count), dtype=np.float32)
    for part, block in columns.blocks(name):
        means[:, part] = weights @ block
    return means


def _cosines(one: Floats, other: Floats) -> Floats:
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    products = np.einsum("nt,nt->n", one, other)
    return np.asarray(products / np.where(norms > 0, norms, 1), dtype=np.float32)
