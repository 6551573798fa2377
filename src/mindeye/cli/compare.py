"""The command line's verb that tests two scored runs against each other. No logic lives here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

NewParser = Callable[..., ArgumentParser]


def add_compare(verbs: Any, new: NewParser) -> None:
    """Add the verb ``compare``."""
    compare = new(
        "Test two scored runs against each other, stimulus by stimulus: difference, bootstrap "
        "interval, permutation p, p adjusted for the number of tests. Folders are those of "
        "`mindeye run` or `mindeye evaluate`; two folders that hold one run a subject each, under "
        "the same names, are compared over subjects."
    )
    compare.add_argument("run_a", type=Path, help="folder A")
    compare.add_argument("run_b", type=Path, help="folder B; with --systems it may be A again")
    compare.add_argument("--system", type=str, default="", help="only this system of both")
    compare.add_argument(
        "--systems", type=str, default="",
        help="systems under two names, A's before B's: both=high,mindeye=ridge",
    )  # fmt: skip
    compare.add_argument(
        "--out", type=Path | None, default=None,
        help="folder to write compare.json, compare.csv and compare.png to",
    )  # fmt: skip
    compare.add_argument("--level", type=float, default=0.95, help="of the intervals")
    compare.add_argument(
        "--resamples", type=int, default=10_000, help="bootstrap resamples, and permutations"
    )
    compare.add_argument("--seed", type=int, default=0, help="of both")
    verbs.add_subcommand("compare", compare, help="paired tests between two scored runs")


def compare(flags: Namespace) -> str:
    """Return the text that ``compare`` prints."""
    from mindeye.metrics import comparison, comparison_output

    table = comparison.compare(
        flags.run_a,
        flags.run_b,
        systems=comparison.parse_systems(flags.system, flags.systems),
        level=flags.level,
        resamples=flags.resamples,
        seed=flags.seed,
    )
    text = comparison_output.text_of_comparison(table)
    if flags.out is None:
        return text
    comparison_output.write_comparison(table, flags.out)
    return f"{text}\n\n{flags.out} holds compare.json, compare.csv and compare.png"
