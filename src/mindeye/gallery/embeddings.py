"""Embeddings that are there already as a source of galleries: arrays, or clip-retrieval's folders.

::

    SOURCE/img_emb/img_emb_0.npy          (n, D) float16 or float32
           metadata/metadata_0.parquet    n rows; image_path, caption, url, key ...
           bulk.json                      of `mindeye gallery embed`: the encoder

Layout and columns are those of clip-retrieval's writer (clip_inference/writer.py `OutputSink`),
in which LAION's embeddings were published; not checked against real files here.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mindeye.config.fingerprints import config_hash
from mindeye.errors import CheckpointError, ConfigError, DataError
from mindeye.files import open_array, read_json
from mindeye.gallery.config import SourceConfig
from mindeye.gallery.sources import Block, Job, Source, file_identity, natural
from mindeye.gallery.store import VectorSpace
from mindeye.gallery.tables import COLUMNS, named_columns, open_table, texts_of
from mindeye.targets.encoders import load_encoder

PART = 100_000
BLOCK = 16_384
ADVICE = "give an array of floats (N, D)"


def embeddings_in(path: Path) -> list[Path]:
    """Return the arrays that a path is or holds, by the numbers in their names."""
    if path.is_file():
        return [path] if path.suffix == ".npy" else []
    inside = path / "img_emb"
    return sorted((inside if inside.is_dir() else path).glob("*.npy"), key=natural)


def open_embeddings(path: Path, arrays: Sequence[Path], config: SourceConfig) -> Source:
    """Cut arrays into runs of rows, each with its rows of the table beside it.

    Raises
    ------
    DataError
        If an array or table is missing, cut off or does not fit the other, or the embeddings are
        of another encoder or width than asked.
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

    def read() -> Iterator[Block]:
        table = pd.DataFrame({"id": list(ids), "caption": "", "url": "", "where": ""})
        yield Block(array, table)

    job = Job(name, config_hash(name, list(ids)), len(array), read)
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
    if file.parent.name == "img_emb" or file.stem.startswith("img_emb_"):
        number = re.sub(r"^img_emb_?", "", file.stem)
        folder = file.parent.parent if file.parent.name == "img_emb" else file.parent
        names = [folder / d / f"metadata_{number}.parquet" for d in ("metadata", ".")]
        beside = next((path for path in names if path.is_file()), names[0])
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
    """Yield blocks of some rows of an array, with their texts."""
    array, texts = _opened(file), _texts(file, table, rows)
    for first in range(rows.start, rows.stop, BLOCK):
        last = min(first + BLOCK, rows.stop)
        yield Block(array[first:last], texts[first - rows.start : last - rows.start])


def _texts(file: Path, table: Path | None, rows: range) -> pd.DataFrame:
    """Return the texts of a run of rows; FILE:ROW is the id of a row that has none."""
    texts = pd.DataFrame("", index=range(len(rows)), columns=COLUMNS, dtype=object)
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
    return texts


def _space(path: Path, width: int, config: SourceConfig) -> VectorSpace:
    """Return the space of given embeddings; refuse another than asked, both named."""
    asked, known = _asked(config), _described(path)
    if known is not None and known.width != width:
        raise DataError(f"{path}/bulk.json says width {known.width}, the arrays have {width}")
    if known is not None and asked.id and known.id != asked.id:
        raise DataError(
            f"{path} holds embeddings of {known.id}, asked for is {asked.id}; leave out --encoder "
            "or embed the pictures by it"
        )
    if asked.width and asked.width != width:
        raise DataError(
            f"{path} holds embeddings of width {width}, the encoder {asked.id} gives "
            f"{asked.width}; they are of another encoder"
        )
    known = known or asked
    tokens = config.encoder_tokens
    return VectorSpace(known.id, width, config.encoder, tokens, known.fingerprint)


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


def _described(path: Path) -> VectorSpace | None:
    """Return what ``bulk.json`` beside the arrays says of their encoder."""
    file = path / "bulk.json"
    if not file.is_file():
        return None
    try:
        encoder = read_json(file)["encoder"]
        fingerprint = encoder["fingerprint"]
        return VectorSpace(str(encoder["id"]), int(encoder["width"]), fingerprint=fingerprint)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error}); embed again") from error
