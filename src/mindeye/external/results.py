"""What scoring leaves behind: the table as text, and the contact sheet. Look at the sheet first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2 import functional as vision
from torchvision.utils import make_grid

from mindeye.data.images import to_pictures
from mindeye.files import atomic_path
from mindeye.metrics.table import Row, text_of

SHOWN = 8
"""Stimuli on the contact sheet."""

_SIDE, _GAP = 128, 16
"""Pixels of a picture's longer side, and between pictures, where the labels stand."""

_REFERENCES = {"random_training": "random train", "nearest_training_true": "nearest train"}


def table_text(rows: Sequence[Row]) -> str:
    """Write the table as a terminal shows it: beside a number what it takes to believe it."""
    return text_of(pd.DataFrame([_cells(row) for row in rows]), words=("system", "metric"))


def _cells(row: Row) -> dict[str, str]:
    return {
        "system": row.system,
        "metric": row.metric,
        "value": _number(row.value),
        "interval": "" if row.low is None else f"[{_number(row.low)}, {_number(row.high)}]",
        "floor": _number(row.floor),
        "chance": _number(row.chance),
        **{label: _number(row.references.get(name)) for name, label in _REFERENCES.items()},
        "n": str(row.n),
        "k": "" if row.k is None else str(row.k),
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def write_sheet(path: Path, rows: Mapping[str, Tensor]) -> None:
    """Write a contact sheet as PNG, a labelled row of pictures per entry, atomically.

    Parameters
    ----------
    path
        File to write.
    rows
        Label to images (n, 3, H, W), of the same stimuli in the same order.
    """
    first = next(iter(rows.values()))
    height, width = (max(1, _SIDE * side // max(first.shape[-2:])) for side in first.shape[-2:])
    cells = torch.cat([_resized(images, (height, width)) for images in rows.values()])
    grid = make_grid(cells, nrow=len(first), padding=_GAP, pad_value=1.0)
    sheet = Image.fromarray(to_pictures(grid[None])[0])
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_GAP - 4)
    for row, label in enumerate(rows):
        draw.text((_GAP, row * (height + _GAP)), label, fill="black", font=font)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Small pictures keep their pixels visible."""
    small = max(size) >= 2 * max(images.shape[-2:])
    mode = vision.InterpolationMode.NEAREST if small else vision.InterpolationMode.BICUBIC
    resized: Tensor = vision.resize(images, list(size), interpolation=mode, antialias=not small)
    return resized.clamp(0, 1)
