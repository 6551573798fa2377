"""The first stimuli and everyone's answer to them, side by side: scores are no substitute."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mindeye.data.images import to_pictures
from mindeye.files import atomic_path

SHOWN = 8
"""Stimuli on the strip."""

_SIDE, _GAP, _LABEL = 128, 4, 16


def write_strip(path: Path, rows: Mapping[str, Tensor]) -> None:
    """Write one PNG with a labelled row of pictures per entry, atomically.

    Parameters
    ----------
    path
        The file.
    rows
        Label to images (n, 3, H, W), the same stimuli in the same order.
    """
    columns = max(len(images) for images in rows.values())
    strip = Image.new(
        "RGB",
        (columns * (_SIDE + _GAP) + _GAP, len(rows) * (_SIDE + _LABEL + _GAP) + _GAP),
        "white",
    )
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(_LABEL - 4)
    for line, (label, images) in enumerate(rows.items()):
        top = _GAP + line * (_SIDE + _LABEL + _GAP)
        draw.text((_GAP, top), _short(label, columns), fill="black", font=font)
        for column, picture in enumerate(to_pictures(images)):
            cell = _cell(Image.fromarray(picture))
            left = _GAP + column * (_SIDE + _GAP) + (_SIDE - cell.width) // 2
            strip.paste(cell, (left, top + _LABEL + (_SIDE - cell.height) // 2))
    with atomic_path(path) as temporary:
        strip.save(temporary, format="PNG")


def _short(label: str, columns: int) -> str:
    room = columns * (_SIDE + _GAP) // 8
    return label if len(label) <= room else label[: room - 1] + "…"


def _cell(picture: Image.Image) -> Image.Image:
    """Fit into the cell, keeping proportions; small pictures keep their pixels visible."""
    scale = _SIDE / max(picture.size)
    method = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.BICUBIC
    sides = [max(1, math.floor(side * scale)) for side in picture.size]
    return picture.resize((sides[0], sides[1]), method)
