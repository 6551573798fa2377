"""The command line's bench of scoring reconstructions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from mindeye.errors import UsageError
from mindeye.files import write_json

NewParser = Callable[..., ArgumentParser]


def add_bench_evaluate(benches: Any, new: NewParser) -> None:
    """Add ``bench evaluate``."""
    evaluate = new(
        "Score made-up reconstructions by the eight metrics, ours beside the published script's "
        "way, in turns, each in a process of its own: time, share of the networks, peak memory, "
        "equality of scores. Networks that are not here get random weights, for timing only."
    )
    evaluate.add_argument("--json", type=Path, required=True, help="file to write")
    evaluate.add_argument("--pictures", type=int, default=100, help="reconstructions")
    evaluate.add_argument("--size", type=int, default=256, help="their side in pixels")
    evaluate.add_argument(
        "--weights", type=Path | None, default=None,
        help="folder of `mindeye fetch metrics`; else MINDEYE_WEIGHTS, else the usual caches",
    )  # fmt: skip
    evaluate.add_argument("--seed", type=int, default=0, help="of pictures and random weights")
    evaluate.add_argument("--repetitions", type=int, default=3, help="timings a way, in turns")
    evaluate.add_argument(
        "--networks", type=str, default="all", help="layers, with commas between, as in docs"
    )
    evaluate.add_argument("--threads", type=int, default=0, help="of torch, 0 for its own choice")
    benches.add_subcommand("evaluate", evaluate, help="metrics of reconstructions")


def bench_evaluate(flags: Namespace, overrides: Sequence[str]) -> str:
    """Return the text that ``bench evaluate`` prints."""
    from benchmarks.evaluate import EvaluateBench, bench_evaluate, table
    from mindeye.metrics.networks import NETWORKS

    if overrides:
        raise UsageError(f"bench evaluate takes no fields of a run; leave out {overrides[0]}")
    named = tuple(NETWORKS) if flags.networks == "all" else tuple(flags.networks.split(","))
    content = bench_evaluate(
        EvaluateBench(
            pictures=flags.pictures,
            size=flags.size,
            weights=flags.weights,
            seed=flags.seed,
            repetitions=flags.repetitions,
            networks=named,
            threads=flags.threads,
        )
    )
    write_json(flags.json, content)
    return table(content)
