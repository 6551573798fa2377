"""Seconds of jobs that take turns, and the machine they were taken on."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

Job = Callable[[], object]


def alternate(
    jobs: Mapping[str, Job], repetitions: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Time jobs in turns (A B C, A B C, ...), so that a drift of the machine hits all alike.

    Parameters
    ----------
    jobs
        By name; what they return is dropped.
    repetitions
        Times that each is done under the clock.
    warm_up
        Do each once before, off the clock: caches fill, kernels are chosen.

    Returns
    -------
    dict
        Seconds of every repetition, by name, in the order of `jobs`.
    """
    if repetitions < 1:
        raise ValueError(f"repetitions is {repetitions}; it must be at least 1")
    if warm_up:
        for job in jobs.values():
            job()
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repetitions):
        for name, job in jobs.items():
            seconds[name].append(clocked(job))
    return seconds


def clocked(job: Job) -> float:
    """Return the seconds of a job, to the end of what it set going on a GPU."""
    finish_device_work()
    start = time.perf_counter()
    job()
    finish_device_work()
    return time.perf_counter() - start


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Switch progress bars off: a bar a job would be more text than the result."""
    before = os.environ.get("MINDEYE_PROGRESS")
    os.environ["MINDEYE_PROGRESS"] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINDEYE_PROGRESS"]
        else:
            os.environ["MINDEYE_PROGRESS"] = before


def finish_device_work() -> None:
    """Wait for what was set going on a GPU."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


def machine() -> dict[str, Any]:
    """Return what seconds depend on: processor, threads, load, torch, GPU.

    `load` is the number of processes that wanted a core in the minute before: more than this one
    process wants means that somebody else worked, too.
    """
    facts: dict[str, Any] = {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "torch": str(torch.__version__),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def processor_name() -> str:
    """Return the processor's name as the system knows it."""
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
