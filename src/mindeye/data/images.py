"""Images: one reader of files, the two kinds of arrays, and how each is resized.

::

    picture  (H, W, 3) uint8, 0..255: what is stored and what is looked at
    image    (3, H, W) float tensor in [0, 1]: what networks and metrics take
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from mindeye.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

UNREADABLE = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)
"""What Pillow raises at files that are torn or were never images (fuzzed files find all of these;
SyntaxError is its PNG reader's word for a broken chunk)."""

SIXTEEN_BIT = 65535


class ImageHeader(NamedTuple):
    """What an image file states about its picture before it is decoded.

    Attributes
    ----------
    size
        Height and width in pixels, upright.
    mode
        Colour mode, as Pillow names it.
    transparent
        Whether some of it may be transparent.
    turned
        Whether the camera's rotation (EXIF) turns it.
    """

    size: tuple[int, int]
    mode: str
    transparent: bool
    turned: bool


def read_header(file: str | Path | BinaryIO, *, name: str = "") -> ImageHeader:
    """Read the size and the mode of an image file without decoding it.

    Parameters
    ----------
    file, name
        The file and what to call it in messages, see `read_picture`.

    Raises
    ------
    DataError
        If `read_picture` would refuse the file.
    """
    with _opened(file, name or str(file), None) as image:
        orientation = _orientation(image)
        # Orientations from 5 on lie on their side.
        size = image.size[::-1] if orientation < 5 else image.size
        return ImageHeader(size, image.mode, image.has_transparency_data, orientation > 1)


def read_picture(
    file: str | Path | BinaryIO,
    *,
    name: str = "",
    formats: tuple[str, ...] | None = None,
    background: str = "white",
) -> NDArray[np.uint8]:
    """Read an image file as a picture, upright and in colour.

    The camera's rotation (EXIF) is applied, transparent parts show the background, palettes and
    CMYK become RGB, and 16-bit grey values are scaled to 8 bits. 8-bit RGB and grey values stay as
    they are.

    Parameters
    ----------
    file
        Path of the file, or the file opened for reading bytes.
    name
        What to call the file in messages; its path by default.
    formats
        Formats that are accepted, as Pillow names them; all that Pillow reads by default.
    background
        Colour behind transparent parts.

    Returns
    -------
    array
        The picture, (H, W, 3) uint8.

    Raises
    ------
    DataError
        If the file is not a readable image, or holds more than one page.
    """
    name = name or str(file)
    with _opened(file, name, formats) as image:
        upright = ImageOps.exif_transpose(image) if _orientation(image) > 1 else image
        return np.asarray(_in_colour(upright, name, background))


@contextmanager
def _opened(
    file: str | Path | BinaryIO, name: str, formats: tuple[str, ...] | None
) -> Iterator[Image.Image]:
    """Open an image file; whatever Pillow raises becomes one error with its name."""
    try:
        with Image.open(file, formats=formats) as image:
            pages = getattr(image, "n_frames", 1)
            if pages > 1:
                raise DataError(
                    f"{name} holds {pages} pages; save the one that was shown as a file of its own"
                )
            if image.mode == "F":
                raise DataError(
                    f"{name} holds floating point values; save it with 8 or 16 bits a channel"
                )
            yield image
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{name} is not a readable image: {reason}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 for upright and for EXIF that cannot be read.

    For a PNG without EXIF ahead of its pixels Pillow would decode the whole picture to look behind
    them; such a tag is passed over.
    """
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except UNREADABLE:
        return 1
    return int(orientation) if orientation in range(2, 9) else 1


def _in_colour(image: Image.Image, name: str, background: str = "white") -> Image.Image:
    """Return an image in mode RGB."""
    if image.mode.startswith("I"):
        return Image.fromarray(_scaled(np.asarray(image), name)).convert("RGB")
    if image.mode == "F":
        raise DataError(f"{name} holds floating point values; save it with 8 or 16 bits a channel")
    if not image.has_transparency_data:
        return image.convert("RGB")
    over = image.convert("RGBA")
    behind = Image.new("RGBA", over.size, background)
    return Image.alpha_composite(behind, over).convert("RGB")


def _scaled(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Scale 16-bit grey values (H, W) to 8 bits."""
    if values.min() < 0 or values.max() > SIXTEEN_BIT:
        raise DataError(f"{name} holds grey values beyond 16 bits; save it with 8 or 16 bits")
    return np.asarray(np.rint(values * (255 / SIXTEEN_BIT)), dtype=np.uint8)


def as_picture(values: Any, name: str) -> NDArray[np.uint8]:
    """Return an image that is in memory as a picture.

    Parameters
    ----------
    values
        uint8 array (H, W), (H, W, 1) or (H, W, 3), or a Pillow image.
    name
        What to call it in messages, like "the picture of stimulus 'cat'".

    Raises
    ------
    DataError
        If it has another type or shape.
    """
    if isinstance(values, Image.Image):
        return np.asarray(_in_colour(values, name))
    picture = np.asarray(values)
    if picture.ndim == 2 or (picture.ndim == 3 and picture.shape[-1] == 1):
        picture = np.repeat(picture.reshape(*picture.shape[:2], 1), 3, axis=-1)
    check_picture(picture, name)
    return picture


def check_picture(picture: NDArray[Any], name: str) -> None:
    """Refuse what is no picture.

    Raises
    ------
    DataError
        If the array is not uint8 of shape (H, W, 3).
    """
    if picture.ndim != 3 or picture.shape[-1] != 3 or picture.dtype != np.uint8:
        raise DataError(
            f"{name} has shape {picture.shape} and type {picture.dtype}; pictures are uint8 "
            "(height, width, 3)"
        )


def resized(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a picture at `size` x `size` pixels, bicubic and antialiased; 0 leaves it as it is.

    Examples
    --------
    >>> import numpy as np
    >>> resized(np.zeros((4, 6, 3), dtype=np.uint8), 2).shape
    (2, 2, 3)
    """
    if not size or picture.shape[:2] == (size, size):
        return picture
    small = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(small)


def thumbnail(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a picture at `side` x `side` pixels, bilinear, a few times faster than `resized`."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    if image.size != (side, side):
        # A box reduction to three times the size first: a large picture costs a third.
        image = image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(image)


def to_images(pictures: NDArray[np.uint8]) -> Tensor:
    """Turn pictures (N, H, W, 3), 0..255, into images (N, 3, H, W) in [0, 1]."""
    import torch

    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float().div_(255)


def to_pictures(images: Tensor) -> NDArray[np.uint8]:
    """Turn images (N, 3, H, W) into pictures (N, H, W, 3), 0..255, rounded and clipped."""
    import torch

    codes = (images.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return np.asarray(codes.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def resize(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Resize images, bicubic with antialiasing, kept within [0, 1].

    Parameters
    ----------
    images
        Images (N, 3, H, W) or one image (3, H, W), in [0, 1].
    size
        Side of a square, or height and width, in pixels.
    """
    from torchvision.transforms.v2 import functional as vision

    shape = (size, size) if isinstance(size, int) else size
    if images.shape[-2:] == shape:
        return images
    mode = vision.InterpolationMode.BICUBIC
    larger: Tensor = vision.resize(images, list(shape), interpolation=mode, antialias=True)
    return larger.clamp(0, 1)
