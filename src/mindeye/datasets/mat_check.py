"""Whether a MATLAB file is what its own lengths say, before a library reads it.

scipy trusts the lengths and types it finds and does not look at checksums; on damaged files it can
take the whole process down. The layout is that of the "MAT-File Format" (MathWorks), level 5:
elements of an 8-byte tag and content, a matrix (14) or one compressed with zlib (15), whose
checksum tells damage. A matrix holds elements of its own: flags, dimensions, name, numbers.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Any

from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from mindeye.datasets.nsd.layout import reason
from mindeye.errors import DataError

MAT_ERRORS = (
    OSError, ValueError, TypeError, NotImplementedError, MatReadError, zlib.error, EOFError,
    IndexError, KeyError, struct.error, OverflowError, MemoryError, AttributeError,
    AssertionError,
)  # fmt: skip
"""What reading a damaged MATLAB file raises."""
MATRIX, COMPRESSED = 14, 15
INT8, INT32, UINT32 = 1, 5, 6
SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
"""Bytes of a number by type: 8 to 64 bits, single (7) and double (9)."""
NUMERIC = range(6, 16)
"""Classes of arrays that hold numbers, from double to uint64."""
COMPLEX = 0x0800
HEADER = 128


def load_mat(path: Path, *, numbers: Collection[str] = ()) -> dict[str, Any]:
    """Return the variables of a MATLAB file of level 5.

    Parameters
    ----------
    path
        The file.
    numbers
        Variables that are arrays of real numbers, checked to their end; cells and structures are
        looked at from outside.

    Raises
    ------
    DataError
        If it is missing, damaged or of another format.
    """
    try:
        check_mat(path.read_bytes(), numbers)
        return dict(loadmat(path, variable_names=list(numbers) or None))
    except MAT_ERRORS as error:
        raise DataError(
            f"{path} is not a readable MATLAB file ({reason(error)}); fetch it again"
        ) from error


def check_mat(content: bytes, names: Collection[str]) -> None:
    """Check a file of level 5.

    Parameters
    ----------
    content
        The whole file.
    names
        Variables that will be read: arrays of real numbers. Of others only the head is looked at.

    Raises
    ------
    ValueError, struct.error, zlib.error
        If elements do not fill the file, a checksum is wrong, or a variable is not what it has to
        be.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[HEADER - 2 : HEADER])
    if order is None or len(content) < HEADER + 8:
        raise ValueError("no MATLAB 5 header")
    place = HEADER
    while place < len(content):
        kind, length = struct.unpack_from(f"{order}II", content, place)
        body = content[place + 8 : place + 8 + length]
        place += 8 + length
        if kind not in (MATRIX, COMPRESSED) or len(body) != length:
            raise ValueError("cut off or damaged")
        if kind == COMPRESSED:
            body = zlib.decompress(body)
            kind, length = struct.unpack_from(f"{order}II", body)
            body = body[8:]
            if kind != MATRIX or length != len(body):
                raise ValueError("a variable is damaged")
        _check_matrix(body, order, names)


def _check_matrix(body: bytes, order: str, names: Collection[str]) -> None:
    flags_type, flags, place = _element(body, 0, order)
    dims_type, dims, place = _element(body, place, order)
    name_type, name, place = _element(body, place, order)
    if (flags_type, dims_type, name_type) != (UINT32, INT32, INT8) or len(flags) != 8:
        raise ValueError("the head of a variable is damaged")
    title = name.decode("latin-1")
    if title not in names:
        return
    kind = struct.unpack_from(f"{order}I", flags)[0]
    if kind & 0xFF not in NUMERIC or kind & COMPLEX:
        raise ValueError(f"{title} holds something else, not numbers")
    if len(dims) % 4 or not 8 <= len(dims) <= 128:
        raise ValueError(f"the dimensions of {title} are damaged")
    shape = struct.unpack(f"{order}{len(dims) // 4}i", dims)
    number, values, _ = _element(body, place, order)
    if min(shape) < 0 or number not in SIZES or len(values) != prod(shape) * SIZES[number]:
        raise ValueError(f"{title} is damaged")


def _element(body: bytes, place: int, order: str) -> tuple[int, bytes, int]:
    """Return the type and content of the element at a place, and the place of the next."""
    kind, length = struct.unpack_from(f"{order}II", body, place)
    if kind >> 16:  # up to four bytes stand within the tag
        kind, length = kind & 0xFFFF, kind >> 16
        content = body[place + 4 : place + 4 + length]
        if length > 4 or len(content) != length:
            raise ValueError("a variable is damaged")
        return kind, content, place + 8
    content = body[place + 8 : place + 8 + length]
    if len(content) != length:
        raise ValueError("a variable is cut off")
    return kind, content, place + 8 + -(-length // 8) * 8
