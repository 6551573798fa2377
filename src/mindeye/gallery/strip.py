"""The pictures of a gallery's rows, where they are at hand, and answers as a strip of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mindeye.errors import DataError
from mindeye.gallery.bulk_samples import PictureSample, read_samples
from mindeye.gallery.query import Found
from mindeye.gallery.store import Gallery
from mindeye.runs import atomic_path
from mindeye.sources.picture_folder import is_inside, read_picture
from mindeye.sources.tar_index import Sample, index_shard

SIDE = 128
GAP = 4
MOST_QUERIES = 50


def pictures_of(
    gallery: Gallery, rows: NDArray[np.int64], *, root: Path | None = None
) -> list[NDArray[np.uint8] | None]:
    """Return the pictures (H, W, 3) of rows; None for those that are not on this machine.

    Names out of the tables are looked up below `root`, by default the source that the gallery was
    built from, and nowhere else.
    """
    table = gallery.metadata(rows)
    parts = [part for part in gallery.info.parts if part.rows]
    ends = np.cumsum([part.rows for part in parts], dtype=np.int64)
    shards: dict[Path, dict[str, Sample]] = {}
    found: list[NDArray[np.uint8] | None] = []
    for row, where in zip(table["row"], table["where"], strict=True):
        if row < 0 or not (root or gallery.has_vectors) or not is_inside(where):
            found.append(None)
            continue
        if root is None:
            source = Path(parts[int(np.searchsorted(ends, row, side="right"))].source)
            found.append(_picture(source if source.is_dir() else source.parent, where, shards))
        else:
            found.append(_picture(root, where, shards))
    return found


def _picture(
    root: Path, where: str, shards: dict[Path, dict[str, Sample]]
) -> NDArray[np.uint8] | None:
    """Return a picture named by its file, or by its shard and key."""
    try:
        if (root / where).is_file():
            return read_picture(root / where)
        name, _, key = where.partition("/")
        shard = root / name
        if not name.endswith(".tar") or not shard.is_file():
            return None
        if shard not in shards:
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
