"""Pictures that are opened and described, but not yet in memory.

Axes: N pictures, H height, W width.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mindeye.data.images import resize
from mindeye.errors import DataError
from mindeye.progress import track

MOST_PIXELS = 64_000_000
"""Of one picture; more is a mistake or a decompression bomb. Our own choice: an 8k frame has 33
million, Pillow warns at 89 million."""

_LONG = 200
"""Pictures from which reading them takes long enough for a progress bar."""


@dataclass(frozen=True)
class Reading:
    """How stored numbers become pictures.

    Parameters
    ----------
    range
        Range of the numbers in arrays: ``0..1``, ``0..255``, ``-1..1``, or ``auto``, which takes
        what is certain (bytes, floats within 0..1) and refuses the rest.
    alpha
        What lies behind transparent pictures: ``white``, ``black``, or ``refuse``.
    flag
        Name of the flag that sets `range`, for messages.
    """

    range: str = "auto"
    alpha: str = "white"
    flag: str = "--range"


@dataclass(frozen=True)
class Pictures:
    """Pictures that can be read one by one.

    Attributes
    ----------
    path
        Folder or file they come from.
    names
        Name of every picture (N), for pairing and messages.
    sizes
        Height and width of every picture (N), upright.
    named
        Whether the names are those of files, so that pictures can be paired by them.
    notes
        What is converted on reading, a sentence each.
    read
        Function that gives picture i as (3, H, W), float in [0, 1].
    """

    path: Path
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    named: bool
    notes: tuple[str, ...]
    read: Callable[[int], Tensor] = field(repr=False)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def common_size(self) -> tuple[int, int] | None:
        """Height and width that all pictures share, or None."""
        return self.sizes[0] if len(set(self.sizes)) == 1 else None

    def images(
        self,
        rows: Sequence[int],
        *,
        size: tuple[int, int] | None = None,
        antialias: bool = True,
        progress: bool = True,
    ) -> Tensor:
        """Read some pictures into memory.

        Parameters
        ----------
        rows
            Indices of the pictures, in the order of the result.
        size
            Height and width of the result; None keeps the pictures' common size.
        antialias
            True resizes bicubically with antialiasing; False bilinearly without, as the authors'
            evaluation script did (`mindeye.metrics.pixels.resize_images`).
        progress
            Whether a progress bar may appear.

        Returns
        -------
        Tensor (N, 3, H, W)
            Float in [0, 1].

        Raises
        ------
        DataError
            If a picture cannot be read, or all together need more than the machine's memory.
        """
        if size is None and self.common_size is None:
            raise DataError(f"the pictures of {self.path} have several sizes; choose one")
        height, width = size or self.sizes[0]
        check_memory(self.path, 4 * len(rows) * 3 * height * width)
        images = torch.empty((len(rows), 3, height, width))
        bar = progress and len(rows) >= _LONG
        for place, row in enumerate(track(rows, "reading", shown=bar)):
            images[place] = _resized(self.read(row), (height, width), antialias)
        return images


def _resized(image: Tensor, size: tuple[int, int], antialias: bool) -> Tensor:
    if image.shape[-2:] == size:
        return image
    if not antialias:
        return torch.nn.functional.interpolate(
            image[None], size=size, mode="bilinear", align_corners=False
        )[0]
    return resize(image, size)


def check_memory(path: Path, needed: int) -> None:
    """Refuse what cannot fit, before the system kills the process for it.

    Parameters
    ----------
    path
        Folder or file, for the message.
    needed
        Bytes of its pictures in memory.

    Raises
    ------
    DataError
        If they are more than the machine's memory.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise DataError(
            f"{path} takes {needed / 1e9:.0f} GB in memory, this machine has {memory / 1e9:.0f}; "
            "shrink the pictures or score fewer"
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
