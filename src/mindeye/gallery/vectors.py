"""The vectors of a gallery: unit rows in parts on disk, memory-mapped and numbered through."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.files import open_array

FEW, PIECE = 1 << 20, 1 << 15
"""Numbers up to which one thread converts, and those it does at once: torch's grain of 32,768
(`at::internal::GRAIN_SIZE`), up to which it starts no other."""


class Vectors:
    """Unit vectors (G, D), float16 on disk and float32 when read.

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
        self.parts = [
            _open_part(path, count, width) for path, count in zip(paths, rows, strict=True)
        ]
        self.starts = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return len(self) * self.width * 2

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
        if len(self.parts) == 1:
            return _float32(self.parts[0][rows])
        halves = np.empty((len(rows), self.width), dtype=np.float16)
        parts = np.searchsorted(self.starts, rows, side="right") - 1
        for index in np.unique(parts):
            mine = parts == index
            halves[mine] = self.parts[index][rows[mine] - self.starts[index]]
        return _float32(halves)

    def release(self) -> None:
        """Give back the pages that `take` has mapped; what is in them stays on disk.

        After rows all over a large gallery were read, the maps would count as this process's
        memory, up to the size of the gallery.
        """
        for part in self.parts:
            mapped = getattr(part, "_mmap", None)
            if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)

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
                yield start + row, _float32(_read(part, row, min(row + size, len(part))))

    def chunk_count(self, size: int, *, first: int = 0) -> int:
        """Return how many chunks `chunks` yields."""
        lengths = zip(self.starts[:-1].tolist(), self.parts, strict=True)
        return sum(-(-max(len(p) - max(first - start, 0), 0) // size) for start, p in lengths)


def unit_rows(
    vectors: NDArray[Any], what: str, *, first: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return vectors (N, D) at norm 1, float32 and contiguous, and the norms (N,) they had.

    Parameters
    ----------
    vectors
        Vectors (N, D) of any float type.
    what
        Origin of the vectors, for the message.
    first
        Number of their first row, for the message.

    Raises
    ------
    DataError
        If a row holds NaN or infinity, or is zero throughout; names the row.
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


def _read(part: NDArray[Any], first: int, last: int) -> NDArray[np.float16]:
    """Return rows of a mapped part, read into memory of their own.

    A pass over all vectors through the map would leave every page of them counted as this
    process's memory.
    """
    if not isinstance(part, np.memmap) or part.filename is None:
        return np.array(part[first:last])
    row = part.shape[1] * part.itemsize
    count, offset = (last - first) * part.shape[1], part.offset + first * row
    try:
        read = np.fromfile(part.filename, dtype=np.float16, count=count, offset=offset)
    except OSError as error:
        raise DataError(f"{part.filename} cannot be read ({error}); restore it") from error
    if len(read) != count:
        raise DataError(f"{part.filename} is cut off; restore it or build the gallery again")
    return read.reshape(last - first, part.shape[1])


def _float32(halves: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return float32 of float16; torch is several times faster at it than NumPy."""
    # np.asarray drops the memory map's class; torch warns of what cannot be written to.
    plain = np.asarray(halves)
    if not plain.flags.writeable:
        plain = plain.copy()
    if plain.size > FEW:
        converted: NDArray[np.float32] = torch.from_numpy(plain).float().numpy()
        return converted
    # A few rows, as of one search: in pieces that torch does not share out among threads, which
    # take longer to wake up beside faiss's own than the work takes.
    converted = np.empty(plain.shape, dtype=np.float32)
    given, taken = torch.from_numpy(plain).view(-1), torch.from_numpy(converted).view(-1)
    for first in range(0, plain.size, PIECE):
        taken[first : first + PIECE].copy_(given[first : first + PIECE])
    return converted


def _open_part(path: Path, rows: int, width: int) -> NDArray[Any]:
    part = open_array(path, "build the gallery again, finished parts are kept")
    if part.shape != (rows, width) or part.dtype != np.float16:
        raise DataError(
            f"{path} holds {part.dtype} of shape {part.shape}, gallery.json says float16 of shape "
            f"({rows}, {width}); restore it or build the gallery again"
        )
    return part
