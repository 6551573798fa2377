"""Pictures from outside: opened, described, not yet in memory.

Every reader (`inputs_folder`, `inputs_arrays`) gives the same thing: how many pictures, how large
each is, what it is called, what had to be converted, and a function that reads one.

Axes: N pictures.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from mindeye.errors import DataError
from mindeye.progress import track

ValueRange = Literal["auto", "0..1", "0..255", "-1..1"]
Alpha = Literal["white", "black", "refuse"]
RANGES: tuple[str, ...] = get_args(ValueRange)
ALPHAS: tuple[str, ...] = get_args(Alpha)

MOST_PIXELS = 64_000_000
"""Of one picture; more is a mistake or a decompression bomb. Our own choice: an 8k frame has 33
million, Pillow warns at 89 million."""

_LONG = 200
"""Pictures from which reading them takes long enough for a bar."""


@dataclass(frozen=True)
class Reading:
    """How pictures are to be read.

    Parameters
    ----------
    values
        Range of the numbers in arrays; ``auto`` detects and says it, or refuses.
    alpha
        What lies behind transparent pictures; ``refuse`` takes none.
    flag
        Name of the flag that sets `values`, for messages.
    """

    values: ValueRange = "auto"
    alpha: Alpha = "white"
    flag: str = "--range"


@dataclass(frozen=True)
class Pictures:
    """Pictures that can be read one by one.

    Attributes
    ----------
    path
        Where they lie.
    names
        What each is called, for messages; N of them.
    sizes
        (height, width) of each.
    named
        Whether the names are those of files, so that pictures can be paired by them.
    said
        What is converted on reading, a sentence each.
    read
        Gives picture i as (3, H, W) float in [0, 1].
    """

    path: Path
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    named: bool
    said: tuple[str, ...]
    read: Callable[[int], Tensor] = field(repr=False)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def one_size(self) -> tuple[int, int] | None:
        """Return (height, width) if all pictures share them."""
        return self.sizes[0] if len(set(self.sizes)) == 1 else None

    def images(
        self,
        rows: Sequence[int],
        *,
        size: tuple[int, int] | None = None,
        antialias: bool = True,
        shown: bool = True,
    ) -> Tensor:
        """Read some pictures into memory.

        Parameters
        ----------
        rows
            Which, in this order.
        size
            Height and width of the result; None keeps the pictures' own, which must be the same.
        antialias
            True resizes bicubically with antialiasing, as `mindeye.data.images.resize` does;
            False bilinearly without, as the authors' evaluation script did (see
            `mindeye.metrics.pixels.resize_images`).
        shown
            Whether a bar is shown.

        Returns
        -------
        Tensor (N, 3, H, W)
            Float in [0, 1].

        Raises
        ------
        DataError
            If a picture cannot be read, or all together are more than the machine's memory.
        """
        if size is None and self.one_size is None:
            raise DataError(f"the pictures of {self.path} have several sizes; one must be chosen")
        height, width = size or self.sizes[0]
        check_memory(self.path, (len(rows), 3, height, width))
        images = torch.empty((len(rows), 3, height, width))
        bar = shown and len(rows) >= _LONG
        for place, row in enumerate(track(rows, "reading", shown=bar)):
            images[place] = _fit(self.read(row), (height, width), antialias)
        return images


def _fit(image: Tensor, size: tuple[int, int], antialias: bool) -> Tensor:
    if image.shape[-2:] == size:
        return image
    if not antialias:
        return torch.nn.functional.interpolate(
            image[None], size=size, mode="bilinear", align_corners=False
        )[0]
    mode = vision.InterpolationMode.BICUBIC
    resized: Tensor = vision.resize(image, list(size), interpolation=mode, antialias=True)
    return resized.clamp(0, 1)


def check_memory(path: Path, shape: tuple[int, ...]) -> None:
    """Refuse what cannot fit, before the system kills the process for it.

    Raises
    ------
    DataError
        If float pictures of that shape are more than the machine's memory.
    """
    needed = 4
    for length in shape:
        needed *= length
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise DataError(
            f"{path}: {shape[0]} pictures of {shape[-2]} x {shape[-1]} take {needed / 1e9:.0f} GB, "
            f"this machine has {memory / 1e9:.0f}; shrink them or score fewer"
        )


def check_pixels(path: Path, name: str, size: tuple[int, int]) -> None:
    """Refuse a picture without pixels, or with more than `MOST_PIXELS`, before decoding it.

    Raises
    ------
    DataError
        Naming file and picture.
    """
    height, width = size
    if height < 1 or width < 1:
        raise DataError(f"{path}: picture {name} is {height} x {width}, it has no pixels")
    if height * width > MOST_PIXELS:
        raise DataError(
            f"{path}: picture {name} is {height} x {width}, more than {MOST_PIXELS // 1_000_000} "
            "million pixels; shrink it"
        )


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which 2 comes before 10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return tuple((0, int(p), p) if p[0].isdigit() else (1, 0, p) for p in parts)
