"""Exact search: every query against every vector, read from disk in chunks."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mindeye.gallery.vectors import Vectors

CHUNK = 16_384
"""Vectors compared at once; 50 MB of float32 at a width of 768."""

QUERIES = 512
"""Queries compared at once; their scores against a chunk are 34 MB."""

RESOLUTION = np.float32(2.0**-20)
"""Scores closer than this may be in either order until they are computed the same way at the end;
a product of float32 matrices is off by about 1e-7."""

SPARE = 16
"""Candidates kept beyond k, so that those within `RESOLUTION` of the last one are among them."""

SCORED_BYTES = 16 << 20
"""Bytes of float32 vectors that are scored at once."""

NOTHING = -1
"""Row where a search found fewer than k; its score is -inf."""


class Matches(NamedTuple):
    """The nearest rows of queries.

    Attributes
    ----------
    rows
        Rows (Q, k) int64, best first, equal scores by row; -1 where there is none.
    scores
        Cosines (Q, k) float32, in [-1, 1] up to the rounding of float16 (1e-4); -inf where there
        is no row.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


class Search(Protocol):
    """What a back-end opens: it finds the nearest rows of queries."""

    def search(self, queries: NDArray[np.float32], k: int) -> Matches:
        """Return the k nearest rows of queries (Q, D) of norm 1; k is at most the rows there are.

        Parameters
        ----------
        queries
            Queries (Q, D) of norm 1, contiguous; see `unit_rows`.
        k
            Number of rows for every query.
        """
        ...


class ExactSearch:
    """Compares with everything; memory is that of a chunk, whatever the size of the gallery.

    Parameters
    ----------
    vectors
        Vectors of the gallery.
    chunk
        Number of vectors that are compared at once.
    """

    def __init__(self, vectors: Vectors, *, chunk: int = CHUNK) -> None:
        self.vectors, self.chunk = vectors, chunk

    def search(self, queries: NDArray[np.float32], k: int) -> Matches:
        """Return the k nearest rows of queries (Q, D), as `Search.search`."""
        k = min(k, len(self.vectors))
        blocks = range(0, len(queries), QUERIES)
        return joined([self._search(queries[first : first + QUERIES], k) for first in blocks], k)

    def _search(self, queries: NDArray[np.float32], k: int) -> Matches:
        count, keep = len(queries), min(k + SPARE, len(self.vectors))
        best = _Best(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int64))
        floor = np.full(count, -np.inf, dtype=np.float32)
        for start, chunk in self.vectors.chunks(self.chunk):
            scores = queries @ chunk.T  # (Q, n)
            if len(chunk) > keep and not np.isfinite(floor).all():
                # Nothing is held yet: the last of the chunk's own best is the floor.
                own = -np.partition(-scores, keep - 1, axis=1)[:, keep - 1]
                floor = np.maximum(floor, own - RESOLUTION)
            who, where = np.nonzero(scores >= floor[:, None])
            best = best.joined(_Best(who, scores[who, where], where + start), keep)
            floor = np.maximum(floor, best.floor(count, keep))
        return rescored(self.vectors, queries, best.rows.reshape(count, keep), k)


class _Best(NamedTuple):
    """The best candidates so far, as parallel arrays sorted by query, score, row."""

    queries: NDArray[np.int64]
    scores: NDArray[np.float32]
    rows: NDArray[np.int64]

    def joined(self, other: _Best, keep: int) -> _Best:
        """Return the best `keep` of every query of both."""
        queries = np.concatenate([self.queries, other.queries])
        scores = np.concatenate([self.scores, other.scores])
        rows = np.concatenate([self.rows, other.rows])
        order = np.lexsort((rows, -np.round(scores / RESOLUTION), queries))
        queries, scores, rows = queries[order], scores[order], rows[order]
        starts = np.searchsorted(queries, queries, side="left")
        kept = np.arange(len(queries)) - starts < keep
        return _Best(queries[kept], scores[kept], rows[kept])

    def floor(self, count: int, keep: int) -> NDArray[np.float32]:
        """Return (Q,), the score below which a query needs no more candidates."""
        floor = np.full(count, -np.inf, dtype=np.float32)
        full = np.bincount(self.queries, minlength=count) >= keep
        last = np.searchsorted(self.queries, np.arange(count), side="right") - 1
        floor[full] = self.scores[last[full]] - RESOLUTION
        return floor


def rescored(
    vectors: Vectors, queries: NDArray[np.float32], rows: NDArray[np.int64], k: int
) -> Matches:
    """Score candidates by their stored vectors and return the k best.

    Parameters
    ----------
    vectors
        Vectors of the gallery.
    queries
        Queries (Q, D) of norm 1.
    rows
        Candidates (Q, R) of every query, no row twice; -1 for none.
    k
        Number of candidates to keep, at most R.
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
    return joined(found, k)


def joined(matches: list[Matches], k: int) -> Matches:
    """Return the matches of several blocks of queries as those of all of them."""
    nobody = Matches(np.zeros((0, k), np.int64), np.zeros((0, k), np.float32))
    rows, scores = zip(*(matches or [nobody]), strict=True)
    return Matches(np.concatenate(rows), np.concatenate(scores))


def best_first(rows: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Matches:
    """Return the k best of candidates (Q, R), equal scores by row; rows of -1 come last."""
    falling = scores[:, 1:] < scores[:, :-1]
    if rows.shape[1] == k and falling.all() and (rows != NOTHING).all():
        return Matches(rows, scores)  # in order, which is what an index gives mostly
    scores = np.where(rows == NOTHING, np.float32(-np.inf), scores)
    if len(rows) == 1:  # one query: a third of the time of what follows
        order = np.lexsort((rows[0], -scores[0]))[None, :k]
    else:
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
    kept = np.take_along_axis(rows, order, axis=1).astype(np.int64, copy=False)
    return Matches(kept, np.take_along_axis(scores, order, axis=1))
