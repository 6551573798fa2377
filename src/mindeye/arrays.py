"""Arrays on disk that are filled from front to back and read a block at a time.

::

    DIR/NAME.npy                  whole
        .NAME.npy.partial         still being written
        .NAME.npy.partial.json    what it is of, and how many of its rows are safe on disk
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import time
from collections.abc import Iterator
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mindeye.files import naming_full_disk, read_json, write_json
from mindeye.progress import track

KEEP_EVERY = 30.0
"""Seconds of work that are lost at most when a process is cut off."""

BLOCK_BYTES = 1 << 27
"""Of one block in float32; what is done with it may take a few times that."""


class ArrayWriter:
    """An .npy file that grows row by row; see `array_writer`.

    Rows are appended, not written into a mapped file: on a full disk a map kills the process, a
    write says so.

    Attributes
    ----------
    done
        Rows that are written, also by an earlier process that was cut off.
    shape
        Shape of a row; empty before the first one.
    sha256
        Hash of what this process has written to the file, header and rows.
    """

    def __init__(
        self, path: Path, rows: int | tuple[int, ...], dtype: Any, identity: dict[str, Any] | None
    ) -> None:
        self.path, self.dtype = path, np.dtype(dtype)
        self.leading = (rows,) if isinstance(rows, int) else rows
        self.count = prod(self.leading)
        self.part = path.with_name(f".{path.name}.partial")
        self.record = path.with_name(f".{path.name}.partial.json")
        self.identity = None if identity is None else json.loads(json.dumps(identity))
        self.done, self.shape = 0, tuple[int, ...]()
        self.sha256 = hashlib.sha256()
        self.kept_at = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        record = self._earlier_record()
        if record is None:
            self.record.unlink(missing_ok=True)
            self.file: BinaryIO = self.part.open("wb", buffering=0)
            return
        self.done, self.shape = int(record["done"]), tuple(record["shape"])
        self.file = self.part.open("r+b", buffering=0)
        self._header()
        # Whatever lies behind the rows that were kept may be torn.
        self.file.seek(self.dtype.itemsize * self.done * prod(self.shape), os.SEEK_CUR)
        self.file.truncate()

    def append(self, values: NDArray[Any]) -> None:
        """Append rows (n, ...); the first ones say what shape a row has."""
        if not self.done:
            self.shape = values.shape[1:]
            self._header()
        if values.shape[1:] != self.shape or self.done + len(values) > self.count:
            raise ValueError(
                f"{self.path}: rows of shape {values.shape} were written into an array of "
                f"{self.count} rows of shape {self.shape}, after {self.done}"
            )
        self._write(np.ascontiguousarray(values, dtype=self.dtype).reshape(-1).data.cast("B"))
        self.done += len(values)
        if time.monotonic() - self.kept_at >= KEEP_EVERY:
            self.keep()

    def keep(self) -> None:
        """Wait until what was appended is on disk, where the next process goes on."""
        if self.identity is not None:
            os.fsync(self.file.fileno())
            content = {"of": self.identity, "done": self.done, "shape": list(self.shape)}
            write_json(self.record, content)
        self.kept_at = time.monotonic()

    def finish(self) -> None:
        """Put the whole array in its place."""
        if not self.count:
            self._header()
        if self.done != self.count:
            raise ValueError(f"{self.path}: {self.done} of {self.count} rows were written")
        os.fsync(self.file.fileno())
        os.replace(self.part, self.path)
        self.record.unlink(missing_ok=True)

    def discard(self) -> None:
        """Delete what was written."""
        self.part.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)

    def _earlier_record(self) -> dict[str, Any] | None:
        """Return the record of an earlier process that wrote the same array."""
        if self.identity is None or not self.part.is_file():
            return None
        with contextlib.suppress(OSError, ValueError):
            record = read_json(self.record)
            if isinstance(record, dict) and record.get("of") == self.identity and record["done"]:
                return record
        return None

    def _header(self) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (*self.leading, *self.shape),
        }
        content = BytesIO()
        np.lib.format.write_array_header_1_0(content, header)
        self._write(content.getbuffer())

    def _write(self, rest: memoryview) -> None:
        self.sha256.update(rest)
        while rest:  # an unbuffered file may take a part only
            rest = rest[self.file.write(rest) :]


@contextlib.contextmanager
def array_writer(
    path: Path,
    rows: int | tuple[int, ...],
    dtype: Any,
    *,
    key: Any = None,
    kept: str = "finished stages are kept",
) -> Iterator[ArrayWriter]:
    """Open an .npy file for appending rows; it appears when the block ends, whole or not at all.

    Parameters
    ----------
    path
        The file; one that is there stays until the new one is whole.
    rows
        Number of rows, or the leading axes that they fill in C order.
    dtype
        Type of the numbers in the file; what is appended is turned into it.
    key
        Identity of what is written, anything that JSON holds: after a call that was cut off, one
        with the same key goes on where it stopped. None starts anew each time.
    kept
        What a full disk does not take away, for the message.

    Raises
    ------
    ValueError
        If more or fewer rows were appended than there are: a mistake in the program.
    MindEyeError
        If the disk is full.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with array_writer(Path(folder) / "a.npy", 3, np.float32) as array:
    ...         array.append(np.zeros((2, 5)))
    ...         array.append(np.ones((1, 5)))
    ...     np.load(Path(folder) / "a.npy").shape
    (3, 5)
    """
    identity = None
    if key is not None:
        identity = {"key": key, "rows": rows, "dtype": str(np.dtype(dtype))}
    with naming_full_disk(path, kept):
        writer = ArrayWriter(path, rows, dtype, identity)
        try:
            yield writer
            writer.finish()
        except BaseException:
            if identity is None:
                writer.discard()
            raise
        finally:
            writer.file.close()


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


def blocks(count: int, row_bytes: int) -> list[slice]:
    """Cut `count` rows or columns of so many bytes each into blocks of `BLOCK_BYTES` or less."""
    step = max(1, BLOCK_BYTES // max(1, row_bytes))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def row_blocks(array: NDArray[Any], name: str) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield copies of all rows in order, a block at a time, under a progress bar."""
    for where in track(blocks(len(array), 4 * prod(array.shape[1:])), name):
        yield where, np.array(array[where])
        release_pages(array)


def column_blocks(
    array: NDArray[Any], columns: NDArray[np.int64], name: str
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield copies of some columns of an array (N, V), as (slice within `columns`, (N, v))."""
    for where in track(blocks(len(columns), 4 * len(array)), name):
        chosen = columns[where]
        first, last = int(chosen[0]), int(chosen[-1]) + 1
        block = np.array(array[:, first:last])
        release_pages(array)
        yield where, block[:, chosen - first]
