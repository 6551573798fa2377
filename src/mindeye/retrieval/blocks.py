"""Cosine scores of many queries against a large gallery, a few rows at a time.

Neither the table of all scores nor either side in single precision has to fit into memory: queries
and gallery may be memory-mapped arrays of any floating-point kind. 73,000 x 197,376 values (all NSD
pictures, 257 x 768 tokens each) are 58 GB in single precision and their table of scores another 21.

Axes: Q queries, G gallery items, K tokens, D width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.errors import DataError


class Selected:
    """Some rows of an array, in a given order, read only when they are sliced.

    Parameters
    ----------
    array
        (A, ...) such as a memory-mapped store of the embeddings of all stimuli.
    rows
        (S,) which of its rows.
    """

    def __init__(self, array: NDArray[Any], rows: NDArray[np.integer]) -> None:
        self.array, self.rows = array, np.asarray(rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, the selected rows first."""
        return (len(self.rows), *self.array.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the array's values."""
        return self.array.dtype

    def __getitem__(self, block: slice) -> NDArray[Any]:
        return np.asarray(self.array[self.rows[block]])


Embeddings = Tensor | NDArray[Any] | Selected

MEMORY = 1 << 30
"""Bytes that blocks of queries, of the gallery and of scores may take together."""


def score_rows(
    queries: Embeddings, gallery: Embeddings, *, rows: int | None = None, memory: int = MEMORY
) -> Iterator[tuple[slice, Tensor]]:
    """Yield cosine similarities of some queries with the whole gallery.

    Parameters
    ----------
    queries, gallery : Tensor or array (Q or G, D) or (Q or G, K, D)
        Floating point, trailing axes are flattened. Arrays may be memory-mapped.
    rows : int, optional
        Queries at once; by default as many as `memory` allows.
    memory : int
        Bytes, about: more makes fewer passes over the gallery.

    Yields
    ------
    slice
        Which queries.
    Tensor (q, G)
        Their scores, in [-1, 1]; rows and columns of zero vectors are 0. Single precision, double
        where the queries are.

    Raises
    ------
    DataError
        If the two do not fit together, one is empty, or one is not floating point.
    """
    width = _check(queries, gallery)
    q = rows or max(1, min(memory // 4 // (4 * len(gallery)), memory // 4 // (4 * width)))
    g = max(1, memory // 4 // (4 * width))
    for first in range(0, len(queries), q):
        block = slice(first, min(first + q, len(queries)))
        block_rows = _unit(_read(queries, block))
        # One place for all scores: small results between large blocks would pin those in the heap.
        scores = block_rows.new_empty((len(block_rows), len(gallery)))
        for start in range(0, len(gallery), g):
            tile = slice(start, min(start + g, len(gallery)))
            scores[:, tile] = block_rows @ _unit(_read(gallery, tile).to(block_rows.dtype)).T
        yield block, scores


def score_type(queries: Embeddings) -> torch.dtype:
    """Return the type of the scores: double precision for double queries, else single."""
    return torch.float64 if queries.dtype in (torch.float64, np.float64) else torch.float32


def _read(embeddings: Embeddings, block: slice) -> Tensor:
    part = embeddings[block]
    kind = score_type(embeddings)
    if not isinstance(part, Tensor):
        # A copy: a memory-mapped file is read-only, and only this block of it is to be held.
        part = torch.from_numpy(np.array(part))
    return part.detach().flatten(1).to(kind)


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


def _check(queries: Embeddings, gallery: Embeddings) -> int:
    widths = [math.prod(e.shape[1:]) for e in (queries, gallery)]
    if widths[0] != widths[1]:
        raise DataError(f"queries have {widths[0]} features per row but the gallery {widths[1]}")
    if len(queries) == 0 or len(gallery) == 0:
        raise DataError("retrieval needs at least one query and one gallery item")
    kinds = [
        e.dtype.is_floating_point if isinstance(e, Tensor) else np.issubdtype(e.dtype, np.floating)
        for e in (queries, gallery)
    ]
    if not all(kinds):
        raise DataError(
            f"embeddings must be floating point, got {queries.dtype} and {gallery.dtype}"
        )
    return widths[0]
