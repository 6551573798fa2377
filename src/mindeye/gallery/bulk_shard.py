"""One shard through the encoder: the same function for a plain loop and for a worker of Ray."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.data.images import resize, to_images
from mindeye.datasets.tar_index import index_shard
from mindeye.errors import DataError, MindEyeError, NumericalError
from mindeye.files import atomic_path, write_array
from mindeye.gallery.bulk_plan import MARK, BulkConfig, EncoderFacts, Job, Outcome, finished
from mindeye.gallery.bulk_samples import PictureSample, read_samples
from mindeye.targets.encoders import Encoder, PooledEncoder, load_encoder
from mindeye.targets.encoders.preprocessing import Preprocessing

NAMED = 20
"""Samples left out that are named of a shard; the others only count."""


def encoder_of(config: BulkConfig, device: str) -> Encoder:
    """Load the encoder, one vector a picture; raises what `load_encoder` raises."""
    weights = Path(config.weights) if config.weights else None
    where = torch.device(device)
    return load_encoder(config.encoder, device=where, tokens="pooled", weights=weights)


def facts_of(encoder: Encoder) -> EncoderFacts:
    """Return what the embeddings say of their encoder."""
    return EncoderFacts(encoder.id, encoder.fingerprint, encoder.width)


class ShardEmbedder:
    """Embeds shards, one call each; loads its encoder once.

    Parameters
    ----------
    config
        How.
    device
        Where the encoder runs, ``cpu`` or ``cuda``.
    """

    def __init__(self, config: BulkConfig, device: str) -> None:
        self.encoder = encoder_of(config, device)
        self.batch_size = config.batch_size

    def __call__(self, job: Job) -> Outcome:
        """Write the pair of files of a shard, unless it is there; never raises a named error.

        A worker's exception would end the whole job and reach nobody in words.
        """
        found = facts_of(self.encoder)
        if found != job.encoder:
            problem = (
                f"{platform.node()} has the encoder {found.id} with fingerprint "
                f"{found.fingerprint}, this job began with {job.encoder.fingerprint}; all "
                "machines need the same weights and versions"
            )
            return Outcome(job.shard.name, problem=problem, stop=True)
        try:
            return finished(job) or embed_shard(job, self.encoder, self.batch_size)
        except DataError as error:
            return Outcome(job.shard.name, problem=str(error))
        except MindEyeError as error:
            return Outcome(job.shard.name, problem=str(error), stop=True)


def embed_shard(job: Job, encoder: Encoder, batch_size: int) -> Outcome:
    """Embed the pictures of one shard and write their vectors, then their table.

    Parameters
    ----------
    job
        The shard and its files.
    encoder
        Gives one vector a picture.
    batch_size
        Pictures at once.

    Raises
    ------
    DataError
        If the shard is missing, cut off or without a readable picture.
    NumericalError
        If the encoder gives a vector that is not finite, or zero.
    """
    _remove_leftovers(job)
    vectors, kept, lost = [], [], []
    for batch in _batches(read_samples(index_shard(job.shard)), batch_size):
        lost += [sample for sample in batch if isinstance(sample, str)]
        good = [sample for sample in batch if not isinstance(sample, str)]
        if good:
            vectors.append(_embed(good, encoder, job.shard))
            kept += [(sample.key, sample.caption, sample.url) for sample in good]
    if not kept:
        raise DataError(f"{job.shard} has no readable picture; the first: {lost[0]}")
    write_array(job.vectors, np.concatenate(vectors))
    # The table comes last: with it the pair counts.
    _write_table(job, kept, lost)
    return Outcome(job.shard.name, len(kept), len(lost), tuple(lost[:NAMED]))


def _batches(
    samples: Iterable[PictureSample | str], size: int
) -> Iterator[list[PictureSample | str]]:
    stream = iter(samples)
    while batch := list(islice(stream, size)):
        yield batch


def _embed(samples: list[PictureSample], encoder: Encoder, shard: Path) -> NDArray[np.float16]:
    """Return unit vectors (N, D) of pictures."""
    images = torch.cat([square(to_images(s.picture[None]), encoder) for s in samples])
    vectors = encoder.encode(images)[:, 0].double()
    norms = vectors.norm(dim=-1, keepdim=True)
    usable = (norms.isfinite() & (norms > 0)).flatten()
    if not usable.all():
        key = samples[int((~usable).nonzero()[0])].key
        raise NumericalError(
            f"{encoder.id} gives a vector that is zero or not finite for sample {key} of {shard}"
        )
    # In double precision, so that a half is rounded once.
    unit: NDArray[np.float16] = (vectors / norms).numpy().astype(np.float16)
    return unit


def square(images: Tensor, encoder: Encoder) -> Tensor:
    """Return images (N, 3, H, W) at the encoder's `size`, (N, 3, size, size).

    Pictures of all shapes so come into one batch, and the encoder finds nothing left to resize:
    the shorter side is brought to `size` and the middle cut out, or both sides are, whichever
    the encoder's own preprocessing does. What it cuts out of the middle itself stays the same.
    """
    network = encoder.encoder if isinstance(encoder, PooledEncoder) else encoder
    own = getattr(network, "preprocessing", None)
    if not isinstance(own, Preprocessing):
        return resize(images, encoder.size)
    return dataclasses.replace(own, size=encoder.size).fit(images)


def _write_table(job: Job, kept: list[tuple[str, str, str]], lost: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    keys, captions, urls = (list(column) for column in zip(*kept, strict=True))
    name = job.shard.name
    columns: dict[str, Any] = {
        "image_path": [f"{name}/{key}" for key in keys],
        "caption": captions,
        "url": urls,
        "key": keys,
        "shard": [name] * len(keys),
    }
    schema = pa.schema([(column, pa.string()) for column in columns])
    mark = json.dumps({**job.mark(), "lost": len(lost), "left_out": lost[:NAMED]})
    table = pa.table(columns, schema=schema.with_metadata({MARK: mark.encode()}))
    with atomic_path(job.table) as temporary:
        parquet.write_table(table, temporary)


def _remove_leftovers(job: Job) -> None:
    """Remove what a worker that was killed left half-written of this shard."""
    for path in (job.vectors, job.table):
        for left in path.parent.glob(f".{path.name}.*"):
            left.unlink(missing_ok=True)
