"""Bulk embedding: shards of pictures to precomputed embeddings, on one machine or on many."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mindeye.errors import ConfigError, DataError, MindEyeError, MissingDependencyError
from mindeye.gallery.bulk_plan import BulkConfig, Job, Outcome, find_shards, finished, plan_jobs
from mindeye.progress import track

NAMED = 5
"""Broken shards whose reason is told in full; of others only the name."""


@dataclass(frozen=True)
class Embedded:
    """What a bulk embedding left.

    Parameters
    ----------
    rows
        Embeddings on disk, of all shards.
    done, before
        Shards that were embedded by this call and by earlier ones.
    lost
        Samples without a readable picture.
    left_out
        Why, of the first of every shard.
    """

    rows: int
    done: int
    before: int
    lost: int
    left_out: tuple[str, ...]


def embed_shards(source: Path, out: Path, config: BulkConfig) -> Embedded:
    """Embed the pictures of shards, one pair of files a shard; what is done already is skipped.

    Parameters
    ----------
    source
        Folder of .tar shards (webdataset, img2dataset), or one of them.
    out
        Folder to write, see `mindeye.gallery.bulk_plan`; `mindeye gallery build` takes it.
    config
        By what, and on how many workers. Vectors are the same with and without Ray.

    Raises
    ------
    DataError
        If there are no shards; or, after all others were done, if some are broken: lists them.
    UsageError
        If `out` holds embeddings of another encoder.
    MissingDependencyError
        If pyarrow or Ray is not installed.
    ConfigError, CheckpointError
        If the encoder is unknown or not there, or there is no Ray at the address.
    MindEyeError
        If the disk is full, or Ray gives the job up.
    """
    _need_pyarrow()
    shards = find_shards(source)
    from mindeye.gallery.bulk_shard import encoder_of, facts_of

    # Loaded here even if workers load it again: an encoder that is not there is told at once.
    facts = facts_of(encoder_of(config, "cpu"))
    jobs = plan_jobs(shards, out, facts)
    before = [outcome for job in jobs if (outcome := finished(job)) is not None]
    names = {outcome.shard for outcome in before}
    left = [job for job in jobs if job.shard.name not in names]
    now = list(track(_outcomes(left, config), "embed", total=len(jobs), done=len(before)))
    _refuse_broken(now, len(jobs))
    every = [*before, *now]
    lines = tuple(line for outcome in every for line in outcome.left_out)
    rows, lost = sum(outcome.rows for outcome in every), sum(outcome.lost for outcome in every)
    return Embedded(rows, len(now), len(before), lost, lines)


def _need_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("pyarrow", "gallery") from error


def _outcomes(jobs: Sequence[Job], config: BulkConfig) -> Iterator[Outcome]:
    """Yield what becomes of every job; raises MindEyeError if the machine is what fails."""
    if not jobs:
        return
    # Closed at once, whatever happens: with it, what was started of Ray stops.
    with closing(_here(jobs, config) if config.workers == 0 else _there(jobs, config)) as outcomes:
        for outcome in outcomes:
            if outcome.stop:
                raise MindEyeError(f"{outcome.problem}; the shards that are done stay")
            yield outcome


def _here(jobs: Sequence[Job], config: BulkConfig) -> Generator[Outcome, None, None]:
    import torch

    from mindeye.gallery.bulk_shard import ShardEmbedder

    has_cuda = torch.cuda.is_available()
    if config.device == "cuda" and not has_cuda:
        raise ConfigError("device=cuda, but torch finds no CUDA device; set device=cpu")
    auto = "cuda" if has_cuda else "cpu"
    embed = ShardEmbedder(config, auto if config.device == "auto" else config.device)
    yield from map(embed, jobs)


def _there(jobs: Sequence[Job], config: BulkConfig) -> Generator[Outcome, None, None]:
    from mindeye.gallery.bulk_ray import embed_on_ray

    yield from embed_on_ray(jobs, config)


def _refuse_broken(outcomes: Sequence[Outcome], count: int) -> None:
    """Raise DataError if some shards are broken; the others are on disk by now."""
    broken = sorted((o for o in outcomes if o.problem), key=lambda outcome: outcome.shard)
    if not broken:
        return
    told = [outcome.problem for outcome in broken[:NAMED]]
    told += [outcome.shard for outcome in broken[NAMED:]]
    raise DataError(
        f"{len(broken)} of {count} shards could not be embedded, the others are done: "
        f"{'; '.join(told)}. The same command goes on with those once they are whole"
    )
