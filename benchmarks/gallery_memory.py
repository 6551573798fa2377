"""Peak memory of a process, told apart by kind: its own, and pages of mapped files.

Pages of a mapped file can be dropped by the system at any time, a process's own (anonymous) memory
cannot. Linux has a high-water mark of both together only (`VmHWM`), so the own memory is looked up
every few milliseconds.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

from mindeye.errors import MindEyeError

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
