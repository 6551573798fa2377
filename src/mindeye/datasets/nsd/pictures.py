"""NSD's files of pictures: `imgBrick` (pictures, H, W, 3) uint8 in HDF5."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mindeye.datasets.file_formats import open_dataset
from mindeye.datasets.nsd.layout import require_file
from mindeye.errors import DataError

PICTURES = "imgBrick"


def count_pictures(path: Path) -> int:
    """Return how many pictures a file holds, after a look at their type and axes.

    h5py sees (73000, 425, 425, 3), upright, what MATLAB has as 3 x 425 x 425 x 73000 (NSD Data
    Manual, "Experiments"; not checked against the real file here).

    Raises
    ------
    DataError
        If the file is missing or damaged, or holds anything else.
    """
    require_file(path, "pictures")
    with open_dataset(path, PICTURES) as data:
        dtype, shape = data.dtype, data.shape
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise DataError(
            f"{PICTURES} of {path} holds {dtype} of shape {shape}; pictures are uint8 (pictures, "
            "height, width, 3)"
        )
    return int(shape[0])


def read_pictures(path: Path, rows: Iterable[int]) -> Iterator[NDArray[np.uint8]]:
    """Yield pictures (H, W, 3), 0..255, of some rows of the file; one is in memory at a time.

    Raises
    ------
    DataError
        If a row is not there, or the file is cut off or damaged.
    """
    with open_dataset(path, PICTURES) as data:
        for row in rows:
            if not 0 <= row < len(data):
                raise DataError(f"{row} is no picture of {path}, which has 0 to {len(data) - 1}")
            yield np.asarray(data[row])
