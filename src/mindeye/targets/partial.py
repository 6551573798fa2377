"""An array of embeddings that is still being written, and goes on where it was cut off."""

from __future__ import annotations

import errno
import os
import time
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import MindEyeError
from mindeye.files import read_json, write_json

KEEP_EVERY = 30.0
"""Seconds of embedding that are lost at most when a run is cut off."""


class Partial:
    """An .npy file that grows row by row and outlives the process that writes it.

    Rows are appended, not written into a mapped file: on a full disk the latter ends the process.

    Parameters
    ----------
    folder, name
        Of the array that it becomes.
    identity
        What it is of, with the final number of rows as ``count`` and their type as ``stored``; the
        rows of another identity are thrown away.
    """

    def __init__(self, folder: Path, name: str, identity: dict[str, Any]) -> None:
        self.path = folder / f".{name}.npy.partial"
        self.record = folder / f".{name}.partial.json"
        self.identity = identity
        self.dtype = np.dtype(identity["stored"])
        self.kept_at = time.monotonic()
        known = read_json(self.record) if self.record.is_file() and self.path.is_file() else {}
        if {k: known.get(k) for k in identity} == identity:
            self.rows, self.shape = int(known["rows"]), tuple(known["shape"])
            # Whatever lies behind the rows that were kept may be torn.
            self.file: BinaryIO = self.path.open("r+b", buffering=0)
            self._header()
            self.file.seek(self.dtype.itemsize * self.rows * prod(self.shape), os.SEEK_CUR)
            self.file.truncate()
        else:
            self.rows, self.shape = 0, ()
            self.record.unlink(missing_ok=True)
            self.file = self.path.open("wb", buffering=0)

    def __enter__(self) -> Partial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.file.close()
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise MindEyeError(
                f"no space left on the disk while writing {self.path}; free some and run the same "
                "command again, what is embedded is kept"
            ) from error

    def append(self, block: NDArray[np.floating]) -> None:
        """Append rows (N, ...) of the type that is stored."""
        if self.rows == 0:
            self.shape = block.shape[1:]
            self._header()
        rest = np.ascontiguousarray(block, dtype=self.dtype).data.cast("B")
        while rest:  # an unbuffered file may take a part only
            rest = rest[self.file.write(rest) :]
        self.rows += len(block)
        if time.monotonic() - self.kept_at >= KEEP_EVERY:
            self._keep()

    def finish(self, path: Path) -> None:
        """Become the finished array at `path`."""
        os.fsync(self.file.fileno())
        os.replace(self.path, path)
        self.record.unlink(missing_ok=True)

    def _header(self) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.identity["count"], *self.shape),
        }
        np.lib.format.write_array_header_1_0(self.file, header)

    def _keep(self) -> None:
        os.fsync(self.file.fileno())
        write_json(self.record, {**self.identity, "shape": list(self.shape), "rows": self.rows})
        self.kept_at = time.monotonic()
