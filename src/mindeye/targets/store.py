"""Embeddings on disk: computed once, memory-mapped, keyed by model, weights and versions.

::

    DIR/NAME.npy            (S, ...) float32, finished
        NAME.json           its identity; written after the array, which counts only with it
        .NAME.npy.partial   an array still being written, row by row
        .NAME.partial.json  its identity and how many of its rows are safe on disk
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mindeye.errors import CheckpointError, DataError, MindEyeError
from mindeye.progress import track
from mindeye.runs import read_json, write_json
from mindeye.targets.images import to_images

KEEP_EVERY = 30.0
"""Seconds of embedding that are lost at most when a run is cut off."""


def write_embeddings(
    folder: Path,
    name: str,
    encode: Callable[[Tensor], Tensor],
    pictures: NDArray[np.uint8],
    *,
    fingerprint: str,
    batch_size: int = 64,
    prepare: Callable[[Tensor, range], Tensor] | None = None,
) -> NDArray[np.float32]:
    """Embed every picture and keep the result, or open it if it is already there.

    A call that was cut off goes on where it left off.

    Parameters
    ----------
    folder
        Where the store is.
    name
        Name of the array, such as ``tokens`` or ``latents``.
    encode
        Images (N, 3, H, W) -> embeddings (N, ...).
    pictures
        (S, H, W, 3), 0..255.
    fingerprint
        Identity of the model and of the pictures; a store of another identity is replaced.
    batch_size
        Pictures embedded at once.
    prepare
        What becomes of images (N, 3, H, W) before they are encoded, given the rows of `pictures`
        that they are; nothing by default.

    Returns
    -------
    array
        (S, ...) float32, memory-mapped.

    Raises
    ------
    DataError
        If the model returns a value that is not finite; names the first such picture.
    MindEyeError
        If the disk is full.
    """
    meta = folder / f"{name}.json"
    if meta.is_file() and read_json(meta).get("fingerprint") == fingerprint:
        return read_embeddings(folder, name, fingerprint=fingerprint)
    folder.mkdir(parents=True, exist_ok=True)
    # The batch size is part of it: batches must be cut where an uninterrupted call cuts them.
    identity = {"fingerprint": fingerprint, "count": len(pictures), "batch_size": batch_size}
    with _Partial(folder, name, identity) as partial:
        starts = range(partial.rows, len(pictures), batch_size)
        done = partial.rows // batch_size
        for start in track(starts, f"embed {name}", done=done):
            rows = range(start, min(start + batch_size, len(pictures)))
            images = to_images(pictures[rows.start : rows.stop])
            if prepare is not None:
                images = prepare(images, rows)
            block = encode(images).float().cpu().numpy()
            bad = ~np.isfinite(block).reshape(len(block), -1).all(axis=1)
            if bad.any():
                raise DataError(f"the {name} of picture {start + int(bad.argmax())} are not finite")
            partial.append(block)
        # An old identity must not stand beside a new array, not even for a moment.
        meta.unlink(missing_ok=True)
        partial.finish(folder / f"{name}.npy")
    write_json(meta, {"fingerprint": fingerprint, "count": len(pictures)})
    return read_embeddings(folder, name, fingerprint=fingerprint)


def read_embeddings(folder: Path, name: str, *, fingerprint: str) -> NDArray[np.float32]:
    """Open stored embeddings (S, ...), memory-mapped; changes to them never reach the file.

    Raises
    ------
    CheckpointError
        If they are missing or were made by another model, other weights or other pictures.
    """
    meta = folder / f"{name}.json"
    if not meta.is_file():
        raise CheckpointError(f"no {name} in {folder}; run the stage embed first")
    found = read_json(meta).get("fingerprint")
    if found != fingerprint:
        raise CheckpointError(
            f"{folder / name}.npy was made under {found}, this run needs {fingerprint}; delete it "
            "to have it embedded again"
        )
    # Copy on write: torch shares the memory of such an array without a warning, and without the
    # file ever being written to.
    stored: NDArray[np.float32] = np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
    return stored


class _Partial:
    """An .npy file that grows row by row and outlives the process that writes it.

    Rows are appended, not written into a mapped file: on a full disk the latter ends the process.

    Parameters
    ----------
    folder, name
        Of the array that it becomes.
    identity
        What it is of, with the final number of rows as ``count``; the rows of another identity
        are thrown away.
    """

    def __init__(self, folder: Path, name: str, identity: dict[str, Any]) -> None:
        self.path = folder / f".{name}.npy.partial"
        self.record = folder / f".{name}.partial.json"
        self.identity = identity
        self.kept_at = time.monotonic()
        known = read_json(self.record) if self.record.is_file() and self.path.is_file() else {}
        if {k: known.get(k) for k in identity} == identity:
            self.rows, self.shape = int(known["rows"]), tuple(known["shape"])
            # Whatever lies behind the rows that were kept may be torn.
            self.file: BinaryIO = self.path.open("r+b", buffering=0)
            self._header()
            self.file.seek(4 * self.rows * prod(self.shape), os.SEEK_CUR)
            self.file.truncate()
        else:
            self.rows, self.shape = 0, ()
            self.record.unlink(missing_ok=True)
            self.file = self.path.open("wb", buffering=0)

    def __enter__(self) -> _Partial:
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

    def append(self, block: NDArray[np.float32]) -> None:
        """Append rows (N, ...)."""
        if self.rows == 0:
            self.shape = block.shape[1:]
            self._header()
        rest = np.ascontiguousarray(block, dtype=np.float32).data.cast("B")
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
            "descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)),
            "fortran_order": False,
            "shape": (self.identity["count"], *self.shape),
        }
        np.lib.format.write_array_header_1_0(self.file, header)

    def _keep(self) -> None:
        os.fsync(self.file.fileno())
        write_json(self.record, {**self.identity, "shape": list(self.shape), "rows": self.rows})
        self.kept_at = time.monotonic()
