"""A folder of image files: headers first, pixels when they are asked for."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mindeye.errors import DataError
from mindeye.external.inputs_pictures import Pictures, Reading, check_pixels, natural
from mindeye.progress import track

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_BAD_FILE = (
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
    Image.DecompressionBombError,
)
"""What Pillow's readers raise at files that are torn or were never images (fuzzed files find all
of these; SyntaxError is its PNG reader's word for a broken chunk)."""

_SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N", "I")
"""Pillow's modes for grey pictures of 16 bits; a PNG's white is 65535 (PNG specification 12.4)."""
_ORIENTATION = 0x0112


class Header(NamedTuple):
    """What a file says about its picture without decoding it; the size is the upright one."""

    size: tuple[int, int]
    mode: str
    alpha: bool
    turned: bool


def open_folder(folder: Path, reading: Reading) -> Pictures:
    """Open a folder of image files, in natural order of their names.

    Parameters
    ----------
    folder
        Files directly in it; subfolders and hidden files are passed over.
    reading
        What lies behind transparent pictures.

    Raises
    ------
    DataError
        If there is no picture, two files share a stem, or one is no image, has several frames,
        is too large or transparent where that is refused.
    """
    files, passed = _files(folder)
    headers = [_header(path) for path in track(files, "looking", shown=len(files) > 500)]
    for path, header in zip(files, headers, strict=True):
        check_pixels(folder, path.name, header.size)
        if header.alpha and reading.alpha == "refuse":
            raise DataError(f"{path} is transparent, and --alpha refuse takes no such pictures")
    said = _said(folder, files, headers, reading)
    if passed:
        said.append(f"{folder}: {passed} files or folders that are no pictures are passed over")

    def read(row: int) -> Tensor:
        return _image(files[row], headers[row], reading)

    sizes = tuple(header.size for header in headers)
    return Pictures(folder, tuple(p.stem for p in files), sizes, True, tuple(said), read)


def _files(folder: Path) -> tuple[list[Path], int]:
    inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    files = [p for p in inside if p.suffix.lower() in SUFFIXES and not p.is_dir()]
    if not files:
        deeper = (
            " (there are subfolders; name one of them)" if any(map(Path.is_dir, inside)) else ""
        )
        raise DataError(
            f"{folder} holds no pictures{deeper}; files ending in {', '.join(SUFFIXES)} are read"
        )
    files.sort(key=lambda path: (natural(path.stem), path.name))
    seen: dict[str, Path] = {}
    for path in files:
        if path.stem in seen:
            raise DataError(
                f"{folder} holds {seen[path.stem].name} and {path.name}, two pictures of one "
                "name; keep one"
            )
        seen[path.stem] = path
    return files, len(inside) - len(files)


def _header(path: Path) -> Header:
    if not path.exists():
        raise DataError(f"{path} is a link to nothing; fetch its content first")
    try:
        with _opened(path) as picture:
            frames = int(getattr(picture, "n_frames", 1))
            orientation = _orientation(picture)
            width, height = picture.size
            if orientation >= 5:
                width, height = height, width
            alpha = "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info
            header = Header((height, width), picture.mode, alpha, orientation > 1)
    except _BAD_FILE as error:
        raise _not_an_image(path, error) from error
    if frames > 1:
        raise DataError(f"{path} holds {frames} frames; a picture is one")
    if header.mode == "F":
        raise DataError(f"{path} holds floats without a range; save it as 8 bits or as .npy")
    return header


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 for upright: 5 to 8 lie on their side.

    For a PNG without EXIF ahead of its pixels Pillow would decode the whole picture to look behind
    them; such a tag is passed over here and on reading alike.
    """
    if "exif" not in picture.info and picture.format != "TIFF":
        return 1
    orientation = picture.getexif().get(_ORIENTATION, 1)
    return int(orientation) if orientation in range(2, 9) else 1


def _opened(path: Path) -> Image.Image:
    # Pillow's warnings, about size and torn files, come as errors of ours.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(path)


def _image(path: Path, header: Header, reading: Reading) -> Tensor:
    try:
        with _opened(path) as picture:
            picture.load()
            upright = ImageOps.exif_transpose(picture) if header.turned else picture
            codes = _colours(upright, header, reading)
    except _BAD_FILE as error:
        raise _not_an_image(path, error) from error
    return torch.from_numpy(codes).permute(2, 0, 1).float().div_(255)


def _colours(picture: Image.Image, header: Header, reading: Reading) -> NDArray[np.generic]:
    """Return (H, W, 3) on the scale of 0..255."""
    if header.mode in _SIXTEEN:
        grey = np.asarray(picture).astype(np.float32) / np.float32(257)
        return np.repeat(np.clip(grey, 0, 255)[:, :, None], 3, axis=2)
    if header.alpha:
        behind = Image.new("RGBA", picture.size, reading.alpha)
        picture = Image.alpha_composite(behind, picture.convert("RGBA"))
    return np.array(picture.convert("RGB"))


def _not_an_image(path: Path, error: Exception) -> DataError:
    said = " ".join(str(error).split())[:120] or type(error).__name__
    return DataError(f"{path} is not a readable image, or torn: {said}")


def _said(
    folder: Path, files: Sequence[Path], headers: Sequence[Header], reading: Reading
) -> list[str]:
    """Say what reading does to the pictures, each kind once with its first file."""
    kinds = (
        ("grey, copied into three channels", lambda h: h.mode in ("1", "L", "LA", "La")),
        ("grey of 16 bits, 0..65535 taken as black..white", lambda h: h.mode in _SIXTEEN),
        ("palettes, looked up", lambda h: h.mode in ("P", "PA")),
        (f"with an alpha channel, laid over {reading.alpha}", lambda h: h.alpha),
        ("turned upright as their EXIF orientation says", lambda h: h.turned),
        (
            "of another colour model, converted to RGB",
            lambda h: h.mode in ("CMYK", "YCbCr", "LAB", "HSV"),
        ),
    )
    said = []
    for what, belongs in kinds:
        rows = [row for row, header in enumerate(headers) if belongs(header)]
        if rows:
            first = files[rows[0]].name
            said.append(
                f"{folder}: {len(rows)} of {len(files)} pictures (first {first}) are {what}"
            )
    return said
