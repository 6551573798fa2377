"""The pictures of a gallery's rows, where they are at hand, and sheets of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torchvision.utils import make_grid

from mindeye.data.images import read_picture
from mindeye.datasets.picture_folder import is_inside
from mindeye.errors import DataError
from mindeye.files import atomic_path
from mindeye.gallery.shards import PictureFinder

SIDE = 128
GAP = 4
FRAME = 4
PICKED = (20, 140, 60)
ABSENT = 230

Picture = NDArray[np.uint8]


def picture_at(root: Path, where: str, finder: PictureFinder) -> Picture | None:
    """Return the picture (H, W, 3) that a table names, None if it is not there or does not open.

    Parameters
    ----------
    root
        Folder that the name is looked up in; a name that leads out of it is not followed.
    where
        Path of the picture below the folder, or SHARD.tar/KEY.
    finder
        Reads out of shards.
    """
    if not is_inside(where):
        return None
    try:
        if (root / where).is_file():
            return read_picture(root / where)
    except DataError:
        return None
    name, _, key = where.partition("/")
    is_shard = name.endswith(".tar") and (root / name).is_file()
    return finder.find(root / name, key) if is_shard else None


def fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    """Return a picture at a size (H, W), covering it with its middle; unchanged if it has it."""
    if picture.shape[:2] == size:
        return picture
    method = Image.Resampling.BICUBIC
    return np.asarray(ImageOps.fit(Image.fromarray(picture), (size[1], size[0]), method))


def write_sheet(
    path: Path, lines: Sequence[Sequence[Picture | None]], picks: Sequence[int] = ()
) -> None:
    """Write lines of pictures as a PNG; grey where a picture is not at hand.

    Parameters
    ----------
    path
        File to write.
    lines
        Pictures (H, W, 3), the same number in every line.
    picks
        Number of the picture to frame in every line; none by default.
    """
    tiles = []
    for number, line in enumerate(lines):
        pick = picks[number] if len(picks) else -1
        tiles += [_tile(picture, place == pick) for place, picture in enumerate(line)]
    batch = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2)
    grid = make_grid(batch, nrow=len(lines[0]), padding=GAP, pad_value=255)
    content = io.BytesIO()
    Image.fromarray(grid.permute(1, 2, 0).numpy()).save(content, "PNG")
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())


def _tile(picture: Picture | None, is_pick: bool) -> Picture:
    tile = np.full((SIDE, SIDE, 3), ABSENT, dtype=np.uint8)
    if picture is not None:
        small = np.asarray(ImageOps.contain(Image.fromarray(picture), (SIDE, SIDE)))
        top, left = (SIDE - small.shape[0]) // 2, (SIDE - small.shape[1]) // 2
        tile[top : top + small.shape[0], left : left + small.shape[1]] = small
    if is_pick:
        inner = tile[FRAME:-FRAME, FRAME:-FRAME].copy()
        tile[:] = PICKED
        tile[FRAME:-FRAME, FRAME:-FRAME] = inner
    return tile
