"""Best first: how candidates of a search are scored exactly and put in order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mindeye.gallery.base import NOTHING, Matches
from mindeye.gallery.vectors import Vectors

SCORED_BYTES = 16 << 20
"""Bytes of float32 vectors that are scored at once."""


def best_first(rows: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Matches:
    """Return the k best of candidates (Q, R), equal scores by row; rows of -1 come last."""
    if rows.shape[1] == k and _in_order(rows, scores):
        return Matches(rows, scores)  # which is what an index gives mostly
    scores = np.where(rows == NOTHING, np.float32(-np.inf), scores)
    if len(rows) == 1:  # one query: a third of the time of what follows
        first = np.lexsort((rows[0], -scores[0]))[:k]
        kept = rows[:, first].astype(np.int64, copy=False)
        return Matches(kept, scores[:, first])
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    kept = np.take_along_axis(rows, order, axis=1).astype(np.int64, copy=False)
    return Matches(kept, np.take_along_axis(scores, order, axis=1))


def _in_order(rows: NDArray[np.int64], scores: NDArray[np.float32]) -> bool:
    """Whether scores fall without a tie and no row is missing; missing ones come last."""
    falling = scores[:, 1:] < scores[:, :-1]
    return bool(falling.all()) and bool((rows[:, -1] != NOTHING).all()) and rows.dtype == np.int64


def rescored(
    vectors: Vectors, queries: NDArray[np.float32], rows: NDArray[np.int64], k: int
) -> Matches:
    """Score candidates by their stored vectors and return the k best.

    Parameters
    ----------
    vectors
        Of the gallery.
    queries
        (Q, D) of norm 1.
    rows
        (Q, R) candidates of every query, no row twice; -1 for none.
    k
        At most R.
    """
    count, reach = rows.shape
    step = max(1, SCORED_BYTES // max(1, reach * vectors.width * 4))
    found = []
    for first in range(0, count, step):
        own = rows[first : first + step]
        near = vectors.take(np.maximum(own, 0)).reshape(*own.shape, vectors.width)
        # einsum adds up every row in the same order, so that equal vectors have equal scores.
        scores = np.einsum("qrd,qd->qr", near, queries[first : first + step])
        found.append(best_first(own, scores, k))
    return Matches(
        np.concatenate([m.rows for m in found]), np.concatenate([m.scores for m in found])
    )
