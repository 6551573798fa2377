"""Whether what a verb needs is there, before any large library is imported."""

from __future__ import annotations

from pathlib import Path

from mindeye.config.fields import closest
from mindeye.errors import DataError


def need_subject(folder: Path) -> None:
    """Refuse a folder that holds no prepared subject.

    Raises
    ------
    DataError
        If it has no `subject.json`.
    """
    if not (folder / "subject.json").is_file():
        raise DataError(
            f"{_missing(folder)} is not a prepared subject (no subject.json); make one with "
            "`mindeye prepare`"
        )


def need_run(folder: Path) -> None:
    """Refuse a folder that holds no run.

    Raises
    ------
    DataError
        If it has no `run.json`.
    """
    if not (folder / "run.json").is_file():
        raise DataError(
            f"{_missing(folder)} holds no run (no run.json); start one with `mindeye run`"
        )


def need_path(path: Path, flag: str) -> None:
    """Refuse a file or folder that is not there.

    Parameters
    ----------
    path
        The file or folder.
    flag
        What the user calls it, like ``--query``.

    Raises
    ------
    DataError
        If there is nothing at the path.
    """
    if not path.exists():
        raise DataError(f"{flag}: {_missing(path)} is not there")


def _missing(path: Path) -> str:
    """Return the path, with the most similar name beside it where it does not exist."""
    if path.exists() or not path.parent.is_dir():
        return str(path)
    close = closest(path.name, [entry.name for entry in path.parent.iterdir()])
    return f"{path} (did you mean {path.parent / close}?)" if close else str(path)
