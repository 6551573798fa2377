"""Bulk embedding: shards of pictures to precomputed embeddings, on one machine or on many.

::

    OUT/bulk.json                          encoder, width, digits, names of the shards in order
        img_emb/img_emb_00000.npy          (n, D) float16, unit vectors of the first shard
        metadata/metadata_00000.parquet    n rows: image_path, caption, url, key, shard

This is the layout that clip-retrieval writes (its `OutputSink`, clip_inference/writer.py) and
LAION's embeddings were published in; not checked against published files here. A shard keeps its
number for good, so that a second call, with more shards or fewer broken ones, goes on. Workers of
Ray write the files themselves: on several machines SHARDS, OUT and the weights have to be on a file
system that all of them see.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mindeye.errors import ConfigError, DataError, MissingDependencyError, UsageError
from mindeye.files import open_array, read_json, write_array, write_json
from mindeye.gallery.config import BulkConfig
from mindeye.gallery.exact import unit_rows
from mindeye.gallery.pictures import read_shard
from mindeye.gallery.sources import embedded, shards_in
from mindeye.gallery.store import arrow, write_table
from mindeye.progress import track
from mindeye.targets.encoders import Encoder, load_encoder

DESCRIPTION = "bulk.json"
FORMAT = "mindeye gallery embed 1"

MARK = b"mindeye"
"""Key of a table's schema metadata that says which shard and encoder its rows are of."""

DIGITS = 5
"""Digits of a shard's number in file names, more where it is larger, as img2dataset has."""

NAMED, NAMED_SHARDS = 20, 5
"""Samples left out of a shard that are named, and broken shards whose reason is."""

TRIES = 3
"""Workers that may die of a shard before it is given up."""

OBJECT_STORE = 128 << 20
"""Bytes; jobs and outcomes are a few hundred bytes each, pictures never pass through the store."""


@dataclass(frozen=True)
class ShardJob:
    """One shard and the pair of files that it becomes.

    Parameters
    ----------
    shard
        Path of the tar file.
    vectors, table
        Paths of the pair of files.
    encoder
        Id, fingerprint and width of the encoder.
    """

    shard: Path
    vectors: Path
    table: Path
    encoder: dict[str, Any]

    @property
    def mark(self) -> dict[str, Any]:
        """What the table says of its shard and encoder; raises OSError without the shard."""
        size = self.shard.stat().st_size
        return {"shard": self.shard.name, "bytes": size, "encoder": self.encoder}

    def finished(self) -> Outcome | None:
        """Return the outcome of a shard whose pair of files is there and whole, else None.

        A pair counts if its table is of this very shard, by name and size, and of this encoder,
        and has as many rows as there are vectors.
        """
        _, parquet = arrow()
        try:
            facts = parquet.read_metadata(self.table)
            mark = json.loads((facts.metadata or {})[MARK])
            left_out, lost = tuple(mark.pop("left_out")), mark.pop("lost")
            vectors = open_array(self.vectors, "")
        except (OSError, ValueError, KeyError, DataError):
            return None
        whole = vectors.shape == (facts.num_rows, self.encoder["width"])
        if not whole or vectors.dtype != np.float16 or mark != self.mark:
            return None
        return Outcome(self.shard.name, facts.num_rows, lost, left_out)


@dataclass(frozen=True)
class Outcome:
    """What became of a shard.

    Parameters
    ----------
    shard
        Name of the shard.
    rows
        Number of its embeddings on disk.
    lost
        Number of its samples without a readable picture.
    left_out
        Reasons, for the first of them.
    problem
        Reason why there are no embeddings of it; empty if there are.
    """

    shard: str
    rows: int = 0
    lost: int = 0
    left_out: tuple[str, ...] = ()
    problem: str = ""


def embed_shards(
    source: str | Path, out: str | Path, config: BulkConfig
) -> tuple[list[Outcome], list[Outcome]]:
    """Embed the pictures of shards, one pair of files a shard; what is done already is skipped.

    Returns the outcomes of the shards that earlier calls embedded, and of those that this one did;
    vectors are the same with and without Ray. Raises DataError if there are no shards or, after all
    others were done, lists those that are broken; UsageError if `out` is of another encoder.
    """
    shards = shards_in(Path(source))
    if not shards:
        raise DataError(f"no shards at {source}; give a folder of .tar files, or one of them")
    # Loaded here even if workers load it again: an encoder that is not there is named at once.
    jobs = plan_jobs(shards, Path(out), ShardEmbedder(config, "cpu").facts)
    before = [outcome for job in jobs if (outcome := job.finished()) is not None]
    names = {outcome.shard for outcome in before}
    left = [job for job in jobs if job.shard.name not in names]
    run = on_ray(left, config) if config.workers and left else _here(left, config)
    # Closed at once, whatever happens: with it, what was started of Ray stops.
    with contextlib.closing(run) as outcomes:
        now = list(track(outcomes, "embed", total=len(jobs), done=len(before)))
    broken = sorted((o for o in now if o.problem), key=lambda outcome: outcome.shard)
    if broken:
        why = [o.problem for o in broken[:NAMED_SHARDS]] + [o.shard for o in broken[NAMED_SHARDS:]]
        raise DataError(
            f"{len(broken)} of {len(jobs)} shards could not be embedded, the others are done: "
            f"{'; '.join(why)}. The same command goes on with those once they are whole"
        )
    return before, now


def plan_jobs(shards: Sequence[Path], out: Path, encoder: dict[str, Any]) -> list[ShardJob]:
    """Give every shard its pair of files and write down which is whose."""
    place, known = out / DESCRIPTION, []
    if place.exists():
        try:
            content = read_json(place)
            theirs, known = content["encoder"], content["shards"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{place} is damaged ({error!r}); embed into another folder, or delete this one"
            ) from error
        if theirs != encoder:
            raise UsageError(
                f"{out} holds embeddings of {theirs}, asked is {encoder}; embed into another folder"
            )
    names = list(dict.fromkeys([*known, *(shard.name for shard in shards)]))
    if names != known:
        content = {"format": FORMAT, "encoder": encoder, "digits": DIGITS, "shards": names}
        write_json(place, content)
    numbers = {name: f"{place:0{DIGITS}d}" for place, name in enumerate(names)}
    return [
        ShardJob(
            shard,
            out / "img_emb" / f"img_emb_{numbers[shard.name]}.npy",
            out / "metadata" / f"metadata_{numbers[shard.name]}.parquet",
            encoder,
        )
        for shard in shards
    ]


class ShardEmbedder:
    """Embeds shards, one call each, here or in a worker of Ray; loads its encoder once.

    Parameters
    ----------
    config
        Settings of the encoder.
    device
        Device that it runs on, ``cpu`` or ``cuda``.
    """

    def __init__(self, config: BulkConfig, device: str) -> None:
        self.config, self.device = config, device

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, one vector a picture; raises what `load_encoder` raises."""
        weights = Path(self.config.weights) if self.config.weights else None
        device, name = torch.device(self.device), self.config.encoder
        return load_encoder(name, device=device, tokens="pooled", weights=weights)

    @property
    def facts(self) -> dict[str, Any]:
        """What embeddings say of their encoder."""
        encoder = self.encoder
        return {"id": encoder.id, "fingerprint": encoder.fingerprint, "width": encoder.width}

    def embed(self, job: ShardJob) -> Outcome:
        """Write the pair of files of a shard, unless it is there; a broken one has a problem.

        Raises ConfigError if this machine has another encoder than the one that began.
        """
        if self.facts != job.encoder:
            raise ConfigError(
                f"a worker has {self.facts}, this job began with {job.encoder}; all machines need "
                "the same weights and versions; the shards that are done stay"
            )
        try:
            return job.finished() or self._embed(job)
        except DataError as error:
            return Outcome(job.shard.name, problem=str(error))

    def _embed(self, job: ShardJob) -> Outcome:
        for path in (job.vectors, job.table):  # left half-written by a worker that was killed
            for left in path.parent.glob(f".{path.name}.*"):
                left.unlink(missing_ok=True)
        vectors, lines, lost = [], [], []
        samples = read_shard(job.shard)
        while batch := list(islice(samples, self.config.batch_size)):
            lost += [sample for sample in batch if isinstance(sample, str)]
            good = [sample for sample in batch if not isinstance(sample, str)]
            if good:
                what = f"{self.encoder.id} of pictures of {job.shard}"
                unit, _ = unit_rows(embedded([s.picture for s in good], self.encoder), what)
                vectors.append(unit.astype(np.float16))
                lines += [(s.where, s.caption, s.url, s.id, job.shard.name) for s in good]
        if not lines:
            raise DataError(f"{job.shard} has no readable picture; the first: {lost[:1]}")
        write_array(job.vectors, np.concatenate(vectors))
        texts = pd.DataFrame(lines, columns=["image_path", "caption", "url", "key", "shard"])
        mark = {**job.mark, "lost": len(lost), "left_out": lost[:NAMED]}
        # The table comes last: with it the pair counts.
        write_table(job.table, texts, {MARK: json.dumps(mark).encode()})
        return Outcome(job.shard.name, len(lines), len(lost), tuple(lost[:NAMED]))


def _here(jobs: Sequence[ShardJob], config: BulkConfig) -> Generator[Outcome]:
    has_cuda = torch.cuda.is_available()
    if config.device == "cuda" and not has_cuda:
        raise ConfigError("device=cuda, but torch finds no CUDA device; set device=cpu")
    auto = "cuda" if has_cuda else "cpu"
    yield from map(
        ShardEmbedder(config, auto if config.device == "auto" else config.device).embed, jobs
    )


def on_ray(
    jobs: Sequence[ShardJob], config: BulkConfig, embedder: type = ShardEmbedder
) -> Generator[Outcome]:
    """Yield outcomes as workers of Ray bring them, in no order; `embedder.embed` does the work.

    A worker that dies is started again by Ray and its shard given out again, as often as `TRIES`
    says. Files are written atomically and a shard that is there is skipped, so nothing comes twice.
    """
    with _ray(config) as ray:
        gpus = ray.cluster_resources().get("GPU", 0)
        if config.device == "cuda" and not gpus:
            raise ConfigError("device=cuda, but Ray has no GPU; set device=cpu")
        device = "cuda" if gpus and config.device != "cpu" else "cpu"
        remote = ray.remote(
            num_cpus=1,
            num_gpus=1 if device == "cuda" else 0,
            max_restarts=-1,
            max_task_retries=TRIES - 1,
        )(embedder)
        free = [remote.remote(config, device) for _ in range(min(config.workers, len(jobs)))]
        left = list(reversed(jobs))
        busy: dict[Any, tuple[Any, ShardJob]] = {}
        while left or busy:
            while free and left:
                worker, job = free.pop(), left.pop()
                busy[worker.embed.remote(job)] = worker, job
            (done,), _ = ray.wait(list(busy), num_returns=1)
            worker, job = busy.pop(done)
            free.append(worker)
            try:
                yield ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()[-1][:200]
                problem = f"{job.shard}: {TRIES} workers died while they embedded it ({reason})"
                yield Outcome(job.shard.name, problem=problem)


@contextlib.contextmanager
def _ray(config: BulkConfig) -> Iterator[Any]:
    """Yield Ray, connected and quiet; what was started here is stopped again."""
    # Read when Ray is imported or started: nothing is sent home, and its processes' own log stays
    # off our standard error; what matters comes as an exception.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError("ray", "ray") from error
    given: dict[str, Any] = {"address": config.address}
    if config.address == "local":
        # Ray hands out one CPU a worker; more workers than cores would wait for ever.
        given["num_cpus"] = max(config.workers, os.cpu_count() or 1)
        given |= {"object_store_memory": OBJECT_STORE, "include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **given)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise ConfigError(
            f"no Ray at address={config.address} ({reason}); start one with `ray start --head`, "
            "or set address=local"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
