"""Exact search: every query against every vector, read from disk in chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import ConfigError
from mindeye.gallery.base import Matches
from mindeye.gallery.ranking import rescored
from mindeye.gallery.store import Gallery
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


@dataclass
class _Best:
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


class ExactBackend:
    """Compares with everything; memory is that of a chunk, whatever the size of the gallery.

    Parameters
    ----------
    vectors
        Of the gallery.
    chunk
        How many are compared at once.
    """

    name = "exact"

    def __init__(self, vectors: Vectors, *, chunk: int = CHUNK) -> None:
        if chunk < 1:
            raise ConfigError(f"chunk is {chunk}; it must be at least 1")
        self.vectors, self.chunk = vectors, chunk

    def search(self, queries: NDArray[np.float32], k: int) -> Matches:
        """Return the k nearest rows of queries (Q, D), as `Backend.search`."""
        k = min(k, len(self.vectors))
        blocks = range(0, len(queries), QUERIES)
        found = [self._search(queries[first : first + QUERIES], k) for first in blocks]
        if not found:
            return Matches(np.zeros((0, k), np.int64), np.zeros((0, k), np.float32))
        return Matches(
            np.concatenate([m.rows for m in found]), np.concatenate([m.scores for m in found])
        )

    def _search(self, queries: NDArray[np.float32], k: int) -> Matches:
        count, keep = len(queries), min(k + SPARE, len(self.vectors))
        nobody = np.zeros(0, dtype=np.int64)
        best = _Best(nobody, np.zeros(0, dtype=np.float32), nobody)
        floor = np.full(count, -np.inf, dtype=np.float32)
        for start, chunk in self.vectors.chunks(self.chunk):
            scores = queries @ chunk.T  # (Q, n)
            if len(chunk) > keep and not np.isfinite(floor).all():
                # Nothing is held yet: the last of the chunk's own best is the floor.
                own = -np.partition(-scores, keep - 1, axis=1)[:, keep - 1]
                floor = np.maximum(floor, own - RESOLUTION)
            who, where = np.nonzero(scores >= floor[:, None])
            near = _Best(who, scores[who, where], where + start)
            best = best.joined(near, keep)
            floor = np.maximum(floor, best.floor(count, keep))
        return rescored(self.vectors, queries, best.rows.reshape(count, keep), k)


def build(gallery: Gallery, options: Mapping[str, Any]) -> None:
    """Make nothing: the vectors are all that is needed."""
    del gallery, options


def open(gallery: Gallery) -> ExactBackend:
    """Open the exact search of a gallery; the option ``chunk`` sets how much it reads at once."""
    return ExactBackend(gallery.vectors, chunk=int(gallery.info.options.get("chunk", CHUNK)))
