"""Dictionaries of arrays that were saved with `np.save`, read without executing the pickle.

`np.save` of a dictionary writes a pickle, and a pickle can call anything. Here every name that a
pickle of arrays needs stands for a small class or function of this module, so not even NumPy's own
reconstruction runs on what the file says; any other name is refused.

Layout: a `.npy` header of type object and shape () as in NumPy's `numpy.lib.format`, then one
pickle of a 0-d object array that holds the dictionary. Arrays are pickled as
`_reconstruct(ndarray, (0,), b"b")` with the state (1, shape, dtype, is_fortran, bytes or list);
the module of `_reconstruct` is `numpy.core.multiarray` before NumPy 2 and
`numpy._core.multiarray` since.
"""

from __future__ import annotations

import math
import pickle
import re
import tokenize
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError

PLAIN_TYPE = re.compile(r"(?:[biufc](?:1|2|4|8|16)|[US]\d{1,6}|[?bBhHiIlLqQefdgFD]|O8?)")
CORES = ("numpy.core", "numpy._core")
MALFORMED = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ImportError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    SyntaxError,
    tokenize.TokenError,
)


class _TypeName:
    """Stands for the class `numpy.ndarray`: can be passed on but not called."""


class _Dtype:
    """A plain numeric, text or object type, as the pickle names it."""

    def __init__(self, code: str, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str) or not PLAIN_TYPE.fullmatch(code):
            raise pickle.UnpicklingError(f"the array type {code!r} is not a plain one")
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, order, subtype, names, fields = state[:5]
        if order not in ("<", ">", "|", "=") or not (subtype is names is fields is None):
            raise pickle.UnpicklingError("a structured array is not a plain one")
        self.order = order

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.code if self.order in "=|" else self.order + self.code)


class _Array:
    """An array as the pickle states it; `content` is a NumPy array, or a list of objects."""

    content: Any

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, kind, fortran, data = state
        self.content = _content(data, kind, shape, fortran=bool(fortran))


def _content(data: Any, kind: Any, shape: Any, *, fortran: bool) -> Any:
    if not isinstance(kind, _Dtype):
        raise pickle.UnpicklingError("an array without a plain type")
    if kind.dtype.hasobject:
        if not isinstance(data, list) or len(data) != math.prod(shape):
            raise pickle.UnpicklingError("an array of objects with the wrong number of them")
        return data
    flat = np.frombuffer(data, dtype=kind.dtype) if len(data) else np.empty(0, kind.dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _empty(kind: object, _shape: object, _code: object) -> _Array:
    if kind is not _TypeName:
        raise pickle.UnpicklingError("an array of an unknown class")
    return _Array()


def _scalar(kind: Any, data: Any = b"") -> Any:
    return _content(data, kind, (), fortran=False)[()]


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any, _axes: Any = None) -> _Array:
    if order not in ("C", "F"):
        raise pickle.UnpicklingError(f"an array in the order {order!r}")
    array = _Array()
    array.content = _content(data, kind, shape, fortran=order == "F")
    return array


ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _TypeName,
    ("numpy", "dtype"): _Dtype,
    **{(f"{core}.multiarray", "_reconstruct"): _empty for core in CORES},
    **{(f"{core}.multiarray", "scalar"): _scalar for core in CORES},
    **{(f"{core}.numeric", "_frombuffer"): _from_buffer for core in CORES},
}


class _Refused(pickle.UnpicklingError):
    """A name that has no business in a file of arrays."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


def _read_pickle(file: IO[bytes], path: Path) -> Any:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        _shape, _fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        _shape, _fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise DataError(f"{path} is .npy of version {version}; save it again with a newer NumPy")
    if not dtype.hasobject:
        raise DataError(
            f"{path} holds a plain array of type {dtype}, not a dictionary of arrays; read plain "
            "betas as the source 'arrays'"
        )
    return _PlainUnpickler(file).load()


def read_object_npy(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Read named arrays out of a dictionary that was saved with `np.save`.

    The whole file is read into memory; that lies in the format. GLMsingle's `wanthdf5` avoids it.

    Parameters
    ----------
    path
        The `.npy` file.
    names
        Keys of the dictionary that are wanted.

    Returns
    -------
    dict
        Those of `names` that the dictionary has and that hold an array, a number, or a list of
        numbers; read-only.

    Raises
    ------
    DataError
        If the file is missing, torn, no dictionary, or its pickle asks for anything but arrays
        and plain containers. Nothing in the file is executed.
    """
    try:
        with path.open("rb") as file:
            saved = _read_pickle(file, path)
    except FileNotFoundError as error:
        raise DataError(f"no file at {path}") from error
    except _Refused as error:
        raise DataError(
            f"{path} is a pickle that asks for {error}, which is no array; it is not read, since "
            "a pickle can execute code (save the arrays as .hdf5 instead)"
        ) from error
    except (*MALFORMED, OSError) as error:
        raise DataError(f"{path} is not a readable .npy of arrays: {error}") from error
    content = getattr(saved, "content", None)
    if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], dict):
        raise DataError(f"{path} does not hold one dictionary, as GLMsingle's .npy files do")
    found = {name: _plain(content[0].get(name)) for name in names}
    return {name: array for name, array in found.items() if array is not None}


def _plain(value: Any) -> NDArray[Any] | None:
    """Turn what a dictionary holds into a numeric array, or None if it is none."""
    if isinstance(value, _Array):
        value = value.content
    if isinstance(value, list):
        if not all(isinstance(v, (int, float, np.number)) for v in value):
            return None
        value = np.asarray(value)
    if isinstance(value, (int, float, np.number)):
        value = np.asarray(value)
    return value if isinstance(value, np.ndarray) else None
