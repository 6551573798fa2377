"""One `bdata` HDF5 file: its keys at once, its numbers when asked (layout: see `bdata`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.datasets.file_formats import open_dataset, open_hdf5
from mindeye.errors import DataError

LARGE = 1 << 20
"""From here on a number in single precision may have lost a label's decimals."""


class BdataFile:
    """Keys and labels of a file; betas when asked.

    Parameters
    ----------
    path
        The `.h5` file.

    Raises
    ------
    DataError
        If it is missing, torn, or not a bdata file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_hdf5(path) as file:
            self._data = _first(file, ("dataset", "dataSet"), path)
            group = _first(file, ("metadata", "metaData"), path)
            data = file[self._data]
            if data.ndim != 2 or data.dtype.kind not in "fiu":
                raise DataError(f"{path}: {self._data} is no table of numbers (trials, columns)")
            self.shape: tuple[int, int] = data.shape
            self._exact = data.dtype.kind != "f" or data.dtype.itemsize >= 8
            names = [_text(key, path) for key in np.ravel(file[group]["key"][()])]
            self._values = np.asarray(file[group]["value"][()], dtype=np.float64)
            self._vmap = _read_vmap(file, path)
        if 0 in self.shape or self._values.shape != (len(names), self.shape[1]):
            raise DataError(
                f"{path}: {group}/value has shape {self._values.shape} for {len(names)} keys and "
                f"a table of {self.shape}; the file is torn or of another format"
            )
        if len(set(names)) < len(names):
            raise DataError(f"{path} has a metadata key twice")
        self.keys = {name: row for row, name in enumerate(names)}

    def values(self, key: str) -> NDArray[np.float64]:
        """Return the metadata (columns,) of a key.

        Raises
        ------
        DataError
            If there is no such key; names some that there are.
        """
        if key not in self.keys:
            alike = [k for k in self.keys if k.startswith("ROI_") == key.startswith("ROI_")]
            more = " ..." if len(alike) > 20 else ""
            raise DataError(f"{self.path} has no {key}; it has {alike[:20]}{more}")
        return np.asarray(self._values[self.keys[key]])

    def columns(self, key: str) -> NDArray[np.int64]:
        """Return the columns that belong to a key."""
        return np.flatnonzero(self.values(key) == 1).astype(np.int64)

    def numbers(self, key: str) -> NDArray[np.float64] | None:
        """Return a label column (N,), None if the file has none of that name.

        Raises
        ------
        DataError
            If the key has several columns.
        """
        if key not in self.keys:
            return None
        columns = self.columns(key)
        if len(columns) != 1:
            raise DataError(f"{self.path}: {key} has {len(columns)} columns, a label has one")
        with open_dataset(self.path, self._data) as data:
            return np.asarray(data[:, int(columns[0])], dtype=np.float64)

    def labels(self, key: str) -> list[str]:
        """Return a label column as text: by its names where there are any, else the number.

        Whole numbers are written as such, others with six decimals; "" stands for none (NaN).

        Raises
        ------
        DataError
            If there is no such column, a number has no name, or was stored with too few digits.
        """
        numbers = self.numbers(key)
        if numbers is None:
            raise DataError(f"{self.path} has no column {key}; it has {list(self.keys)}")
        names = self._vmap.get(key)
        return ["" if np.isnan(n) else self._label(float(n), key, names) for n in numbers]

    def _label(self, number: float, key: str, names: dict[float, str] | None) -> str:
        if names is not None:
            if number not in names:
                raise DataError(f"{self.path}: vmap of {key} has no name for {number:g}")
            return names[number]
        if not np.isfinite(number):
            raise DataError(f"{self.path}: column {key} holds {number}")
        whole = number == round(number)
        if not self._exact and (not whole or abs(number) >= LARGE):
            raise DataError(
                f"{self.path}: column {key} holds {number:.6f} in single precision, which cannot "
                "tell labels with decimals apart; take the file in double precision"
            )
        if whole:
            return str(int(number))
        return f"{number:.6f}"

    def read(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read rows, in increasing order, of some columns: (rows, columns).

        What float32 cannot hold becomes infinite.
        """
        # A whole span of the table, and a pick from it: HDF5 is slow at single rows.
        first, low = int(rows[0]), int(columns.min())
        with open_dataset(self.path, self._data) as data:
            block = data[first : int(rows[-1]) + 1, low : int(columns.max()) + 1]
        with np.errstate(over="ignore"):
            return np.asarray(block[rows - first][:, columns - low], dtype=np.float32)


def choose_columns(file: BdataFile, roi: str) -> NDArray[np.int64]:
    """Return the columns of a region, or of several joined by `+`, in the order of the file.

    Raises
    ------
    DataError
        If the expression is no such list, a region is unknown, or none has a voxel.
    """
    names = [name.strip() for name in roi.split("+")] if roi.strip() else ["VoxelData"]
    for name in names:
        if not name or any(sign in name for sign in "=|&@*()-"):
            raise DataError(f"{roi!r} is no region; write V1, or V1+V2+V3")
    keys = [n if n == "VoxelData" or n.startswith("ROI_") else f"ROI_{n}" for n in names]
    member = np.logical_or.reduce([file.values(key) == 1 for key in keys])
    columns = np.flatnonzero(member).astype(np.int64)
    if not columns.size:
        raise DataError(f"{file.path}: {roi or 'VoxelData'} has no voxel")
    return columns


def _first(file: Any, names: tuple[str, ...], path: Path) -> str:
    for name in names:
        if name in file:
            return name
    raise DataError(f"{path} has no {names[0]}; is it a bdata file?")


def _text(value: Any, path: Path) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, str):
        return value
    raise DataError(f"{path}: a metadata key or a name in vmap is no text but {value!r}")


def _read_vmap(file: Any, path: Path) -> dict[str, dict[float, str]]:
    """Read names of numbers; the numbers are the names of the data sets."""
    names: dict[str, dict[float, str]] = {}
    for key in file.get("vmap", {}):
        group = file["vmap"][key]
        names[key] = {float(number): _text(group[number][()], path) for number in group}
    return names
