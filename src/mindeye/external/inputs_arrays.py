"""Pictures in one array: .npy, .npz, .safetensors, and the .pt tensors that are passed around.

The authors of MindEye publish their results as ``all_images.pt`` and ``*_recons*.pt``: one float
tensor (N, 3, H, W) in [0, 1], which their evaluation script clamps to it (Reconstruction_Metrics
of their repository; the layout is taken from that script, not checked against a published file
here). Others save (N, H, W, 3) in 0..255, or several candidates of a stimulus (N, k, 3, H, W).
Nothing in a file is ever executed.

Axes: N pictures, k candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.errors import DataError
from mindeye.external.inputs_files import Stored, read_stored
from mindeye.external.inputs_pictures import Pictures, Reading, check_pixels
from mindeye.external.inputs_range import Extent, find_range, to_unit
from mindeye.progress import track

_CHANNELS = (1, 3, 4)
_LONG = 500

Row = Callable[[int], NDArray[Any]]


class Layout(NamedTuple):
    """Where the axes of an array are.

    Attributes
    ----------
    n, size, channels
        Pictures, height and width of each, channels (1 grey, 3 colour, 4 colour and alpha).
    row
        Gives picture i as (C, H, W).
    said
        What was chosen, empty where there was no choice.
    """

    n: int
    size: tuple[int, int]
    channels: int
    row: Row
    said: str


def open_array_file(path: Path, reading: Reading) -> Pictures:
    """Open a file that holds all pictures as one array.

    Parameters
    ----------
    path
        ``.npy``, ``.npz``, ``.pt``, ``.pth`` or ``.safetensors``.
    reading
        Range and background.

    Raises
    ------
    DataError
        If it is damaged, holds objects or no single array of pictures, has a shape or range that
        could mean several things, or values that are not finite.
    """
    stored = read_stored(path)
    if stored.dtype.kind not in "buif":
        raise DataError(f"{path} holds {stored.dtype}, no numbers of pictures")
    layout = find_layout(path, stored)
    check_pixels(path, "0", layout.size)
    if layout.channels == 4 and reading.alpha == "refuse":
        raise DataError(f"{path} has an alpha channel, and --alpha refuse takes no such pictures")
    found = find_range(path, _extent(path, layout, stored.dtype), stored.dtype, reading)
    said = [f"{path}: {stored.said}"] if stored.said else []
    said += [f"{path}: {layout.said}"] if layout.said else []
    # Bytes are 0..255 for everybody; to say so would hide what is worth reading.
    said += [] if stored.dtype == np.uint8 and reading.values == "auto" else [found.said]
    if layout.channels == 1:
        said.append(f"{path}: grey pictures, copied into three channels")
    if layout.channels == 4:
        said.append(f"{path}: the fourth channel is taken as alpha and laid over {reading.alpha}")

    def read(row: int) -> Tensor:
        return _colours(to_unit(layout.row(row), found.name), reading)

    names = tuple(str(row) for row in range(layout.n))
    return Pictures(path, names, (layout.size,) * layout.n, False, tuple(said), read)


def _colours(image: NDArray[np.float32], reading: Reading) -> Tensor:
    if len(image) == 1:
        image = np.repeat(image, 3, axis=0)
    if len(image) == 4:
        behind = np.float32(1 if reading.alpha == "white" else 0)
        image = image[3:] * image[:3] + (1 - image[3:]) * behind
    return torch.from_numpy(np.ascontiguousarray(image))


def _extent(path: Path, layout: Layout, dtype: np.dtype[Any]) -> Extent:
    """Look through all values once; of bytes only until one is beyond doubt."""
    low, high = np.zeros(layout.n), np.zeros(layout.n)
    whole = True
    for row in track(range(layout.n), "looking", shown=layout.n > _LONG):
        values = layout.row(row)
        low[row], high[row] = float(values.min()), float(values.max())
        if not (np.isfinite(low[row]) and np.isfinite(high[row])):
            raise DataError(
                f"{path}: picture {row} holds NaN or infinity in "
                f"{int((~np.isfinite(values)).sum())} of {values.size} values"
            )
        if dtype == np.uint8 and high[row] > 1:
            return Extent(np.zeros(1), np.full(1, 255.0), True)
        whole = whole and dtype.kind != "b" and bool((values == np.round(values)).all())
    return Extent(low, high, whole)


def find_layout(path: Path, stored: Stored) -> Layout:
    """Tell pictures, channels, height and width apart by the lengths of the axes.

    Raises
    ------
    DataError
        If the lengths fit no layout, or two.
    """
    shape = stored.shape
    if 0 in shape:
        raise DataError(f"{path} is empty: shape {shape}")
    if len(shape) == 5:
        inner = find_layout(path, Stored((shape[0], *shape[2:]), stored.dtype, _first(stored)))
        text = f"the first of {shape[1]} candidates a stimulus is scored, the others are not read"
        return inner._replace(said=text if shape[1] > 1 else inner.said)
    if len(shape) == 4:
        return _layout4(path, stored)
    if len(shape) == 3:
        return _layout3(path, stored)
    raise DataError(
        f"{path} has shape {shape}; pictures are (N, H, W, 3), (N, 3, H, W), or grey (N, H, W)"
    )


def _first(stored: Stored) -> Row:
    return lambda row: stored.row(row)[0]


def _layout4(path: Path, stored: Stored) -> Layout:
    n, a, b, c = stored.shape
    first, last = a in _CHANNELS, c in _CHANNELS
    if first == last:
        which = "both its second and its last" if first else "neither its second nor its last"
        raise DataError(
            f"{path} has shape {stored.shape}: {which} axis could be colour; save it as "
            "(N, H, W, 3) or (N, 3, H, W)"
        )
    if first:
        return Layout(n, (b, c), a, stored.row, "")
    return Layout(n, (a, b), c, lambda row: np.moveaxis(stored.row(row), -1, 0), "")


def _layout3(path: Path, stored: Stored) -> Layout:
    n, a, b = stored.shape
    if n in (3, 4):
        raise DataError(
            f"{path} has shape {stored.shape}: one colour picture or {n} grey ones; add an axis, "
            f"(1, {n}, {a}, {b}) or ({n}, 1, {a}, {b})"
        )
    if b in (3, 4):

        def whole(_: int) -> NDArray[Any]:
            rows = [stored.row(row) for row in range(n)]
            return np.moveaxis(np.stack(rows), -1, 0)

        return Layout(1, (n, a), b, whole, "one colour picture (H, W, C)")
    return Layout(n, (a, b), 1, lambda row: stored.row(row)[None], "")
