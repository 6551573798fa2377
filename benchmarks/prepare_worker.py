"""One way of reading a session, or one preparation, in a process of its own.

Started by `benchmarks.prepare`; prints one JSON object.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.prepare_files import chunk_offsets
from mindeye.datasets.nsd.betas import KEY, inspect_betas, read_betas
from mindeye.datasets.nsd.layout import BETA_SCALE, NsdConfig

Stored = NDArray[np.int16]
Places = NDArray[np.int64]
"""(V, 3) x, y, z of the voxels."""
MIB = 1 << 20


def peak_mib() -> float:
    """Return the most memory this process has held, in MiB, pages of mapped files counted.

    Not `ru_maxrss` where it can be helped: Linux hands it down from the process that started this
    one, however large that is.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def forget_peak() -> None:
    """Let `peak_mib` count anew from what is held now, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def ours(path: Path, places: Places) -> NDArray[np.float32]:
    """Read as a preparation does: checked, (T, V) float32 in percent signal change."""
    voxels = pd.DataFrame(places, columns=["x", "y", "z"])
    return read_betas(inspect_betas(path), voxels)


def by_h5py(path: Path, places: Places) -> Stored:
    """Ask h5py for one voxel after the other."""
    with h5py.File(path, "r") as file:
        data = file[KEY]
        return np.stack([data[:, z, y, x] for x, y, z in places.tolist()])


def by_box(path: Path, places: Places) -> Stored:
    """Ask h5py for the box around the region, a layer along Z at a time, and pick."""
    (x0, y0, _), (x1, y1, _) = places.min(axis=0), places.max(axis=0) + 1
    with h5py.File(path, "r") as file:
        data = file[KEY]
        stored = np.empty((len(places), data.shape[0]), dtype=np.int16)
        for z in np.unique(places[:, 2]).tolist():
            rows = np.flatnonzero(places[:, 2] == z)
            layer = data[:, z, y0:y1, x0:x1]
            stored[rows] = layer[:, places[rows, 1] - y0, places[rows, 0] - x0].T
    return stored


def by_chunks(path: Path, places: Places) -> Stored:
    """Ask the library for each voxel's bytes, nothing around it: no checks, no scale."""
    with h5py.File(path, "r") as file:
        data = file[KEY]
        stored = np.empty((len(places), data.shape[0]), dtype=np.int16)
        read = data.id.read_direct_chunk
        order = np.lexsort(places.T)  # of the file, X fastest: near-by chunks share an index node
        for i, (x, y, z) in zip(order.tolist(), places[order].tolist(), strict=True):
            stored[i] = np.frombuffer(read((0, z, y, x))[1], dtype="<i2")
    return stored


class Chunks(NamedTuple):
    """Where the wanted voxels' chunks begin in a file, in bytes, and T."""

    offsets: list[int]
    trials: int


def find_chunks(path: Path, places: Places) -> Chunks:
    """Ask the library where all chunks begin, which is most of the time of what follows."""
    with h5py.File(path, "r") as file:
        where = chunk_offsets(file[KEY])[places[:, 2], places[:, 1], places[:, 0]]
        return Chunks(where.tolist(), int(file[KEY].shape[0]))


def by_pread(path: Path, chunks: Chunks) -> Stored:
    """Read chunks from the plain file, in its order."""
    stored = np.empty((len(chunks.offsets), chunks.trials), dtype=np.int16)
    width = stored.itemsize * chunks.trials
    with path.open("rb") as file:
        number = file.fileno()
        for i in np.argsort(chunks.offsets).tolist():
            stored[i] = np.frombuffer(os.pread(number, width, chunks.offsets[i]), dtype="<i2")
    return stored


def pick(content: NDArray[np.uint8], chunks: Chunks) -> Stored:
    """Pick chunks out of a file's bytes."""
    stored = np.empty((len(chunks.offsets), chunks.trials), dtype=np.int16)
    width = stored.itemsize * chunks.trials
    for row, offset in zip(stored, chunks.offsets, strict=True):
        row[:] = content[offset : offset + width].view("<i2")
    return stored


def by_offsets(path: Path, places: Places) -> Stored:
    """Find where the chunks begin, then read them from the plain file."""
    return by_pread(path, find_chunks(path, places))


def by_map(path: Path, places: Places) -> Stored:
    """Find where the chunks begin, then pick them out of a memory map of the file."""
    return pick(np.memmap(path, dtype=np.uint8, mode="r"), find_chunks(path, places))


def by_whole_file(path: Path, places: Places) -> Stored:
    """Find where the chunks begin, then pick them out of the whole file, read at once."""
    return pick(np.fromfile(path, dtype=np.uint8), find_chunks(path, places))


OURS = "ours"
READERS: dict[str, Callable[[Path, Places], NDArray[Any]]] = {
    OURS: ours,
    "voxel by voxel": by_h5py,
    "box": by_box,
    "chunks": by_chunks,
    "offsets, pread": by_offsets,
    "offsets, map": by_map,
    "whole file": by_whole_file,
}
"""Ways that know nothing but the file."""
FLOOR = "offsets given"
"""The chunks of `find_chunks`, found off the clock: no reader knows them of a file it never saw."""
STEPS = {
    "read_pictures": "pictures",
    "guard_pictures": "leaks",
    "read_sessions": "sessions",
    "guard_voxels": "voxels",
    "alignment_test": "alignment, pictures",
    "measure_voxels": "statistics",
    "write_betas": "scaling",
    "guard_alignment": "alignment",
    "commit_subject": "checksums",
}
"""Functions that `prepare` calls, and what their seconds are called."""


def in_percent(stored: NDArray[Any]) -> NDArray[np.float32]:
    """Bring what a reader returned into the form that ours returns: (T, V) float32."""
    if stored.dtype == np.float32:
        return stored
    betas = np.ascontiguousarray(stored.T).astype(np.float32)
    betas /= np.float32(BETA_SCALE)
    return betas


def _given(path: Path, _: Places, *, chunks: Chunks) -> Stored:
    return by_pread(path, chunks)


def read_once(job: dict[str, Any]) -> dict[str, Any]:
    """Read a session one way: seconds, memory, and a checksum of the numbers."""
    places = np.load(job["places"])
    path, read = Path(job["path"]), READERS.get(job["way"])
    if read is None:
        read = functools.partial(_given, chunks=find_chunks(path, places))
    before, start = peak_mib(), time.perf_counter()
    stored = read(path, places)
    seconds = time.perf_counter() - start
    peak = peak_mib()
    return {
        "seconds": seconds,
        "peak_mib": peak,
        "before_mib": before,
        "checksum": zlib.crc32(in_percent(stored).tobytes()),
    }


def prepare_once(job: dict[str, Any]) -> dict[str, Any]:
    """Do what `mindeye prepare nsd` does: seconds and peak memory of its steps.

    The clocks are put around its functions from outside, so that the tool carries none.
    """
    # Here, so that a process that only reads is up sooner.
    from mindeye.datasets.nsd.reader import read_nsd
    from mindeye.preparation import prepare as preparation

    before = peak_mib()
    seconds: dict[str, float] = {}
    peaks: dict[str, float] = {}

    def clocked(step: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(step)
        def run(*values: Any, **more: Any) -> Any:
            peaks["rest"] = max(peaks.get("rest", 0.0), peak_mib())
            forget_peak()
            since = time.perf_counter()
            found = step(*values, **more)
            seconds[name] = time.perf_counter() - since
            peaks[name] = peak_mib()
            forget_peak()
            return found

        return run

    for function, name in STEPS.items():
        setattr(preparation, function, clocked(getattr(preparation, function), name))
    start = time.perf_counter()
    recording = read_nsd(Path(job["root"]), NsdConfig())
    seconds["tables"] = time.perf_counter() - start
    subject = preparation.prepare(recording, job["out"])
    total = time.perf_counter() - start
    seconds["rest"] = total - sum(seconds.values())
    peaks["rest"] = max(peaks["rest"], peak_mib())
    return {
        "seconds": total,
        "steps": seconds,
        "peak_mib": max(peaks.values()),
        "peak_by_step_mib": peaks,
        "before_mib": before,
        "trials": len(subject.trials),
        "stimuli": len(subject.stimuli),
        "voxels": len(subject.voxels),
        "guards": {
            name: record["verdict"]
            for name, record in subject.info["preparation"].items()
            if isinstance(record, dict) and "verdict" in record
        },
    }


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    print(json.dumps(prepare_once(job) if "root" in job else read_once(job)))
