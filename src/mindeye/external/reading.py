"""Anybody's pictures, opened and described: a folder of image files, or a file of one array.

Whatever is not plainly what it seems is refused with a named error, and whatever is converted is
noted: a score of wrongly read pictures looks like any other score.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mindeye.errors import DataError
from mindeye.external.arrays import open_array_file
from mindeye.external.pictures import Pictures, Reading, check_pixels
from mindeye.progress import track

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

_BAD_FILE = (
    UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, EOFError, KeyError,
    IndexError, OverflowError, MemoryError, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow's readers raise at files that are torn or were never images (fuzzed files find all
of these; SyntaxError is its PNG reader's word for a broken chunk)."""

_SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N", "I")
"""Pillow's modes for grey pictures of 16 bits; a PNG's white is 65535 (PNG specification 12.4)."""
_ORIENTATION = 0x0112


class Header(NamedTuple):
    """What an image file states about its picture before it is decoded; the size is upright."""

    size: tuple[int, int]
    mode: str
    transparent: bool
    turned: bool

    def conversions(self, alpha: str) -> list[str]:
        """Name what decoding changes, over a background `alpha`."""
        kinds = {
            "grey, copied into three channels": self.mode in ("1", "L", "LA", "La"),
            "grey of 16 bits, 0..65535 taken as black..white": self.mode in _SIXTEEN,
            "palettes, looked up": self.mode in ("P", "PA"),
            f"with an alpha channel, laid over {alpha}": self.transparent,
            "turned upright as their EXIF orientation says": self.turned,
            "of another colour model, converted to RGB": self.mode
            in ("CMYK", "YCbCr", "LAB", "HSV"),
        }
        return [kind for kind, applies in kinds.items() if applies]


def open_pictures(path: Path, reading: Reading | None = None) -> Pictures:
    """Open pictures without reading them all.

    Parameters
    ----------
    path
        Folder of image files, or a file of one array: ``.npy``, ``.npz``, ``.pt``,
        ``.safetensors``.
    reading
        Range of the numbers, and what lies behind transparent pictures.

    Returns
    -------
    Pictures
        Folders in natural order of the file names, arrays in their order.

    Raises
    ------
    DataError
        If it is missing, empty, damaged, or could mean several things; one line each.
    """
    reading = reading or Reading()
    if path.is_dir():
        return open_folder(path, reading)
    if not path.exists():
        raise DataError(f"{path} is not there; give a folder of pictures or a file of an array")
    if path.suffix.lower() in SUFFIXES:
        raise DataError(f"{path} is one picture; give the folder it lies in")
    return open_array_file(path, reading)


def open_folder(folder: Path, reading: Reading) -> Pictures:
    """Open a folder of image files, in natural order of their names.

    Parameters
    ----------
    folder
        Folder with the files directly in it; subfolders and hidden files are passed over.
    reading
        What lies behind transparent pictures.

    Raises
    ------
    DataError
        If there is no picture, two files share a stem, or one is no image, has several frames,
        is too large or transparent where that is refused.
    """
    files, passed = _image_files(folder)
    headers = [read_header(path) for path in track(files, "looking", shown=len(files) > 500)]
    converted: dict[str, list[str]] = {}
    for path, header in zip(files, headers, strict=True):
        check_pixels(folder, path.name, header.size)
        if header.transparent and reading.alpha == "refuse":
            raise DataError(f"{path} is transparent, and --alpha refuse takes no such pictures")
        for kind in header.conversions(reading.alpha):
            converted.setdefault(kind, []).append(path.name)
    notes = [
        f"{folder}: {len(names)} of {len(files)} pictures (first {names[0]}) are {kind}"
        for kind, names in converted.items()
    ]
    if passed:
        notes.append(f"{folder}: {passed} files or folders that are no pictures are passed over")

    def read(row: int) -> Tensor:
        pixels = torch.from_numpy(read_image(files[row], headers[row], reading.alpha))
        return pixels.permute(2, 0, 1).float().div_(255)

    sizes = tuple(header.size for header in headers)
    return Pictures(folder, tuple(p.stem for p in files), sizes, True, tuple(notes), read)


def natural(name: str) -> Sequence[tuple[int, int, str]]:
    """Sort key in which 2 comes before 10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(p), p) if p[0].isdigit() else (1, 0, p) for p in parts]


def _image_files(folder: Path) -> tuple[list[Path], int]:
    """Return the pictures of a folder in natural order, and how much else is in it."""
    inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    files = [p for p in inside if p.suffix.lower() in SUFFIXES and not p.is_dir()]
    if not files:
        deeper = " (there are subfolders; name one of them)" if any(map(Path.is_dir, inside)) else ""
        raise DataError(
            f"{folder} holds no pictures{deeper}; files ending in {', '.join(SUFFIXES)} are read"
        )
    files.sort(key=lambda path: (natural(path.stem), path.name))
    first: dict[str, Path] = {}
    for path in files:
        if first.setdefault(path.stem, path) is not path:
            raise DataError(
                f"{folder} holds {first[path.stem].name} and {path.name}, two pictures of one "
                "name; keep one"
            )
    return files, len(inside) - len(files)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file; everything that Pillow raises becomes one error with the file's name."""
    try:
        # Pillow's warnings, about size and torn files, come as errors of ours.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                yield picture
    except _BAD_FILE as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{path} is not a readable image, or torn: {reason}") from error


def read_header(path: Path) -> Header:
    """Read the size and the mode of an image file without decoding it.

    Raises
    ------
    DataError
        If it is no image, a link to nothing, several frames, or floats without a range.
    """
    if not path.exists():
        raise DataError(f"{path} is a link to nothing; fetch its content first")
    with _opened(path) as picture:
        frames = int(getattr(picture, "n_frames", 1))
        orientation = _orientation(picture)
        # Orientations from 5 on lie on their side.
        height, width = picture.size[::-1] if orientation < 5 else picture.size
        transparent = picture.has_transparency_data
        header = Header((height, width), picture.mode, transparent, orientation > 1)
    if frames > 1:
        raise DataError(f"{path} holds {frames} frames; a picture is one")
    if header.mode == "F":
        raise DataError(f"{path} holds floats without a range; save it as 8 bits or as .npy")
    return header


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 for upright.

    For a PNG without EXIF ahead of its pixels Pillow would decode the whole picture to look behind
    them; such a tag is passed over here and on reading alike.
    """
    if "exif" not in picture.info and picture.format != "TIFF":
        return 1
    orientation = picture.getexif().get(_ORIENTATION, 1)
    return int(orientation) if orientation in range(2, 9) else 1


def read_image(path: Path, header: Header, alpha: str) -> NDArray[np.generic]:
    """Decode an image file.

    Parameters
    ----------
    path
        Image file.
    header
        What `read_header` found in it.
    alpha
        Colour that lies behind a transparent picture.

    Returns
    -------
    array (H, W, 3)
        Upright, RGB, on the scale of 0..255.

    Raises
    ------
    DataError
        If it is torn.
    """
    with _opened(path) as picture:
        picture.load()
        upright = ImageOps.exif_transpose(picture) if header.turned else picture
        if header.mode in _SIXTEEN:
            grey = np.asarray(upright).astype(np.float32) / np.float32(257)
            return np.repeat(np.clip(grey, 0, 255)[:, :, None], 3, axis=2)
        if header.transparent:
            behind = Image.new("RGBA", upright.size, alpha)
            upright = Image.alpha_composite(behind, upright.convert("RGBA"))
        return np.array(upright.convert("RGB"))
