"""The vectors of a gallery, memory-mapped, and exact search: every query against every vector."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.files import open_array
from mindeye.retrieval import top_matches

CHUNK = 16_384
"""Vectors compared at once; 50 MB of float32 at a width of 768."""

QUERIES = 256
"""Queries compared at once; what is kept of them and a chunk takes 34 MB."""

RESOLUTION = np.float32(2.0**-20)
"""Scores closer than this may be in either order until they are computed the same way at the end;
a product of float32 matrices is off by about 1e-7."""

ROW_BITS = 40
"""Bits of a candidate that number its row; those above them are its score in `RESOLUTION`s."""

SPARE = 16
"""Candidates kept beyond k, so that those within `RESOLUTION` of the last one are among them."""

SCORED_BYTES = 16 << 20
"""Bytes of float32 vectors that are scored at once."""

NOTHING = -1
"""Row where a search found fewer than k; its score is -inf."""


class Vectors:
    """Unit vectors (G, D) in parts on disk, float16 there and float32 when read.

    Parameters
    ----------
    paths
        Files of the parts in order, .npy of shape (n, D) and type float16.
    rows
        Number of vectors that each part must hold.
    width
        Width D of the vectors.

    Raises
    ------
    DataError
        If a part is missing, cut off, or of another shape or type.
    """

    def __init__(self, paths: Sequence[Path], rows: Sequence[int], width: int) -> None:
        self.width = width
        self.parts = []
        for path, count in zip(paths, rows, strict=True):
            part = open_array(path, "build the gallery again, finished parts are kept")
            if part.shape != (count, width) or part.dtype != np.float16:
                raise DataError(
                    f"{path} holds {part.dtype} of shape {part.shape}, gallery.json says float16 "
                    f"of shape ({count}, {width}); restore it or build the gallery again"
                )
            self.parts.append(part)
        self.starts = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors (N, D) of rows (N,), float32, in their order.

        Raises
        ------
        DataError
            If a row is not in the gallery.
        """
        rows = np.asarray(rows, dtype=np.int64).reshape(-1)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise DataError(f"rows {rows.min()}..{rows.max()} of a gallery of {len(self)}")
        halves = np.empty((len(rows), self.width), dtype=np.float16)
        parts = np.searchsorted(self.starts, rows, side="right") - 1
        for index in np.unique(parts):
            mine = parts == index
            halves[mine] = self.parts[index][rows[mine] - self.starts[index]]
        return _float32(halves)

    def chunks(self, size: int, *, first: int = 0) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (first row, vectors (n, D)), n <= `size`, in order; never across two parts.

        Parameters
        ----------
        size
            Largest number of rows at once.
        first
            Row to begin with.
        """
        for start, part in zip(self.starts[:-1].tolist(), self.parts, strict=True):
            for row in range(max(first - start, 0), len(part), size):
                vectors = _float32(np.array(part[row : row + size]))
                self.release()
                yield start + row, vectors

    def release(self) -> None:
        """Give back the pages that were read; what is in them stays on disk.

        After many rows of a large gallery were read, the maps would count as this process's
        memory, up to the size of the gallery.
        """
        for part in self.parts:
            mapped = getattr(part, "_mmap", None)
            if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)


def _float32(halves: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return float32 of float16; torch is several times faster at it than NumPy."""
    values: NDArray[np.float32] = torch.from_numpy(halves).float().numpy()
    return values


def unit_rows(
    vectors: NDArray[Any], what: str, *, first: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return vectors (N, D) at norm 1, float32 and contiguous, and the norms (N,) they had.

    Raises DataError if a row holds NaN or infinity or is zero throughout, naming it by `what` and
    its number, counted from `first`.
    """
    values, norms = with_norms(vectors)
    bad = ~(np.isfinite(norms) & (norms > 0))
    if bad.any():
        row = int(bad.argmax())
        why = "is zero throughout" if norms[row] == 0 else "holds NaN or infinity"
        raise DataError(
            f"{what}, row {first + row}: the embedding {why} ({int(bad.sum())} such rows); embed "
            "again, or leave such rows out (of a gallery's source: --bad skip)"
        )
    return values / norms[:, None], norms


def with_norms(vectors: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return vectors (N, D) as float32 and their norms (N,), not finite where a row is not."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.ascontiguousarray(vectors, dtype=np.float32)
        norms: NDArray[np.float32] = np.sqrt(np.einsum("nd,nd->n", values, values))
    return values, norms


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
    """Interface of the back-ends: each finds the nearest rows of queries."""

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


class MemorySearch:
    """Compares queries with embeddings in memory, as the stage ``retrieve`` of a run does.

    Parameters
    ----------
    embeddings
        Embeddings (G, D) of any float type and norm.
    """

    def __init__(self, embeddings: NDArray[Any]) -> None:
        self.embeddings = embeddings

    def search(self, queries: NDArray[Any], k: int) -> Matches:
        """Return the k nearest rows of queries (Q, D) of any norm; ties in the order of rows."""
        rows, scores = top_matches(queries, self.embeddings, k)
        return Matches(rows.numpy(), scores.numpy())


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
        keep = min(k + SPARE, len(self.vectors))
        best = np.zeros((len(queries), 0), dtype=np.int64)
        for start, chunk in self.vectors.chunks(self.chunk):
            # A score and its row in one number: the larger the nearer, of equal ones the first.
            scores = np.round(queries @ chunk.T / RESOLUTION).astype(np.int64) << ROW_BITS
            best = np.concatenate([best, scores - np.arange(start, start + len(chunk))], axis=1)
            if best.shape[1] > keep:
                best = np.partition(best, -keep, axis=1)[:, -keep:]
        return rescored(self.vectors, queries, -best & ((1 << ROW_BITS) - 1), k)


def rescored(
    vectors: Vectors, queries: NDArray[np.float32], rows: NDArray[np.int64], k: int
) -> Matches:
    """Score candidates (Q, R), -1 for none, by their stored vectors and return the k best."""
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
    scores = np.where(rows == NOTHING, np.float32(-np.inf), scores)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    kept = np.take_along_axis(rows, order, axis=1).astype(np.int64, copy=False)
    return Matches(kept, np.take_along_axis(scores, order, axis=1))
