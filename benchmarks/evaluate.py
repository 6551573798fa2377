"""Scoring of reconstructions, ours beside the published script's way, in one go.

Both ways score the same pictures by the same eight metrics through the same networks, each in a
process of its own so that peak memory belongs to it alone, in turns so that a drift of the machine
hits both. Building or loading the networks is not timed.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.command import reported, run_benchmark
from benchmarks.timing import machine
from mindeye.errors import MindEyeError, UsageError
from mindeye.files import provenance
from mindeye.metrics.networks import NETWORKS
from mindeye.progress import track

OURS, PUBLISHED = "ours", "published"

WAYS = {
    OURS: "batches, one forward pass a network, correlations by blocks of columns",
    PUBLISHED: "the whole set at once through every network, AlexNet twice, loops over pictures, "
    "correlations of the stack of both sets",
}
"""What is compared; the second is Reconstruction_Metrics of MedARC-AI/fMRI-reconstruction-NSD,
written anew, without antialiasing as torchvision of its time resized tensors."""

SAME = 1e-5
"""Largest difference of a score at which both ways are said to give the same."""


@dataclass(frozen=True)
class EvaluateBench:
    """What to run.

    Parameters
    ----------
    pictures
        Reconstructions, at least 2.
    size
        Side in pixels.
    weights
        Folder of the networks' weights, else the usual caches; random weights where there are
        none, which is for timing only.
    seed
        Of pictures and random weights.
    repetitions
        Times that each way is run.
    networks
        Layers to score by, of `NETWORKS`.
    threads
        Of torch, 0 for its own choice.
    """

    pictures: int = 100
    size: int = 256
    weights: Path | None = None
    seed: int = 0
    repetitions: int = 3
    networks: tuple[str, ...] = tuple(NETWORKS)
    threads: int = 0

    def __post_init__(self) -> None:
        if self.pictures < 2 or self.size < 32 or self.repetitions < 1 or self.threads < 0:
            raise UsageError(
                "bench evaluate needs 2 pictures of 32 px, 1 repetition and no negative threads; "
                f"got {self.pictures}, {self.size}, {self.repetitions}, {self.threads}"
            )
        unknown = set(self.networks) - set(NETWORKS)
        if unknown:
            raise UsageError(f"no networks {sorted(unknown)}; known: {', '.join(NETWORKS)}")
        if self.weights is not None and not self.weights.is_dir():
            raise UsageError(f"--weights {self.weights} is no folder; leave it out for the caches")


def bench_evaluate(bench: EvaluateBench) -> dict[str, Any]:
    """Run both ways in turns.

    Returns
    -------
    dict
        Settings, machine, networks of random weights, and by way: seconds of every repetition and
        their median, seconds within forward passes, seconds by metric, peak memory and what the
        process held before it began (GiB), scores; of ours the speed-up, the share of its time in
        forward passes, the speed-up of all that is not forward passes, and the largest difference
        of a score.

    Raises
    ------
    MindEyeError
        If a process fails for another reason than memory.
    """
    facts = machine()
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    turns = [way for _ in range(bench.repetitions) for way in WAYS]
    for way in track(turns, "evaluate"):
        if not any("failed" in run for run in runs[way]):
            runs[way].append(_run(bench, way))
    ways = {way: {"what": WAYS[way], **_summary(runs[way])} for way in WAYS}
    if all("seconds" in result for result in ways.values()):
        _compare(ways[OURS], ways[PUBLISHED])
    return {
        "bench": "evaluate",
        "pictures": bench.pictures,
        "size": bench.size,
        "seed": bench.seed,
        "repetitions": bench.repetitions,
        "threads": bench.threads,
        "networks": list(bench.networks),
        "random_weights": next((r[0]["random"] for r in runs.values() if "random" in r[0]), []),
        **provenance(),
        "machine": {**facts, "load_after": machine()["load"]},
        "ways": ways,
    }


def _run(bench: EvaluateBench, way: str) -> dict[str, Any]:
    job = {
        "way": way,
        "pictures": bench.pictures,
        "size": bench.size,
        "weights": None if bench.weights is None else str(bench.weights),
        "seed": bench.seed,
        "networks": list(bench.networks),
        "threads": bench.threads,
    }
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.evaluate_worker", json.dumps(job)],
        capture_output=True,
        text=True,
    )
    if answer.returncode == -signal.SIGKILL or "allocate memory" in answer.stderr:
        return {"failed": "out of memory"}
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or ["no message"]
        raise MindEyeError(f"bench evaluate, way {way}, failed: {lines[-1]}")
    found: dict[str, Any] = json.loads(answer.stdout.strip().splitlines()[-1])
    return found


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Put a way's repetitions together."""
    failed = [run for run in runs if "failed" in run]
    if failed:
        return failed[0]
    middle = sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]
    return {
        "seconds": statistics.median(run["seconds"] for run in runs),
        "seconds_of_repetitions": [run["seconds"] for run in runs],
        "forward_seconds": middle["forward_seconds"],
        "forward_share": middle["forward_seconds"] / middle["seconds"],
        "other_seconds": middle["seconds"] - middle["forward_seconds"],
        "seconds_by_part": middle["parts"],
        "peak_gib": max(run["peak_gib"] for run in runs),
        "before_gib": middle["before_gib"],
        "scores": runs[0]["scores"],
    }


def _compare(ours: dict[str, Any], published: dict[str, Any]) -> None:
    differences = {
        name: abs(value - published["scores"][name]) for name, value in ours["scores"].items()
    }
    ours["largest_difference"] = max(differences.values())
    ours["differences"] = differences
    ours["same_scores"] = ours["largest_difference"] <= SAME
    ours["speed_up"] = published["seconds"] / ours["seconds"]
    ours["speed_up_of_the_rest"] = published["other_seconds"] / ours["other_seconds"]


def table(content: dict[str, Any]) -> str:
    """Return a bench's result as text for people."""
    place = content["machine"]
    lines = [
        f"{content['pictures']} reconstructions of {content['size']} px, "
        f"{2 + len(content['networks'])} metrics, {content['repetitions']} repetitions in turns; "
        f"{content['threads'] or place['threads']} threads, load {place['load']}",
        f"{'way':<11}{'s':>9}{'forward s':>11}{'rest s':>9}{'peak GiB':>10}{'before':>8}",
    ]
    for name, way in content["ways"].items():
        if "failed" in way:
            lines.append(f"{name:<11}{way['failed']}")
            continue
        lines.append(
            f"{name:<11}{way['seconds']:>9.2f}{way['forward_seconds']:>11.2f}"
            f"{way['other_seconds']:>9.2f}{way['peak_gib']:>10.2f}{way['before_gib']:>8.2f}"
        )
    ours = content["ways"][OURS]
    if "speed_up" in ours:
        lines.append(
            f"ours is {ours['speed_up']:.2f} times as fast, {ours['forward_share']:.0%} of it in "
            f"forward passes; all else {ours['speed_up_of_the_rest']:.1f} times; largest "
            f"difference of a score {ours['largest_difference']:.1e}"
        )
    if content["random_weights"]:
        lines.append(
            f"random weights, for timing only, these scores mean nothing: "
            f"{', '.join(content['random_weights'])}"
        )
    return "\n".join([*lines, *(f"  {name}: {what}" for name, what in WAYS.items())])


def main(*, json: Path, bench: EvaluateBench) -> str:
    """Score made-up reconstructions, ours beside the published script's way, in turns.

    Time, share of the networks, peak memory, equality of scores. Networks that are not here get
    random weights, for timing only.

    Parameters
    ----------
    json
        File to write.
    bench
        What is measured.

    Examples
    --------
    $ python -m benchmarks.evaluate --pictures 100 --repetitions 1 --json evaluate.json
    """
    return reported(bench_evaluate(bench), json, table)


if __name__ == "__main__":
    run_benchmark(main)
