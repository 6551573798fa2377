"""Full-size optimisation steps, ours beside the published way of running them, in one go.

Every profile runs in a process of its own on the same batch, initial weights, mixing, noise and
dropout, so that losses can be compared number by number and peak memory belongs to it alone.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from benchmarks.command import reported, run_benchmark
from benchmarks.profiles import PROFILES, profile_config
from benchmarks.train_worker import GIB
from mindeye.config import RunConfig
from mindeye.config.flags import FieldsOf
from mindeye.errors import MindEyeError
from mindeye.files import provenance
from mindeye.models.sizes import Sizes
from mindeye.planning.steps import footprint_of
from mindeye.progress import track

REFERENCE = "as_published"
"""The profile that the others are set against, where it is among them."""

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""torch's switch for transparent huge pages; `mindeye` sets it, the published code did not."""


@dataclass(frozen=True)
class TrainBench:
    """What to run.

    Parameters
    ----------
    preset
        Whose sizes and losses.
    profiles
        Names from `PROFILES`.
    batch_size
        Stimuli a step.
    steps
        Steps a profile; the first one warms up where there are more.
    voxels, tokens, width
        V, K and D of the synthetic data.
    seed
        Of data, weights and everything drawn.
    threads
        Of torch, 0 for its own choice.
    device
        As in a run's configuration.
    fields
        Further ``field=value`` words for all profiles.
    """

    preset: str = "mindeye1"
    profiles: tuple[str, ...] = ("as_published", "fast", "lean")
    batch_size: int = 4
    steps: int = 3
    voxels: int = 15724
    tokens: int = 257
    width: int = 768
    seed: int = 0
    threads: int = 0
    device: str = "auto"
    fields: tuple[str, ...] = ()

    def config(self, profile: str) -> RunConfig:
        """Return a profile's configuration; raises ConfigError where there is none."""
        return profile_config(self.preset, profile, batch_size=self.batch_size, more=self.fields)


def bench_train(bench: TrainBench) -> dict[str, Any]:
    """Run the profiles one after the other.

    Returns
    -------
    dict
        Settings, machine, and by profile: seconds a step and a sample (median after the first
        step), phases, peak memory in GiB and what the planner foretells (with what the process
        held before), losses; beside the published profile the speed-up and
        the largest relative difference of a loss at the first step, before any weight differs.

    Raises
    ------
    ConfigError
        If a profile or field is unknown.
    MindEyeError
        If a process fails for another reason than memory.
    """
    for profile in bench.profiles:
        bench.config(profile)
    results = {p: _run(bench, p) for p in track(bench.profiles, "bench train")}
    reference = results.get(REFERENCE, {})
    for profile, result in results.items():
        if profile != REFERENCE and "steps" in result and "steps" in reference:
            _compare(result, reference)
    return {
        "bench": "train",
        **{k: v for k, v in vars(bench).items() if k not in ("profiles", "fields")},
        "fields": list(bench.fields),
        **provenance(),
        "profiles": {p: {"what": PROFILES[p][0], **r} for p, r in results.items()},
    }


def _run(bench: TrainBench, profile: str) -> dict[str, Any]:
    job = {
        "preset": bench.preset,
        "profile": profile,
        "batch_size": bench.batch_size,
        "steps": bench.steps,
        "sizes": [bench.voxels, bench.tokens, bench.width],
        "seed": bench.seed,
        "threads": bench.threads,
        "device": bench.device,
        "fields": list(bench.fields),
    }
    environment = {k: v for k, v in os.environ.items() if k != HUGE_PAGES}
    if profile not in (REFERENCE, "small_pages"):
        environment[HUGE_PAGES] = "1"
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.train_worker", json.dumps(job)],
        capture_output=True,
        text=True,
        env=environment,
    )
    if answer.returncode == -signal.SIGKILL or "OutOfMemory" in answer.stderr:
        return {"failed": "out of memory"}
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or ["no message"]
        raise MindEyeError(f"bench profile {profile} failed: {lines[-1]}")
    result: dict[str, Any] = json.loads(answer.stdout.strip().splitlines()[-1])
    counted = result["steps"][1:] or result["steps"]
    result["seconds_per_step"] = statistics.median(step["seconds"] for step in counted)
    result["seconds_per_sample"] = result["seconds_per_step"] / bench.batch_size
    sizes = Sizes(bench.voxels, bench.tokens, bench.width, latents=(4, 64, 64))
    planned = footprint_of(sizes, bench.config(profile).high).peak / GIB
    on_card = result["device"].startswith("cuda")
    result["planned_gib"] = planned + (0.0 if on_card else result["before_gib"])
    return result


def _compare(result: dict[str, Any], reference: dict[str, Any]) -> None:
    result["speed_up"] = reference["seconds_per_step"] / result["seconds_per_step"]
    ours, theirs = result["steps"][0]["losses"], reference["steps"][0]["losses"]
    result["largest_loss_difference"] = max(
        abs(ours[name] - theirs[name]) / abs(theirs[name]) for name in theirs
    )


def table(content: dict[str, Any]) -> str:
    """Return a bench's result as text for people."""
    lines = [
        f"{content['preset']}, batch {content['batch_size']}, {content['steps']} steps, "
        f"{content['voxels']} voxels, {content['tokens']} x {content['width']} tokens; "
        "seconds are medians after the first step",
        f"{'profile':<14}{'M params':>9}{'s/step':>9}{'s/sample':>10}{'peak GiB':>10}{'planned':>9}"
        f"{'speed-up':>10}{'loss diff':>11}   losses of the first step",
    ]
    for name, result in content["profiles"].items():
        if "failed" in result:
            lines.append(f"{name:<14}{result['failed']}")
            continue
        speed = f"{result['speed_up']:.2f}" if "speed_up" in result else "-"
        differs = result.get("largest_loss_difference")
        losses = ", ".join(f"{k} {v:.4f}" for k, v in result["steps"][0]["losses"].items())
        lines.append(
            f"{name:<14}{result['parameters'] / 1e6:>9.1f}{result['seconds_per_step']:>9.2f}"
            f"{result['seconds_per_sample']:>10.3f}{result['peak_gib']:>10.2f}"
            f"{result['planned_gib']:>9.2f}{speed:>10}"
            f"{'-' if differs is None else f'{differs:.1%}':>11}   {losses}"
        )
    lines += [f"  {name}: {PROFILES[name][0]}" for name in content["profiles"]]
    return "\n".join(lines)


def main(
    *fields: str,
    json: Path | None = None,
    **given: Annotated[Any, FieldsOf(TrainBench, skip=("fields",))],
) -> str:
    """Time full-size optimisation steps on synthetic data, ours beside the published way.

    Each runs in a process of its own, at equal loss.

    Parameters
    ----------
    fields
        Fields of a run, for all profiles.
    json
        File to write.
    given
        Fields of `TrainBench`.

    Examples
    --------
    $ python -m benchmarks.train --batch-size 4 --steps 3 --profiles fast lean --json train.json
    """
    return reported(bench_train(TrainBench(fields=fields, **given)), json, table)


if __name__ == "__main__":
    run_benchmark(main)
