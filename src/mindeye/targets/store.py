"""Embeddings on disk: computed once, memory-mapped, keyed by model, weights and versions.

::

    DIR/NAME.npy            (S, ...) float32 or float16, finished
        NAME.json           its identity; written after the array, which counts only with it
        .NAME.npy.partial   an array still being written, see `mindeye.arrays`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.arrays import array_writer
from mindeye.data.images import to_images
from mindeye.errors import CheckpointError, DataError
from mindeye.files import NPY_ERRORS, read_json, write_json
from mindeye.processes import Processes
from mindeye.progress import track

Stored = Literal["float32", "float16"]
Prepare = Callable[[Tensor, range], Tensor]


@dataclass(frozen=True)
class _Job:
    """What is embedded, and how it is cut into batches."""

    name: str
    encode: Callable[[Tensor], Tensor]
    pictures: NDArray[np.uint8]
    batch_size: int
    prepare: Prepare | None
    stored: Stored

    def block(self, rows: range) -> Tensor:
        """Return embeddings (N, ...) of some rows, float32 on the CPU."""
        images = to_images(self.pictures[rows.start : rows.stop])
        if self.prepare is not None:
            images = self.prepare(images, rows)
        return self.encode(images).float().cpu()

    def checked(self, block: Tensor, first: int) -> NDArray[np.floating]:
        """Return rows as they are stored; refuse those that are not finite."""
        values: NDArray[np.floating] = block.numpy()
        with np.errstate(over="ignore"):
            kept = values.astype(self.stored, copy=False)
        bad = ~np.isfinite(kept).reshape(len(kept), -1).all(axis=1)
        if bad.any():
            row = int(bad.argmax())
            large = bool(np.isfinite(values[row]).all())
            why = (
                f"too large for {self.stored}; set targets.stored=float32"
                if large
                else ("not finite")
            )
            raise DataError(f"the {self.name} of picture {first + row} are {why}")
        return kept


def write_embeddings(
    folder: Path,
    name: str,
    encode: Callable[[Tensor], Tensor],
    pictures: NDArray[np.uint8],
    *,
    fingerprint: str,
    batch_size: int = 64,
    prepare: Prepare | None = None,
    stored: Stored = "float32",
    processes: Processes | None = None,
) -> NDArray[np.floating]:
    """Embed every picture and keep the result, or open it if it is already there.

    A call that was cut off goes on where it left off, with however many processes. Several
    processes take whole batches in turn, cut where one process cuts them, so that the array does
    not change with their number; the first one writes it.

    Parameters
    ----------
    folder
        Folder of the store.
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
    stored
        Type of the numbers on disk.
    processes
        The process group that shares the work, each process of which makes this call; None for
        this process alone.

    Returns
    -------
    array
        (S, ...) of type `stored`, memory-mapped.

    Raises
    ------
    DataError
        If the model returns a value that is not finite, or too large for what is stored; names the
        first such picture.
    MindEyeError
        If the disk is full.
    """
    processes = processes or Processes(torch.device("cpu"))
    job = _Job(name, encode, pictures, batch_size, prepare, stored)
    first = processes.index == 0
    done = first and _is_there(folder, name, fingerprint, stored)
    if _from_first(processes, int(done)):
        return read_embeddings(folder, name, fingerprint=fingerprint)
    # The batch size is part of it: batches must be cut where an uninterrupted call cuts them.
    key = {"fingerprint": fingerprint, "batch_size": batch_size}
    if not first:
        for _ in _blocks(job, processes, _from_first(processes, 0)):
            pass
        processes.wait()
        return read_embeddings(folder, name, fingerprint=fingerprint)
    with array_writer(
        folder / f"{name}.npy", len(pictures), stored, key=key, kept="what is embedded is kept"
    ) as array:
        for block in _blocks(job, processes, _from_first(processes, array.done)):
            array.append(block)
        # An old identity must not stand beside a new array, not even for a moment.
        (folder / f"{name}.json").unlink(missing_ok=True)
    content = {"fingerprint": fingerprint, "count": len(pictures), "stored": stored}
    write_json(folder / f"{name}.json", content)
    processes.wait()
    return read_embeddings(folder, name, fingerprint=fingerprint)


def _blocks(job: _Job, processes: Processes, start: int) -> Iterator[NDArray[np.floating]]:
    """Yield all rows from `start` on, in order, on every process; each computes its batches."""
    size, count = job.batch_size, len(job.pictures)
    rounds = range(start, count, size * processes.count)
    # A resumed call may start amid a round of more processes; rounds are counted from there.
    before = start // (size * processes.count)
    for first in track(rounds, f"embed {job.name}", done=before, shown=processes.index == 0):
        rows = min(size * processes.count, count - first)
        own = first + size * processes.index
        if own >= count:
            own = first  # what a process without a batch gives is cut off below
        block = job.block(range(own, min(own + size, count)))
        if processes.count > 1:
            padded = block.new_zeros((size, *block.shape[1:]))
            padded[: len(block)] = block
            padded = padded.to(processes.device)
            block = processes.gather_rows(padded, size * processes.count)[:rows].cpu()
        yield job.checked(block, first)


def _from_first(processes: Processes, value: int) -> int:
    """Return the first process's value on all of them."""
    own = value if processes.index == 0 else 0
    return int(processes.total(torch.tensor([own], device=processes.device)))


def _is_there(folder: Path, name: str, fingerprint: str, stored: Stored) -> bool:
    meta = folder / f"{name}.json"
    known = read_json(meta) if meta.is_file() else {}
    same = known.get("stored", "float32") == stored
    return same and known.get("fingerprint") == fingerprint


def read_embeddings(folder: Path, name: str, *, fingerprint: str) -> NDArray[np.floating]:
    """Open stored embeddings (S, ...), memory-mapped; changes to them never reach the file.

    They are of the type that is stored: turn what is read of them into float32.

    Raises
    ------
    CheckpointError
        If they are missing, damaged, or were made by another model, other weights or other
        pictures.
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
    path = folder / f"{name}.npy"
    try:
        stored: NDArray[np.floating] = np.load(path, mmap_mode="c", allow_pickle=False)
    except NPY_ERRORS as error:
        raise CheckpointError(
            f"{path} is missing or damaged ({error}); delete {meta.name} to have it embedded again"
        ) from error
    return stored
