"""Run folders: atomic writes, provenance, stage markers and the metrics log."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye import __version__
from mindeye.errors import DataError, MindEyeError

SMALLEST_FREE = 1 << 16
"""Bytes; a write that failed with less than this left failed for want of space."""

LIBRARIES = ("torch", "numpy", "transformers", "diffusers", "scikit-image", "himalaya")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` that replaces it only if the block succeeds.

    Raises
    ------
    MindEyeError
        If the disk is full; names the file. What stood at `path` before stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=f".part{path.suffix}"
    )
    os.close(handle)
    temporary = Path(name)
    try:
        with naming_full_disk(path):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming_full_disk(path: Path, kept: str = "finished stages are kept") -> Iterator[None]:
    """Turn the error of a write that found no space into one that says so.

    Parameters
    ----------
    path
        The file that is written.
    kept
        What is not lost by it, for the message.

    Raises
    ------
    MindEyeError
        If the disk is full; names the file.
    """
    try:
        yield
    except Exception as error:
        if _is_full_disk(error, path.parent):
            raise MindEyeError(
                f"no space left on the disk while writing {path}; free some and run the same "
                f"command again, {kept}"
            ) from error
        raise


def _is_full_disk(error: Exception, folder: Path) -> bool:
    """Tell a full disk, also where a library hides the system's error (NumPy, safetensors)."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    if "No space left" in str(error):
        return True
    return isinstance(error, OSError) and shutil.disk_usage(folder).free < SMALLEST_FREE


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(content, indent=2, sort_keys=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an .npy file atomically; object arrays are refused since they would be pickles."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


NPY_ERRORS = (
    ValueError,
    TypeError,
    SyntaxError,
    TokenError,
    EOFError,
    OSError,
    OverflowError,
    MemoryError,
)
"""What NumPy raises at a damaged .npy file; its header is a Python literal, read as one."""


def open_array(path: Path, advice: str) -> NDArray[Any]:
    """Open an .npy file memory-mapped, read-only; nothing in it is executed.

    Parameters
    ----------
    path
        Path of the file.
    advice
        What to do if it is not one, for the message.

    Raises
    ------
    DataError
        If the file is missing, damaged, no .npy file, or one of Python objects.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except NPY_ERRORS as error:
        raise DataError(
            f"{path} is missing or not a plain .npy array ({error}); {advice}"
        ) from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} is an archive of arrays, not one .npy array; {advice}")
    return array


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of mindeye, Python and the libraries that decide results."""
    found = {"mindeye": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def provenance() -> dict[str, Any]:
    """Return versions, git commit (where the package is a checkout), machine and date."""
    commit = None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
        )
        commit = answer.stdout.strip() or None
    return {
        "versions": versions(),
        "git_commit": commit,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def stage_done(folder: Path, key: str) -> bool:
    """Return whether the stage in `folder` was finished under the same key."""
    marker = folder / "stage.json"
    return marker.is_file() and read_json(marker).get("key") == key


def run_stage(folder: Path, key: str, work: Callable[[], Any]) -> bool:
    """Do a stage unless it is already done, and mark it as done after its last file.

    Parameters
    ----------
    folder
        The stage's folder; the marker `stage.json` is written into it last.
    key
        Hash of everything the stage depends on.
    work
        Does the stage; leaves its files in `folder`.

    Returns
    -------
    bool
        Whether there was work to do.
    """
    if stage_done(folder, key):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    work()
    seconds = round(time.perf_counter() - start, 2)
    write_json(folder / "stage.json", {"key": key, "seconds": seconds, **provenance()})
    return True


class MetricsLog:
    """Append-only JSON lines ``{"step": ..., "name": ..., "value": ...}`` of a training.

    Parameters
    ----------
    path
        The log file; lines past `keep_until` (left by an interrupted run) are dropped.
    keep_until
        Last step that the resumed checkpoint has seen.
    """

    def __init__(self, path: Path, *, keep_until: int = 0) -> None:
        self.path = path
        kept = [line for line in self.rows(path) if line["step"] <= keep_until]
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))

    def add(self, step: int, **values: float) -> None:
        """Append values at an optimiser step."""
        with self.path.open("a", encoding="utf-8") as file:
            for name, value in values.items():
                file.write(json.dumps({"step": step, "name": name, "value": float(value)}) + "\n")

    @staticmethod
    def rows(path: Path) -> list[dict[str, Any]]:
        """Return all complete lines; a last line torn by a crash is left out."""
        if not path.is_file():
            return []
        rows = []
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                rows.append(json.loads(line))
        return rows
