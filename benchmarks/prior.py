"""The published prior sampler and ours on one trained prior: quality beside seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.command import reported, run_benchmark
from benchmarks.paper_size import time_paper_size
from benchmarks.prior_table import prior_text
from benchmarks.quality import Quality, compare, gauge
from benchmarks.systems import System, all_systems
from benchmarks.timing import alternate, machine, quiet
from benchmarks.trained import Bench, PriorBenchConfig, opened_run, prepare_bench
from mindeye.config.high import Sampler
from mindeye.files import provenance
from mindeye.progress import track
from mindeye.runs import Workspace

SAME_COSINE = 0.005
"""Largest difference in mean cosine, up or down, that counts as none."""

WANTED_SPEED = 8.0
"""Speed, in units of the published sampler's, that is asked for; both one sample at a time."""

SMALLEST_SPREAD = 0.9
"""Spread, in units of the published sampler's, below which samples turn into point estimates."""

FALLBACK: tuple[Sampler, int] = ("dpmpp", 8)
"""Sampler and steps that are timed at the paper's size if none meets what is asked for."""


def bench_prior(work: Workspace, config: PriorBenchConfig) -> dict[str, Any]:
    """Measure every system on a trained prior; what `mindeye bench prior` writes."""
    facts = machine()
    bench = prepare_bench(work, config)
    timesteps = bench.models["sdpa"].schedule.timesteps
    systems = all_systems(config.steps, timesteps)
    with quiet():
        seconds = _seconds(bench, systems)
    measured = {s.name: measure(bench, s) for s in track(systems, "quality")}
    rows = [_row(s, measured, systems[0], seconds, config) for s in systems]
    chosen = choose(rows)
    content = {
        "bench": "prior",
        **provenance(),
        "machine": facts,
        "run": _run_facts(bench, timesteps),
        "settings": asdict(config),
        "wanted": {"cosine": SAME_COSINE, "speed": WANTED_SPEED, "spread": SMALLEST_SPREAD},
        "floor": _floor(bench),
        "chosen": None if chosen is None else chosen["name"],
        "systems": rows,
    }
    if config.paper_size:
        sampler, steps = FALLBACK if chosen is None else (chosen["sampler"], chosen["steps"])
        content["paper_size"] = time_paper_size(sampler, steps, device=work.device)
    return content


def measure(bench: Bench, system: System) -> Quality:
    """Return the quality of a system's samples, in large batches: these do not change them."""
    again = system.role == "noise floor"

    def draws() -> Iterator[Tensor]:
        for draw in range(bench.config.samples):
            yield bench.sample(system, bench.seeds(draw, again=again))

    with quiet():
        return gauge(draws(), bench.truth, bench.mean)


def _seconds(bench: Bench, systems: list[System]) -> dict[str, dict[str, list[float]]]:
    """Return seconds a sample, one at a time and batched; all systems take turns."""
    config, seeds = bench.config, bench.seeds(0, again=False)
    found: dict[str, dict[str, list[float]]] = {}
    timed = [s for s in systems if s.role != "noise floor"]
    ways = {"single": (config.singles, 1), "batched": (config.batch, config.batch)}
    for way, (wanted, size) in ways.items():
        count = min(wanted, len(bench.condition))
        jobs = {
            s.name: partial(bench.sample, s, seeds, count=count, batch_size=size) for s in timed
        }
        for name, taken in alternate(jobs, config.repetitions).items():
            found.setdefault(name, {})[way] = [t / count for t in taken]
    return found


def _row(
    system: System,
    measured: dict[str, Quality],
    published: System,
    seconds: dict[str, dict[str, list[float]]],
    config: PriorBenchConfig,
) -> dict[str, Any]:
    """Return a system's line of the table."""
    quality = measured[system.name]
    differences = compare(quality, measured[published.name], seed=config.seed)
    row: dict[str, Any] = asdict(system)
    row |= {name: float(values.mean()) for name, values in vars(quality).items()}
    row["against_published"] = {name: asdict(d) for name, d in differences.items()}
    row["seconds_a_sample"], row["speed"] = {}, {}
    for way, taken in seconds.get(system.name, {}).items():
        row["seconds_a_sample"][way] = median(taken)
        row["speed"][way] = median(seconds[published.name][way]) / median(taken)
    row["seconds"] = seconds.get(system.name, {})
    cosine, spread = differences["cosine"], differences["spread_ratio"]
    row["same_cosine"] = abs(cosine.value) <= SAME_COSINE
    row["surely_same_cosine"] = cosine.low >= -SAME_COSINE and cosine.high <= SAME_COSINE
    row["fast_enough"] = row["speed"].get("single", 0.0) >= WANTED_SPEED
    row["still_samples"] = spread.value >= SMALLEST_SPREAD
    return row


def choose(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return our system with the fewest steps that meets all three demands, None if none does.

    Of several with as few steps, the one whose cosine is nearest to the published sampler's.
    """
    meets = [
        row
        for row in rows
        if row["role"] == "ours"
        and row["same_cosine"] and row["fast_enough"] and row["still_samples"]
    ]  # fmt: skip
    return min(
        meets,
        key=lambda row: (row["steps"], abs(row["against_published"]["cosine"]["value"])),
        default=None,
    )


def _floor(bench: Bench) -> dict[str, float]:
    """Return what the mean training embedding scores, without any brain."""
    guess = bench.mean.flatten()[None]
    cosine = torch.nn.functional.cosine_similarity(guess, bench.truth.flatten(1))
    return {"mean_embedding_cosine": float(cosine.mean()), "top1_chance": 1 / len(bench.truth)}


def _run_facts(bench: Bench, timesteps: int) -> dict[str, Any]:
    work = bench.work
    return {
        "folder": str(work.folder),
        "subject": work.subject.fingerprint,
        "prior": asdict(work.config.high.prior),
        "epochs": work.config.high.optim.epochs,
        "timesteps": timesteps,
        "stimuli": len(bench.truth),
        "tokens": bench.truth.shape[1],
        "width": bench.truth.shape[2],
    }


def main(
    *fields: str,
    json: Path,
    config: PriorBenchConfig,
    run: Path | None = None,
    work: Path | None = None,
    preset: str = "demo",
) -> str:
    """Sample a trained prior by the published sampler and by few-step ones.

    Cosine to the true embedding, spread over start noises, seconds a sample. Without --run a
    subject is simulated and a prior trained first.

    Parameters
    ----------
    fields
        Fields of the run that is trained.
    json
        File to write.
    config
        What is measured.
    run
        A run with a trained prior.
    work
        Without --run: where to simulate and train, kept and gone on with by a second call.
    preset
        Without --run: what to train.

    Examples
    --------
    $ python -m benchmarks.prior --run runs/subj01 --samples 4 --json prior.json
    """
    with opened_run(run, work, preset, config.seed, fields) as opened:
        return reported(bench_prior(opened, config), json, prior_text)


if __name__ == "__main__":
    run_benchmark(main)
