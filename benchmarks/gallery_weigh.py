"""Memory of a search in a process that does nothing else and has loaded nothing else.

Started by `benchmarks.gallery`; prints one JSON object.

Peak memory of a process, told apart by kind: its own, and pages of mapped files.

Pages of a mapped file can be dropped by the system at any time, a process's own (anonymous) memory
cannot. Linux has a high-water mark of both together only (`VmHWM`), so the own memory is looked up
every few milliseconds.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mindeye.errors import MindEyeError
from mindeye.gallery.gallery import Gallery

STATUS = Path("/proc/self/status")
EVERY = 0.003
"""Seconds between two looks."""


def memory() -> dict[str, int]:
    """Return bytes: ``anonymous``, ``resident`` and ``peak_resident``, as Linux tells them.

    Raises
    ------
    MindEyeError
        If the system is no Linux.
    """
    if not STATUS.is_file():
        raise MindEyeError("bench gallery reads memory from /proc/self/status; run it on Linux")
    found = {}
    for line in STATUS.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if value.endswith("kB"):
            found[name] = int(value.split()[0]) * 1024
    return {
        "anonymous": found["RssAnon"],
        "resident": found["VmRSS"],
        "peak_resident": found["VmHWM"],
    }


class PeakMemory:
    """Watches the memory of this process while it is entered.

    Attributes
    ----------
    anonymous, resident
        Most bytes seen.
    before
        What `memory` gave on entering.
    """

    def __init__(self) -> None:
        self.before = memory()
        self.anonymous, self.resident = self.before["anonymous"], self.before["resident"]
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._watcher.join()
        self._look()

    def _watch(self) -> None:
        while not self._ended.wait(EVERY):
            self._look()

    def _look(self) -> None:
        now = memory()
        self.anonymous = max(self.anonymous, now["anonymous"])
        self.resident = max(self.resident, now["resident"])
        if now["peak_resident"] > self.before["peak_resident"]:
            self.resident = max(self.resident, now["peak_resident"])

    def content(self) -> dict[str, int]:
        """Return bytes for JSON."""
        return {
            "peak_anonymous": self.anonymous,
            "peak_resident": self.resident,
            "anonymous_before": self.before["anonymous"],
        }


def weigh(job: dict[str, Any]) -> dict[str, Any]:
    """Measure the memory of one search, then of a whole batch, on the mapped index."""
    work = Path(job["work"])
    queries = np.load(work / "queries.npy")
    before = memory()
    with PeakMemory() as one:
        gallery = Gallery.open(work / job["index"]).with_options(**job["point"])
        searcher = gallery.searcher
        searcher.search(queries[:1], job["k"])
    with PeakMemory() as batch:
        searcher.search(queries, job["k"])
    size = 2 * len(gallery) * gallery.info.width
    return {
        "vectors_bytes": size,
        "anonymous_before": before["anonymous"],
        "resident_before": before["resident"],
        **{
            f"{name}_{kind}": getattr(peak, kind)
            for name, peak in (("one", one), ("batch", batch))
            for kind in ("anonymous", "resident")
        },
        **{
            f"{name}_{kind}_share": getattr(peak, kind) / size
            for name, peak in (("one", one), ("batch", batch))
            for kind in ("anonymous", "resident")
        },
    }


if __name__ == "__main__":
    try:
        result = weigh(json.loads(sys.argv[1]))
    except MindEyeError as error:
        result = {"error": str(error)}
    print(json.dumps(result))
