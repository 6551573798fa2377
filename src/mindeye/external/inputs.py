"""Anybody's pictures: a folder of images or one array, opened and described.

Whatever is not plainly what it seems is refused with a named error, and whatever is converted is
said: a score of wrongly read pictures looks like any other score.
"""

from __future__ import annotations

from pathlib import Path

from mindeye.errors import DataError
from mindeye.external.inputs_arrays import open_array_file
from mindeye.external.inputs_folder import SUFFIXES, open_folder
from mindeye.external.inputs_pictures import Pictures, Reading

__all__ = ["Pictures", "Reading", "open_pictures"]


def open_pictures(path: Path, reading: Reading | None = None) -> Pictures:
    """Open pictures without reading them all.

    Parameters
    ----------
    path
        A folder of image files, or ``.npy``, ``.npz``, ``.pt``, ``.safetensors``.
    reading
        Range and background.

    Returns
    -------
    Pictures
        Folders in natural order of the file names, arrays in their order.

    Raises
    ------
    DataError
        If it is missing, empty, damaged, or could mean several things; one line each.
    """
    how = reading or Reading()
    if path.is_dir():
        return open_folder(path, how)
    if not path.exists():
        raise DataError(f"{path} is not there; give a folder of pictures or a file of an array")
    if path.suffix.lower() in SUFFIXES:
        raise DataError(f"{path} is one picture; give the folder it lies in")
    return open_array_file(path, how)
