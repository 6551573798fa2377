"""Arrays on disk that are filled from front to back and never held in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.files import atomic_path

Append = Callable[[NDArray[Any]], None]


@contextlib.contextmanager
def appended_array(path: Path, shape: tuple[int, ...], dtype: Any) -> Iterator[Append]:
    """Yield a function that appends values to an .npy file; it appears whole or not at all.

    Plain writes, not a memory map: on a full disk a map kills the process, a write says so.

    Parameters
    ----------
    path
        The file; one that is there is replaced when the block succeeds.
    shape
        Of the whole array. Values are given in C order; where they are cut does not matter.
    dtype
        Of the file; values are turned into it.

    Raises
    ------
    ValueError
        If more or fewer values were given than `shape` holds: a mistake in the program.
    MindEyeError
        If the disk is full.
    """
    kind, count = np.dtype(dtype), 0
    header = {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(kind)}
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)

            def append(values: NDArray[Any]) -> None:
                nonlocal count
                count += values.size
                file.write(np.ascontiguousarray(values, dtype=kind).tobytes())

            yield append
        if count != np.prod(shape, dtype=np.int64):
            raise ValueError(f"{path}: {count} values were written into an array of shape {shape}")
