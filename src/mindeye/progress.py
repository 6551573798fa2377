"""Progress bars with an ETA, on standard error; silent when `MINDEYE_PROGRESS=0`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")


def track(
    items: Iterable[T],
    description: str,
    *,
    total: int | None = None,
    done: int = 0,
    shown: bool = True,
) -> Iterator[T]:
    """Yield items under a progress bar with elapsed time and ETA.

    Parameters
    ----------
    items
        What is left to do.
    description
        Name of the stage, shown before the bar.
    total
        Number of all items, taken from `items` if it has a length.
    done
        Items finished by an earlier, interrupted call.
    shown
        False for processes whose bar would only repeat another's.
    """
    if total is None and isinstance(items, Sized):
        total = done + len(items)
    yield from tqdm(items, **_look(description, total, done, shown))


def bytes_bar(description: str, *, total: int, done: int = 0) -> tqdm[Any]:
    """Return a bar that counts bytes by its `update(n)`; a context manager.

    Parameters
    ----------
    description
        Name of the stage, shown before the bar.
    total
        Bytes of everything.
    done
        Bytes that an earlier, interrupted call left.
    """
    return tqdm(unit="B", unit_scale=True, **_look(description, total, done, True))


def _look(description: str, total: int | None, done: int, shown: bool) -> dict[str, Any]:
    """Return what all bars have in common."""
    return {
        "desc": f"{description:<12}",
        "total": total,
        "initial": done,
        # No bar for what is done at once.
        "delay": 1.0,
        # A file or a CI log gets a line every few seconds, a terminal a living bar.
        "mininterval": 0.1 if sys.stderr.isatty() else 5.0,
        "disable": not shown or os.environ.get("MINDEYE_PROGRESS") == "0",
        "dynamic_ncols": True,
    }
