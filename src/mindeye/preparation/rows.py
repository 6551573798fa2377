"""`.npy` files that are filled row by row and read block by block, never held in memory."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.files import naming_full_disk
from mindeye.progress import track

BLOCK_BYTES = 1 << 27
"""Of one block in float32; what is done with it may take a few times that."""


def create_rows(path: Path, shape: tuple[int, ...], dtype: Any) -> None:
    """Create an .npy file of zeros; takes disk space only as rows are written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming_full_disk(path):
        np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def write_rows(path: Path, rows: NDArray[np.int64], values: NDArray[Any]) -> None:
    """Write some rows of an .npy file and wait until they are on disk.

    Plain writes, not a memory map: on a full disk a map kills the process, a write says so.

    Parameters
    ----------
    path
        As `create_rows` made it.
    rows
        (n,) increasing row numbers.
    values
        (n, ...) of the file's own shape and type.
    """
    whole = np.load(path, mmap_mode="r")
    offset, width = int(whole.offset), int(whole.itemsize * np.prod(whole.shape[1:]))
    content = np.ascontiguousarray(values, dtype=whole.dtype)
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    with naming_full_disk(path), path.open("r+b") as file:
        for part in np.split(np.arange(len(rows)), breaks):
            file.seek(offset + int(rows[part[0]]) * width)
            file.write(content[part[0] : part[-1] + 1].tobytes())
        file.flush()
        os.fsync(file.fileno())


def release_pages(array: NDArray[Any]) -> None:
    """Let go of what was read of a memory-mapped file so far; it can be read again.

    A map keeps every page it has touched in the process, up to the whole file: 5.4 GB of pictures.
    Does nothing to arrays in memory, to maps that can be written, and where the system has no way.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and base.mode != "r":
            return
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def row_blocks(path: Path, name: str) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield all rows in order, a block at a time, under a bar; the file is mapped anew for each.

    A map that stays open keeps every page it has touched in the process, up to the whole file.
    """
    shape = np.load(path, mmap_mode="r").shape
    for where in track(_slices(shape[0], 4 * int(np.prod(shape[1:]))), name):
        yield where, np.array(np.load(path, mmap_mode="r")[where])


def column_blocks(
    path: Path, columns: NDArray[np.int64], name: str
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield some columns of a (N, V) file, a block of them at a time, as (slice, (N, v)).

    The slice counts within `columns`.
    """
    rows = np.load(path, mmap_mode="r").shape[0]
    for where in track(_slices(len(columns), 4 * rows), name):
        chosen = columns[where]
        first, last = int(chosen[0]), int(chosen[-1]) + 1
        block = np.array(np.load(path, mmap_mode="r")[:, first:last])
        yield where, block[:, chosen - first]


def _slices(count: int, width: int) -> list[slice]:
    """Cut `count` items of so many bytes each into blocks."""
    step = max(1, BLOCK_BYTES // width)
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
