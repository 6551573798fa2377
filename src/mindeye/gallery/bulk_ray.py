"""Shards spread over the workers of Ray Data; what a worker does is `ShardEmbedder`'s alone.

A worker that dies is started again by Ray Data, as often as it takes, and its shard given out
again; a shard that kills worker after worker is given up here after a few. Files are written
atomically and a shard that is there is skipped, so nothing comes twice. On several machines
SHARDS, OUT and the weights have to be on a file system that all of them see.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mindeye.errors import ConfigError, MindEyeError, MissingDependencyError
from mindeye.gallery.bulk_plan import BulkConfig, EncoderFacts, Job, Outcome

OBJECT_STORE = 128 << 20
"""Bytes; jobs and outcomes are a few hundred bytes each, pictures never pass through the store."""

TRIES = 3
"""Workers that may die of a shard before it is given up."""

MOST_BLOCKS = 5_000
"""Ray keeps account of every block; up to so many shards each is one of its own."""


class RayEmbedder:
    """`ShardEmbedder` between the rows of a Ray data set; loads its encoder at the first."""

    def __init__(self) -> None:
        # Without arguments: Ray would keep them in its store, and lose them with a machine.
        self.embed: Callable[[Job], Outcome] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the outcome of the job in a row."""
        job = job_of(row)
        tries = _tries(job)
        begun = len(tries.read_text()) if tries.exists() else 0
        if begun >= TRIES:
            problem = f"{job.shard}: {begun} workers died while they embedded it (out of memory?)"
            return outcome_row(Outcome(job.shard.name, problem=problem))
        tries.parent.mkdir(parents=True, exist_ok=True)
        tries.write_text("x" * (begun + 1))
        if self.embed is None:
            from mindeye.gallery.bulk_shard import ShardEmbedder

            self.embed = ShardEmbedder(BulkConfig(**json.loads(row["config"])), row["device"])
        outcome = self.embed(job)
        tries.unlink(missing_ok=True)
        return outcome_row(outcome)


def _tries(job: Job) -> Path:
    """Return the file, as many characters long as workers have begun with a shard."""
    return job.table.parent / f".{job.table.stem}.tries"


def embed_on_ray(jobs: Sequence[Job], config: BulkConfig) -> Iterator[Outcome]:
    """Yield outcomes as workers bring them, in no order.

    Parameters
    ----------
    jobs
        What is left to do.
    config
        How; `workers` of them, on Ray at `address`.

    Raises
    ------
    MissingDependencyError
        If Ray is not installed.
    ConfigError
        If there is no Ray at the address.
    MindEyeError
        If Ray gives the job up, as when workers die again and again.
    """
    with _ray(config) as ray:
        from ray.data import ActorPoolStrategy

        gpus = ray.cluster_resources().get("GPU", 0)
        if config.device == "cuda" and not gpus:
            raise ConfigError("device=cuda, but Ray has no GPU; set device=cpu")
        device = "cuda" if gpus and config.device != "cpu" else "cpu"
        blocks = min(len(jobs), MOST_BLOCKS)
        for job in jobs:
            _tries(job).unlink(missing_ok=True)
        how = {"config": json.dumps(asdict(config)), "device": device}
        rows = [{**job_row(job), **how} for job in jobs]
        outcomes = ray.data.from_items(rows, override_num_blocks=blocks).map(
            RayEmbedder,
            compute=ActorPoolStrategy(size=min(config.workers, len(jobs))),
            num_cpus=1,
            num_gpus=1 if device == "cuda" else None,
        )
        try:
            for row in outcomes.iter_rows():
                yield outcome_of(row)
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise MindEyeError(
                f"Ray gave the job up ({type(error).__name__}: {reason}); the shards that are done "
                "stay, the same command goes on"
            ) from error


@contextlib.contextmanager
def _ray(config: BulkConfig) -> Iterator[Any]:
    """Yield Ray, connected and quiet; what was started here is stopped again."""
    # Read when Ray is imported or started: nothing is sent home.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Its processes' own log on our standard error; what matters comes as an exception.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError("ray", "ray") from error
    mine = not ray.is_initialized()
    if mine:
        _start(ray, config)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


def _start(ray: Any, config: BulkConfig) -> None:
    given: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if config.address == "auto":
        given["address"] = "auto"
    else:
        # Ray hands out one CPU a worker; more workers than cores would wait for ever.
        given |= {
            "address": "local",
            "num_cpus": max(config.workers, os.cpu_count() or 1),
            "object_store_memory": OBJECT_STORE,
            "include_dashboard": False,
        }
    try:
        ray.init(**given)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise ConfigError(
            f"no Ray at address={config.address} ({reason}); start one with `ray start --head`, "
            "or set address=local"
        ) from error


def job_row(job: Job) -> dict[str, Any]:
    """Return a job as a row of plain values."""
    paths = {"shard": str(job.shard), "vectors": str(job.vectors), "table": str(job.table)}
    return {**paths, **asdict(job.encoder)}


def job_of(row: dict[str, Any]) -> Job:
    """Return the job that a row is of."""
    encoder = EncoderFacts(str(row["id"]), str(row["fingerprint"]), int(row["width"]))
    return Job(Path(row["shard"]), Path(row["vectors"]), Path(row["table"]), encoder)


def outcome_row(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as a row of plain values."""
    # One text: a column of empty lists has no type that other blocks would agree with.
    return {**asdict(outcome), "left_out": "\n".join(outcome.left_out)}


def outcome_of(row: dict[str, Any]) -> Outcome:
    """Return the outcome that a row is of."""
    lines = tuple(str(row["left_out"]).splitlines())
    return Outcome(
        str(row["shard"]),
        int(row["rows"]),
        int(row["lost"]),
        lines,
        str(row["problem"]),
        bool(row["stop"]),
    )
