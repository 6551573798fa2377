"""What Python gives a gallery to be built of: paths, embeddings or pictures in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.gallery.config import SourceConfig
from mindeye.gallery.embeddings import embeddings_in, open_embeddings, source_of_array
from mindeye.gallery.sources import (
    Source,
    open_pictures,
    open_shards,
    shards_in,
    source_of_images,
)


def is_embeddings(source: Any) -> bool:
    """Tell whether a source is of embeddings, in memory or on disk."""
    if isinstance(source, str | Path):
        return bool(embeddings_in(Path(source).expanduser()))
    return not _is_pictures(source) and as_array(source).dtype.kind == "f"


def open_source(path: Path, config: SourceConfig) -> Source:
    """Look at a source: embeddings, shards or pictures, whichever is there.

    Raises
    ------
    DataError
        If it holds none of these, or what is there is damaged.
    ConfigError
        If pictures come without an encoder.
    """
    path = path.expanduser().resolve()
    if not path.exists():
        raise DataError(f"there is no source {path}")
    if arrays := embeddings_in(path):
        return open_embeddings(path, arrays, config)
    if shards := shards_in(path):
        return open_shards(path, shards, config)
    if path.is_dir():
        return open_pictures(path, config)
    raise DataError(
        f"{path} is no source: give a folder of pictures, of .tar shards or of img_emb and "
        "metadata, or one .tar or .npy file"
    )


def any_source(source: Any, ids: Sequence[str] | None, config: SourceConfig) -> Source:
    """Return a path, embeddings (N, D) or pictures (N, H, W, 3) as a source.

    Raises
    ------
    DataError
        If it is none of these, or the ids do not fit it.
    """
    if isinstance(source, str | Path):
        if ids is not None:
            raise DataError(f"the ids of {source} are its own; leave out ids=")
        return open_source(Path(source), config)
    if _is_pictures(source):
        pictures = [as_array(picture) for picture in source]
        return source_of_images(pictures, names_of(ids, len(pictures)), config)
    array = as_array(source)
    if array.dtype.kind != "f" or array.ndim not in (2, 3) or not array.size:
        raise DataError(
            f"{array.dtype} of shape {array.shape} is no source of a gallery: give floats (N, D), "
            "pictures (N, H, W, 3) of type uint8, or a path"
        )
    return source_of_array(array.reshape(len(array), -1), names_of(ids, len(array)), config)


def read_whole(source: Source) -> tuple[NDArray[Any], pd.DataFrame]:
    """Return all vectors (N, D) of a source, as they came, and their texts.

    Raises
    ------
    DataError
        If it has no vector, or an id twice.
    """
    blocks = [block for job in source.jobs for block in job.read()]
    table = pd.concat([block.table for block in blocks], ignore_index=True)
    names_of(table["id"].tolist(), len(table))
    return np.concatenate([block.vectors for block in blocks]), table


def as_array(values: Any) -> NDArray[Any]:
    """Return numbers as an array: of a tensor, an array, a picture of Pillow or nested lists."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
        return np.ascontiguousarray(values.numpy())
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"these are no numbers of one shape: {error}") from error


def names_of(ids: Sequence[str] | None, count: int) -> list[str]:
    """Return the ids of so many rows, their numbers by default.

    Raises
    ------
    DataError
        If there are more or fewer ids, or one is there twice.
    """
    names = [str(row) for row in range(count)] if ids is None else [str(i) for i in ids]
    if len(names) != count:
        raise DataError(f"{len(names)} ids for {count} rows; give one id a row")
    twice = pd.Series(names, dtype=object)
    twice = twice[twice.duplicated()]
    if len(twice):
        raise DataError(f"the id {twice.iloc[0]!r} is there twice; ids of a gallery are unique")
    return names


def _is_pictures(source: Any) -> bool:
    """Tell pictures in memory: an array of uint8, or a list of arrays or of Pillow's pictures."""
    if isinstance(source, list | tuple):
        return bool(len(source)) and as_array(source[0]).ndim == 3
    return as_array(source).ndim == 4 and as_array(source).dtype == np.uint8
