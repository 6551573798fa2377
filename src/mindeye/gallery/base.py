"""What every back-end of a gallery gives: the nearest rows of some queries, best first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError

if TYPE_CHECKING:
    from mindeye.gallery.store import Gallery

NOTHING = -1
"""Row where a back-end found fewer than k; its score is -inf."""


class Matches(NamedTuple):
    """The nearest rows of queries.

    Attributes
    ----------
    rows
        (Q, k) int64, best first, equal scores by row; -1 where there is none.
    scores
        (Q, k) float32 cosines, in [-1, 1] up to the rounding of float16 (1e-4); -inf where there is
        no row.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


class Backend(Protocol):
    """Searches a gallery.

    Attributes
    ----------
    name
        As in `mindeye.gallery.backends.BACKENDS`.
    """

    name: str

    def search(self, queries: NDArray[np.float32], k: int) -> Matches:
        """Return the k nearest rows of every query; k is at most the size of the gallery.

        Parameters
        ----------
        queries
            (Q, D) of norm 1, contiguous; see `unit_rows`.
        k
            How many.
        """
        ...


class BackendModule(Protocol):
    """A back-end: how it is made out of stored vectors, and how it is opened."""

    def build(self, gallery: Gallery, options: Mapping[str, Any]) -> None:
        """Make or bring up to date what the back-end needs below ``DIR/index``."""
        ...

    def open(self, gallery: Gallery) -> Backend:
        """Open it; what it may be told at search time is in ``gallery.info.options``."""
        ...


def unit_rows(
    vectors: NDArray[Any], what: str, *, first: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return vectors (N, D) at norm 1, float32 and contiguous, and the norms (N,) they had.

    Parameters
    ----------
    vectors
        (N, D) of any float type.
    what
        What they are, for the message.
    first
        Number of their first row, for the message.

    Raises
    ------
    DataError
        If a row holds NaN or infinity, or is zero throughout; names the row.
    """
    values = floats(vectors)
    norms = row_norms(values)
    bad = ~(np.isfinite(norms) & (norms > 0))
    if bad.any():
        row = int(bad.argmax())
        why = "is zero throughout" if norms[row] == 0 else "holds NaN or infinity"
        raise DataError(
            f"{what}, row {first + row}: the embedding {why} ({int(bad.sum())} such rows); embed "
            "again, or leave such rows out (of a gallery's source: --bad skip)"
        )
    return values / norms[:, None], norms


def floats(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return vectors as float32, contiguous; what is too large for it becomes infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(vectors, dtype=np.float32)


def row_norms(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the norms (N,) of rows (N, D); NaN or infinity where a row is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms: NDArray[np.float32] = np.sqrt(np.einsum("nd,nd->n", values, values))
    return norms
