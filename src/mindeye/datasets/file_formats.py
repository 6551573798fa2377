"""HDF5, NIfTI, MATLAB and text files, opened so that damage is named in one line with the file."""

from __future__ import annotations

import gzip
import logging
import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError

if TYPE_CHECKING:
    import h5py

ERRORS: tuple[type[Exception], ...] = (
    OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError,
    AttributeError, NameError, AssertionError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip
"""What h5py, nibabel and SciPy raise on files that are cut off, damaged or of another format."""


@contextmanager
def _naming(path: Path, kind: str, *more: type[Exception]) -> Iterator[None]:
    try:
        yield
    except (*ERRORS, *more) as error:
        # Several of the libraries' messages have two lines.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path} is cut off, damaged or no {kind} file ({reason}); fetch it again"
        ) from error


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file to read; errors of h5py within the block are named too.

    Raises
    ------
    DataError
        If the file is missing, cut off or damaged.
    """
    import h5py

    if not path.is_file():
        raise DataError(f"no file at {path}")
    with _naming(path, "HDF5"), h5py.File(path, "r") as file:
        yield file


@contextmanager
def open_dataset(path: Path, name: str) -> Iterator[h5py.Dataset]:
    """Open one data set of an HDF5 file to read.

    Raises
    ------
    DataError
        If the file is missing, cut off or damaged, or has no such data set.
    """
    import h5py

    with open_hdf5(path) as file:
        data = file.get(name)
        if not isinstance(data, h5py.Dataset) or data.shape is None:
            raise DataError(f"{path} has no dataset {name!r}; it has {sorted(file)[:20]}")
        yield data


@contextmanager
def reading_nifti(path: Path) -> Iterator[None]:
    """Name what nibabel and gzip raise within the block, and silence nibabel's own log.

    What nibabel finds in a header that it refuses is in its error; it would log it as well, which
    makes two lines of one, and it logs what it mends without harm to the numbers.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    log = logging.getLogger("nibabel.global")
    log.addFilter(_nothing)
    try:
        with _naming(path, "NIfTI", ImageFileError, HeaderDataError, WrapStructError):
            yield
    finally:
        log.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False


def read_volume(path: Path, what: str) -> NDArray[np.float32]:
    """Read a small NIfTI volume (X, Y, Z), scaled as its header says.

    Parameters
    ----------
    path
        A .nii or .nii.gz file.
    what
        What the volume is, for messages.

    Raises
    ------
    DataError
        If it is missing, unreadable or not one volume of real numbers.
    """
    from nibabel import Nifti1Image

    if not path.is_file():
        raise DataError(f"no {what} at {path}")
    with reading_nifti(path):
        # As a whole, so that gzip checks its checksum.
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        volume = np.asarray(Nifti1Image.from_bytes(content).dataobj)
    while volume.ndim > 3 and volume.shape[-1] == 1:
        volume = volume[..., 0]
    if volume.ndim != 3 or volume.dtype.kind not in "iufb" or not volume.size:
        raise DataError(
            f"{path} holds {volume.dtype} of shape {volume.shape}; {what} is one volume (X, Y, Z)"
        )
    return volume.astype(np.float32)


def whole_labels(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a volume of labels with those that floats have moved a little back on whole numbers.

    A mask that was read and saved through floats has its integers scaled into 16 bits: NSD's 0
    comes back as 1.5e-5, which is above 0 in all of cortex.
    """
    finite = volume[np.isfinite(volume)]
    spread = float(finite.max() - finite.min()) if finite.size else 0.0
    step = 1e-3 + 1e-4 * spread
    nearest = np.rint(volume)
    return np.where(np.abs(volume - nearest) <= step, nearest, volume).astype(np.float32)


HEADER = 128
MATRIX, COMPRESSED = 14, 15
NUMBER_CLASSES = range(6, 16)
NUMBER_TYPES = (*range(1, 8), 9, 12, 13)
"""Classes of arrays and types of elements that hold numbers (MathWorks, "MAT-File Format")."""
COMPLEX = 0x08


def load_mat(path: Path, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Return arrays of a MATLAB file of level 5, all of `names`.

    Raises
    ------
    DataError
        If the file is missing or unreadable, or lacks a variable.
    """
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    if not path.is_file():
        raise DataError(f"no file at {path}")
    if path.read_bytes()[:10] == b"MATLAB 7.3":
        raise DataError(f"{path} is a MATLAB 7.3 (HDF5) file; save it again with -v7")
    with _naming(path, "MATLAB", MatReadError):
        _check_mat(path.read_bytes())
        content = loadmat(path, variable_names=list(names))
        missing = [name for name in names if name not in content]
        known = [name for name, *_ in whosmat(path)] if missing else []
    if missing:
        raise DataError(f"{path} lacks {missing}; it has {known}")
    return {name: np.asarray(content[name]) for name in names}


def _check_mat(content: bytes) -> None:
    """Raise ValueError where SciPy would go on into damage that ends the whole process.

    SciPy does not look at the checksums of compressed variables. In others it looks types up by
    number in a table without asking whether they are in it, and reads an imaginary part that is
    not there; so of those only plain arrays of numbers are let through.
    """
    if content[HEADER - 2 : HEADER] != b"IM" or len(content) < HEADER + 8:
        raise ValueError("no header of a little-endian MATLAB 5 file")
    place = HEADER
    while place < len(content):
        kind, size = struct.unpack_from("<II", content, place)
        body = content[place + 8 : place + 8 + size]
        if kind not in (MATRIX, COMPRESSED) or len(body) != size:
            raise ValueError("a variable is cut off")
        if kind == COMPRESSED:
            zlib.decompress(body)
        else:
            _check_numbers(body)
        place += 8 + size


def _check_numbers(matrix: bytes) -> None:
    """Check the elements of an uncompressed variable: flags, dimensions, name, numbers."""
    if matrix[8] not in NUMBER_CLASSES or matrix[9] & COMPLEX:
        raise ValueError("a variable is neither compressed nor an array of numbers; save with -v7")
    place = 0
    for _ in range(4):
        kind, size = struct.unpack_from("<II", matrix, place)
        step = 8 + -(-size // 8) * 8
        if kind >> 16:  # up to four bytes stand within the tag
            kind, step = kind & 0xFFFF, 8
        place += step
        if kind not in NUMBER_TYPES or place > len(matrix):
            raise ValueError("a variable is damaged")
