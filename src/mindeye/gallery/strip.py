"""The pictures of a gallery's rows, where they are at hand, and answers as a strip of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mindeye.data.images import read_picture
from mindeye.datasets.picture_folder import is_inside
from mindeye.datasets.tar_index import Sample, index_shard
from mindeye.errors import DataError
from mindeye.files import atomic_path
from mindeye.gallery.bulk_samples import PictureSample, read_samples
from mindeye.gallery.query import Found
from mindeye.gallery.store import Gallery

SIDE = 128
GAP = 4
MOST_QUERIES = 50


Shards = dict[Path, dict[str, Sample]]
"""Shards that were looked into, and where their samples are."""

KEPT_SHARDS = 8


def pictures_of(
    gallery: Gallery,
    rows: NDArray[np.int64],
    *,
    root: Path | None = None,
    shards: Shards | None = None,
) -> list[NDArray[np.uint8] | None]:
    """Return the pictures (H, W, 3) of rows; None for those that are not on this machine.

    Names out of the tables are looked up below `root`, by default the source that the gallery was
    built from, and nowhere else. `shards` holds what was learnt of shards from one call to the
    next.
    """
    table = gallery.metadata(rows)
    parts = [part for part in gallery.info.parts if part.rows]
    ends = np.cumsum([part.rows for part in parts], dtype=np.int64)
    shards = {} if shards is None else shards
    found: list[NDArray[np.uint8] | None] = [None] * len(table)
    # In the order of rows, shard after shard: to look into one takes longer than to read from it.
    numbers, files = table["row"].to_numpy(), table["where"].tolist()
    for place in np.argsort(numbers, kind="stable").tolist():
        row, where = int(numbers[place]), files[place]
        if row < 0 or not (root or gallery.has_vectors) or not is_inside(where):
            continue
        below = root
        if below is None:
            source = Path(parts[int(np.searchsorted(ends, row, side="right"))].source)
            below = source if source.is_dir() else source.parent
        found[place] = _picture(below, where, shards)
    return found


def _picture(root: Path, where: str, shards: Shards) -> NDArray[np.uint8] | None:
    """Return a picture named by its file, or by its shard and key."""
    try:
        if (root / where).is_file():
            return read_picture(root / where)
        name, _, key = where.partition("/")
        shard = root / name
        if not name.endswith(".tar") or not shard.is_file():
            return None
        if shard not in shards:
            if len(shards) >= KEPT_SHARDS:
                del shards[next(iter(shards))]
            shards[shard] = {sample.key: sample for sample in index_shard(shard)}
        sample = shards[shard].get(key)
        read = next(read_samples([sample]), None) if sample is not None else None
        return read.picture if isinstance(read, PictureSample) else None
    except DataError:
        return None


def write_strip(gallery: Gallery, found: Found, path: Path) -> int:
    """Write answers as a PNG: a line a query, best first; returns how many pictures are on it.

    Raises
    ------
    DataError
        If not one picture is at hand.
    """
    rows = found.matches.rows[:MOST_QUERIES]
    pictures = pictures_of(gallery, rows.reshape(-1))
    shown = sum(picture is not None for picture in pictures)
    if not shown:
        raise DataError(
            f"none of the pictures is on this machine below the sources of {gallery.path}; leave "
            "out --pictures"
        )
    step = SIDE + GAP
    sheet = Image.new("RGB", (rows.shape[1] * step + GAP, len(rows) * step + GAP), "white")
    for place, picture in enumerate(pictures):
        line, column = divmod(place, rows.shape[1])
        tile = Image.new("RGB", (SIDE, SIDE), (230, 230, 230))
        if picture is not None:
            small = Image.fromarray(picture)
            small.thumbnail((SIDE, SIDE))
            tile.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
        sheet.paste(tile, (GAP + column * step, GAP + line * step))
    content = io.BytesIO()
    sheet.save(content, "PNG")
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())
    return shown
