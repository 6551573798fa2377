"""Galleries out of embeddings that are there already: one .npy, or what clip-retrieval writes.

::

    SOURCE/img_emb/img_emb_0.npy          (n, D) float16 or float32
           metadata/metadata_0.parquet    n rows; image_path, caption, url, key ...
           bulk.json                      of `mindeye gallery embed`: the encoder

Layout and columns are those of clip-retrieval's writer (clip_inference/writer.py `OutputSink`),
in which LAION's embeddings were published; not checked against real files here.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from mindeye.errors import CheckpointError, ConfigError, DataError
from mindeye.files import open_array, read_json
from mindeye.gallery.rows import COLUMNS, named_columns, open_table, texts
from mindeye.gallery.sources import Block, Job, Source, SourceConfig, file_identity, natural
from mindeye.gallery.store import Space
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


def open_embeddings(path: Path, config: SourceConfig) -> Source:
    """Cut arrays into runs of rows, each with its rows of the table beside it.

    Raises
    ------
    DataError
        If an array or table is missing, cut off or does not fit the other, or the embeddings are
        of another encoder or width than asked.
    """
    arrays = embeddings_in(path)
    opened = [_opened(array) for array in arrays]
    width = int(opened[0].shape[1])
    jobs = []
    for file, array in zip(arrays, opened, strict=True):
        if array.shape[1] != width:
            raise DataError(
                f"{file} has width {array.shape[1]}, {arrays[0].name} beside it {width}; "
                "embeddings of one gallery come from one encoder"
            )
        table = _table_of(file, len(array))
        size = config.part or PART
        for first in range(0, len(array), size):
            rows = range(first, min(first + size, len(array)))
            name = f"{file.name} {rows.start}..{rows.stop - 1}"
            identity = file_identity(file, rows.start, rows.stop)
            jobs.append(Job(name, identity, len(rows), partial(_read, file, table, rows)))
    if not jobs:
        raise DataError(f"{path} holds no vectors; there is nothing to build a gallery from")
    return Source(str(path), "embeddings", _space(path, width, config), tuple(jobs))


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
    array = _opened(file)
    told = _told(file, table, rows)
    for first in range(rows.start, rows.stop, BLOCK):
        last = min(first + BLOCK, rows.stop)
        own = slice(first - rows.start, last - rows.start)
        yield Block(array[first:last], {name: column[own] for name, column in told.items()})


def _told(file: Path, table: Path | None, rows: range) -> dict[str, list[str]]:
    """Return the texts of a run of rows; an id of its own for a row that has none."""
    count = len(rows)
    own = [f"{file.stem}:{row}" for row in rows]
    told = {name: [""] * count for name in COLUMNS}
    if table is not None:
        opened = open_table(table)
        for ours, theirs in named_columns(opened.schema_arrow.names).items():
            column = _column(opened, theirs, table)
            told[ours] = texts(column.slice(rows.start, count))
    told["id"] = [given or mine for given, mine in zip(told["id"], own, strict=True)]
    return told


def _column(opened: Any, name: str, path: Path) -> Any:
    try:
        return opened.read(columns=[name]).column(name)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors or OSErrors
        first = str(error).partition("\n")[0]
        raise DataError(f"{path} is damaged at {name} ({first}); fetch it again") from error


def _space(path: Path, width: int, config: SourceConfig) -> Space:
    """Return the space of given embeddings; refuse another than asked, both named."""
    asked = _asked(config)
    known = _described(path)
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
    fingerprint = known.fingerprint if known is not None else ""
    identity = known.id if known is not None else asked.id
    return Space(identity, width, config.encoder, config.encoder_tokens, fingerprint)


def _asked(config: SourceConfig) -> Space:
    """Return id and width of the encoder asked for; width 0 if it is not on this machine."""
    if not config.encoder:
        return Space("", 0)
    with contextlib.suppress(ConfigError, CheckpointError):
        encoder = load_encoder(
            config.encoder,
            device=torch.device("cpu"),
            tokens=config.encoder_tokens,
            weights=Path(config.weights) if config.weights else None,
        )
        return Space(encoder.id, encoder.tokens * encoder.width)
    label = Path(config.encoder).name
    return Space(f"{label}_pooled" if config.encoder_tokens == "pooled" else label, 0)


def _described(path: Path) -> Space | None:
    """Return what ``bulk.json`` beside the arrays says of their encoder."""
    file = path / "bulk.json"
    if not file.is_file():
        return None
    try:
        encoder = read_json(file)["encoder"]
        return Space(str(encoder["id"]), int(encoder["width"]), fingerprint=encoder["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error}); embed again") from error
