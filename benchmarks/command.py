"""Command line of a benchmark: flags and help come from the signature of its `main`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mindeye.cli import run_verb
from mindeye.files import write_json


def run_benchmark(main: Callable[..., Any]) -> None:
    """Call the `main` of a benchmark with the words of the process, and end the process."""
    name = f"python -m benchmarks.{Path(sys.argv[0]).stem}"
    sys.exit(run_verb(name, main, sys.argv[1:]))


def reported(content: dict[str, Any], json: Path | None, table: Callable[[Any], str]) -> str:
    """Write what was measured to a file, if one is named, and return it as text."""
    if json is not None:
        write_json(json, content)
    return table(content)
