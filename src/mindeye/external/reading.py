"""Anybody's pictures, opened and described: a folder of image files, or a file of one array.

Whatever is not plainly what it seems is refused with a named error, and whatever is converted is
noted: a score of wrongly read pictures looks like any other score.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from mindeye.data.images import ImageHeader, read_header, read_picture, to_images
from mindeye.errors import DataError
from mindeye.external.arrays import open_array_file
from mindeye.external.pictures import Pictures, Reading, check_pixels
from mindeye.progress import track

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")
"""Pillow's modes for grey pictures of 16 bits; a PNG's white is 65535 (PNG specification 12.4)."""


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
    for path in files:
        if not path.exists():
            raise DataError(f"{path} is a link to nothing; fetch its content first")
    with warnings.catch_warnings():
        # What Pillow remarks about size and torn files comes as an error of ours.
        warnings.simplefilter("ignore")
        headers = [read_header(path) for path in track(files, "looking", shown=len(files) > 500)]
    converted: dict[str, list[str]] = {}
    for path, header in zip(files, headers, strict=True):
        check_pixels(folder, path.name, header.size)
        if header.transparent and reading.alpha == "refuse":
            raise DataError(f"{path} is transparent, and --alpha refuse takes no such pictures")
        for kind in _conversions(header, reading.alpha):
            converted.setdefault(kind, []).append(path.name)
    notes = [
        f"{folder}: {len(names)} of {len(files)} pictures (first {names[0]}) are {kind}"
        for kind, names in converted.items()
    ]
    if passed:
        notes.append(f"{folder}: {passed} files or folders that are no pictures are passed over")

    def read(row: int) -> Tensor:
        return to_images(read_picture(files[row], background=reading.alpha)[None])[0]

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
        folders = any(path.is_dir() for path in inside)
        deeper = " (there are subfolders; name one of them)" if folders else ""
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


def _conversions(header: ImageHeader, alpha: str) -> list[str]:
    """Name what decoding changes, over a background `alpha`."""
    kinds = {
        "grey, copied into three channels": ("1", "L", "LA", "La"),
        "grey of 16 bits, 0..65535 taken as black..white": _SIXTEEN_BITS,
        "palettes, looked up": ("P", "PA"),
        "of another colour model, converted to RGB": ("CMYK", "YCbCr", "LAB", "HSV"),
    }
    conversions = [kind for kind, modes in kinds.items() if header.mode in modes]
    if header.transparent:
        conversions.append(f"with an alpha channel, laid over {alpha}")
    if header.turned:
        conversions.append("turned upright as their EXIF orientation says")
    return conversions
