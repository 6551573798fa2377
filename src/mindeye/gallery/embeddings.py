"""Sources of a gallery, cut into jobs, and embeddings that are there already as one.

::

    SOURCE/img_emb/img_emb_0.npy          (n, D) float16 or float32
           metadata/metadata_0.parquet    n rows; image_path, caption, url, key ...
           bulk.json                      of `mindeye gallery embed`: the encoder

Layout and columns are those of clip-retrieval's writer (clip_inference/writer.py `OutputSink`),
in which LAION's embeddings were published; not checked against real files here.

A job becomes one part. It names what it reads and how that is recognised when an interrupted build
goes on; making unit vectors of its blocks, leaving out known ids and writing are the builder's.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mindeye.config.fingerprints import config_hash
from mindeye.errors import CheckpointError, ConfigError, DataError
from mindeye.files import open_array, read_json
from mindeye.gallery.config import SourceConfig
from mindeye.gallery.store import (
    VectorSpace,
    named_columns,
    open_table,
    texts_of,
    texts_of_ids,
)
from mindeye.targets.encoders import load_encoder

EDGE = 4096
"""Bytes at either end of a file by which it is recognised, beside its size."""

PART = 100_000
BLOCK = 16_384
ADVICE = "give an array of floats (N, D)"


class Block(NamedTuple):
    """Some rows of a job.

    Attributes
    ----------
    vectors
        Vectors (n, D) of any float type, as they came.
    table
        Texts of the n rows: id, caption, url and where.
    left_out
        Number of rows that were unreadable and are not among them.
    """

    vectors: NDArray[Any]
    table: pd.DataFrame
    left_out: int = 0


@dataclass(frozen=True)
class Job:
    """A piece of a source that becomes one part.

    Parameters
    ----------
    name
        Name of the job, unique in its source.
    identity
        Hash of what is read, short of reading it all.
    count
        Number of vectors or pictures, 0 where that is not known.
    read
        Function that yields the blocks of the job.
    """

    name: str
    identity: str
    count: int
    read: Callable[[], Iterator[Block]]


@dataclass(frozen=True)
class Source:
    """A source cut into jobs.

    Parameters
    ----------
    name
        Path of the source.
    kind
        ``pictures``, ``shards`` or ``embeddings``.
    space
        Space of its vectors.
    jobs
        Jobs in order.
    """

    name: str
    kind: str
    space: VectorSpace
    jobs: tuple[Job, ...]


def file_identity(path: Path, *more: Any) -> str:
    """Return a hash of a file's size and both its ends; raises DataError if it cannot be read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            ends = file.read(EDGE)
            file.seek(max(0, size - EDGE))
            ends += file.read(EDGE)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return config_hash(size, hashlib.sha256(ends).hexdigest(), *more)


def natural(path: Path) -> list[Any]:
    """Return what sorts names by the numbers in them: 2 before 10."""
    return [(0, int(t), "") if t.isdigit() else (1, 0, t) for t in re.split(r"(\d+)", path.name)]


def embeddings_in(path: Path) -> list[Path]:
    """Return the arrays that a path is or holds, by the numbers in their names."""
    if path.is_file():
        return [path] if path.suffix == ".npy" else []
    inside = path / "img_emb"
    return sorted((inside if inside.is_dir() else path).glob("*.npy"), key=natural)


def open_embeddings(path: Path, arrays: Sequence[Path], config: SourceConfig) -> Source:
    """Cut arrays into runs of rows, each with its rows of the table beside it.

    Raises DataError if an array or table is missing, cut off or does not fit the other, or the
    embeddings are of another encoder or width than asked.
    """
    width = int(_opened(arrays[0]).shape[1])
    size = config.part or PART
    jobs = []
    for file in arrays:
        array = _opened(file)
        if array.shape[1] != width:
            raise DataError(
                f"{file} has width {array.shape[1]}, {arrays[0].name} beside it {width}; "
                "embeddings of one gallery come from one encoder"
            )
        table = _table_of(file, len(array))
        for first in range(0, len(array), size):
            rows = range(first, min(first + size, len(array)))
            name = f"{file.name} {rows.start}..{rows.stop - 1}"
            identity = file_identity(file, rows.start, rows.stop)
            jobs.append(Job(name, identity, len(rows), partial(_read, file, table, rows)))
    if not jobs:
        raise DataError(f"{path} holds no vectors; there is nothing to build a gallery from")
    return Source(str(path), "embeddings", _space(path, width, config), tuple(jobs))


def source_of_array(array: NDArray[Any], ids: Sequence[str], config: SourceConfig) -> Source:
    """Return embeddings (N, D) in memory as a source, with their ids."""
    name = f"{len(array)} embeddings in memory, {hashlib.sha256(array.tobytes()).hexdigest()[:12]}"
    blocks = partial(iter, [Block(array, texts_of_ids(ids))])
    job = Job(name, config_hash(name, list(ids)), len(array), blocks)
    space = VectorSpace(_asked(config).id, int(array.shape[1]))
    return Source(name, "embeddings", space, (job,))


def _opened(path: Path) -> NDArray[Any]:
    array = open_array(path, f"{ADVICE}, or fetch it again if it is cut off")
    if array.ndim == 3 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 2 or array.dtype.kind != "f" or array.shape[1] == 0:
        raise DataError(f"{path} holds {array.dtype} of shape {array.shape}; {ADVICE}")
    return array


def _table_of(file: Path, count: int) -> Path | None:
    """Return the table of an array; None for a lone .npy without one."""
    beside = file.with_suffix(".parquet")
    if file.parent.name == "img_emb":
        name = f"{file.stem.replace('img_emb', 'metadata', 1)}.parquet"
        beside = file.parents[1] / "metadata" / name
        if not beside.is_file():
            raise DataError(
                f"{file} has no metadata: there is no {beside}; fetch it, or copy the array "
                "elsewhere to go without"
            )
    if not beside.is_file():
        return None
    rows = open_table(beside).metadata.num_rows
    if rows != count:
        raise DataError(
            f"{file} holds {count} vectors, {beside} describes {rows}; fetch both again"
        )
    return beside


def _read(file: Path, table: Path | None, rows: range) -> Iterator[Block]:
    """Yield blocks of some rows of an array with their texts; FILE:ROW is an id that is absent."""
    array, texts = _opened(file), texts_of_ids([""] * len(rows))
    if table is not None:
        opened = open_table(table)
        for ours, theirs in named_columns(opened.schema_arrow.names).items():
            try:
                column = opened.read(columns=[theirs]).column(theirs)
            except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors or OSErrors
                first = str(error).partition("\n")[0]
                raise DataError(f"{table} is damaged at {theirs} ({first})") from error
            texts[ours] = texts_of(column.slice(rows.start, len(rows)))
    own = [f"{file.stem}:{row}" for row in rows]
    texts["id"] = np.where(texts["id"] == "", own, texts["id"])
    for start in range(rows.start, rows.stop, BLOCK):
        stop = min(start + BLOCK, rows.stop)
        yield Block(array[start:stop], texts[start - rows.start : stop - rows.start])


def _space(path: Path, width: int, config: SourceConfig) -> VectorSpace:
    """Return the space of given embeddings; refuse another than asked, both named."""
    asked, known = _asked(config), _described(path)
    if known.id and asked.id and known.id != asked.id:
        raise DataError(
            f"{path} holds embeddings of {known.id}, asked for is {asked.id}; leave out --encoder "
            "or embed the pictures by it"
        )
    for space, what in ((known, "bulk.json says"), (asked, f"the encoder {asked.id} gives")):
        if space.width not in (0, width):
            raise DataError(
                f"{path} holds embeddings of width {width}, {what} {space.width}; they are of "
                "another encoder"
            )
    tokens = config.encoder_tokens
    return VectorSpace(known.id or asked.id, width, config.encoder, tokens, known.fingerprint)


def _asked(config: SourceConfig) -> VectorSpace:
    """Return id and width of the encoder asked for; width 0 if it is not on this machine."""
    if not config.encoder:
        return VectorSpace("", 0)
    weights, tokens = Path(config.weights) if config.weights else None, config.encoder_tokens
    with contextlib.suppress(ConfigError, CheckpointError):
        cpu = torch.device("cpu")
        encoder = load_encoder(config.encoder, device=cpu, tokens=tokens, weights=weights)
        return VectorSpace(encoder.id, encoder.tokens * encoder.width)
    label = Path(config.encoder).name
    return VectorSpace(f"{label}_pooled" if tokens == "pooled" else label, 0)


def _described(path: Path) -> VectorSpace:
    """Return what ``bulk.json`` beside the arrays says of their encoder; width 0 without one."""
    file = path / "bulk.json"
    if not file.is_file():
        return VectorSpace("", 0)
    try:
        encoder = read_json(file)["encoder"]
        fingerprint = encoder["fingerprint"]
        return VectorSpace(str(encoder["id"]), int(encoder["width"]), fingerprint=fingerprint)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error}); embed again") from error
