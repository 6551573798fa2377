"""Retrieved pictures beside those seen: resized to their size, and as a strip."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from mindeye.errors import DataError
from mindeye.files import atomic_path
from mindeye.gallery.base import Matches
from mindeye.gallery.second_order import neighbour_pictures
from mindeye.gallery.store import Gallery
from mindeye.gallery.strip import GAP, MOST_QUERIES, SIDE, Shards, pictures_of
from mindeye.progress import track

BEST = 8
FRAME = 4
PICKED = (20, 140, 60)
ABSENT = (230, 230, 230)


def retrieved_pictures(
    gallery: Gallery, rows: NDArray[np.int64], size: tuple[int, int], *, root: Path | None = None
) -> NDArray[np.uint8]:
    """Return the pictures (S, H, W, 3) of rows (S,) at one size.

    A picture of another shape is resized to cover it and the middle is cut out, as encoders do.

    Parameters
    ----------
    gallery
        That was asked.
    rows
        Of the picks.
    size
        H and W.
    root
        As in `select`.

    Raises
    ------
    DataError
        If a query has no answer, or a picture is missing or not readable.
    """
    if (rows < 0).any():
        raise DataError(f"query {int((rows < 0).argmax())} has no answer in {gallery.path}")
    wanted, place = np.unique(rows, return_inverse=True)
    pictures = np.empty((len(wanted), *size, 3), dtype=np.uint8)
    shards: Shards = {}
    for first in track(range(0, len(wanted), 64), "retrieved"):
        rows = wanted[first : first + 64]
        own = neighbour_pictures(gallery, rows, root=root, shards=shards)
        pictures[first : first + len(own)] = [fitted(picture, size) for picture in own]
    return pictures[place]


def fitted(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) at a size, covering it; unchanged if it has it."""
    if picture.shape[:2] == size:
        return picture
    method = Image.Resampling.BICUBIC
    return np.asarray(ImageOps.fit(Image.fromarray(picture), (size[1], size[0]), method))


def write_selection_strip(
    gallery: Gallery,
    seen: NDArray[np.uint8],
    matches: Matches,
    picks: NDArray[np.int64],
    path: Path,
    *,
    root: Path | None = None,
) -> int:
    """Write a PNG, a line a query: the picture seen, the first-order best 8, the pick, framed.

    Parameters
    ----------
    gallery
        That was asked.
    seen
        (Q, H, W, 3).
    matches
        Of the first order, (Q, k).
    picks
        (Q,) first-order ranks.
    path
        Of the PNG.
    root
        As in `select`.

    Returns
    -------
    int
        How many queries are on it, the first 50 at most.
    """
    rows = matches.rows[:MOST_QUERIES]
    shown = np.concatenate(
        [rows[:, :BEST], np.take_along_axis(rows, picks[: len(rows), None], axis=1)], axis=1
    )
    near = pictures_of(gallery, shown.reshape(-1), root=root)
    best = shown.shape[1] - 1
    step = SIDE + GAP
    sheet = Image.new("RGB", ((best + 2) * step + 3 * GAP, len(rows) * step + GAP), "white")
    for line in range(len(rows)):
        tiles = [seen[line], *near[line * (best + 1) : (line + 1) * (best + 1)]]
        for column, picture in enumerate(tiles):
            # what was seen and the pick stand a little apart
            left = GAP + column * step + GAP * ((column > 0) + (column > best))
            framed = column > best or column - 1 == picks[line]
            sheet.paste(_tile(picture, framed), (left, GAP + line * step))
    content = io.BytesIO()
    sheet.save(content, "PNG")
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())
    return len(rows)


def _tile(picture: NDArray[np.uint8] | None, framed: bool) -> Image.Image:
    tile = Image.new("RGB", (SIDE, SIDE), ABSENT)
    if picture is not None:
        small = ImageOps.contain(Image.fromarray(picture), (SIDE, SIDE))
        tile.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    if framed:
        ImageDraw.Draw(tile).rectangle((0, 0, SIDE - 1, SIDE - 1), outline=PICKED, width=FRAME)
    return tile
