"""The files GLMsingle writes, in their three formats and two orders of axes.

Source: cvnlab/GLMsingle. `glmsingle/glmsingle.py` (Python) saves a dictionary with `np.save`, or
with `wanthdf5` one HDF5 data set a field; its betas are `betasmd` (X, Y, Z, N), for data given as
(V, time) the grid is (V, 1, 1). `matlab/GLMestimatesingletrial.m` saves `modelmd` with `-v7.3`,
which is HDF5 with the axes reversed as h5py sees them, (N, Z, Y, X). Betas are percent signal
change (`wantpercentbold`), `R2` is the percentage of variance that the GLM explains, and trials are
in chronological order. Older `.mat` files, which some re-save, keep the order of the axes. Checked
against that source, not against real files here.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from mindeye.datasets.object_npy import read_object_npy
from mindeye.errors import DataError

Axes = Literal["auto", "xyzn", "nzyx"]
BETAS = ("betasmd", "modelmd")
FIELDS = (*BETAS, "R2", "stimorder", "numtrialrun")
SUFFIXES = (".hdf5", ".h5", ".mat", ".npy")
BLOCK = 1 << 25
"""Values read at once, 128 MB as float32."""

Fields = dict[str, NDArray[Any]]
LoadFields = Callable[[Path], Fields]


@dataclass(frozen=True)
class BetaLayout:
    """How betas lie in a file.

    Parameters
    ----------
    grid
        (X, Y, Z) or (V,) or (V, 1, 1), in the order GLMsingle was given.
    backwards
        True for (N, Z, Y, X), false for (X, Y, Z, N).
    """

    grid: tuple[int, ...]
    backwards: bool


def load_fields(path: Path) -> Fields:
    """Read the fields of a `.npy`, or of a `.mat` older than 7.3, into memory.

    A `.mat` is read by SciPy, which names torn files but may crash on bytes that were changed on
    purpose; HDF5 and `.npy` stood 200 files each with bytes changed at random.

    Raises
    ------
    DataError
        If the file is missing, torn or of another format.
    """
    if path.suffix == ".npy":
        return read_object_npy(path, FIELDS)
    try:
        content = scipy.io.loadmat(path, variable_names=list(FIELDS), appendmat=False)
    except FileNotFoundError as error:
        raise DataError(f"no file at {path}") from error
    except (
        OSError,
        ValueError,
        TypeError,
        LookupError,
        NotImplementedError,
        MemoryError,
        zlib.error,
        scipy.io.matlab.MatReadError,
    ) as error:
        raise DataError(f"{path} is not a readable .mat: {error}") from error
    return {name: content[name] for name in FIELDS if isinstance(content.get(name), np.ndarray)}


class GlmsingleFile:
    """One output of GLMsingle; HDF5 is read in parts, the other formats as a whole.

    Parameters
    ----------
    path
        `.hdf5`, `.h5`, `.mat` or `.npy`.
    load
        Loads the formats that are read as a whole; may remember the last.

    Raises
    ------
    DataError
        If it is unreadable.
    """

    def __init__(self, path: Path, load: LoadFields = load_fields) -> None:
        self.path = path
        self._load = load
        if path.suffix not in SUFFIXES:
            raise DataError(f"{path} is no output of GLMsingle; give one of {SUFFIXES}")
        if not path.is_file():
            raise DataError(f"no file at {path}")
        self.in_parts = bool(h5py.is_hdf5(path))
        if not self.in_parts and path.suffix in (".hdf5", ".h5"):
            raise DataError(f"{path} is not HDF5, or torn; copy it again")

    def field(self, name: str) -> NDArray[Any] | None:
        """Return a small field as the file has it, None if it has none of that name."""
        found: NDArray[Any] | None = self._with(lambda fields: np.asarray(fields[name][()]), name)
        return found

    def betas(self) -> tuple[tuple[int, ...], bool]:
        """Return the shape of the betas in the file and whether MATLAB wrote them as HDF5.

        Raises
        ------
        DataError
            If there are none, or they are no numbers.
        """
        name = self._name_of_betas()
        found = self._with(
            lambda f: (tuple(f[name].shape), f[name].dtype, "MATLAB_class" in _attributes(f[name])),
            name,
        )
        if found is None or found[1].kind not in "fiu" or math.prod(found[0]) == 0:
            raise DataError(f"field {name} of {self.path} is not an array of numbers")
        return found[0], found[2]

    def read(
        self, layout: BetaLayout, chosen: NDArray[np.bool_], trials: slice
    ) -> NDArray[np.float32]:
        """Read the betas (trials, chosen voxels in C order of the grid).

        Parameters
        ----------
        layout
            Grid and order of the axes.
        chosen
            Voxels to read, of shape `layout.grid`.
        trials
            Range of trials, from 0, with start and stop.
        """
        name = self._name_of_betas()
        take = _read_backwards if layout.backwards else _read_forwards
        betas: NDArray[np.float32] | None
        betas = self._with(lambda fields: take(fields[name], chosen, trials), name)
        if betas is None:
            raise DataError(f"{self.path} has lost its field {name} since it was opened")
        return betas

    def _name_of_betas(self) -> str:
        for name in BETAS:
            if self._with(lambda _fields: True, name):
                return name
        raise DataError(
            f"{self.path} has no field betasmd (Python) or modelmd (MATLAB); is it an output of "
            "GLMsingle?"
        )

    def _with(self, do: Callable[[Any], Any], name: str) -> Any:
        """Do something with the file's fields if `name` is among them, else return None."""
        if not self.in_parts:
            fields = self._load(self.path)
            return do(fields) if name in fields else None
        try:
            with h5py.File(self.path, "r") as file:
                known = isinstance(file.get(name), h5py.Dataset) and file[name].shape is not None
                return do(file) if known else None
        except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{self.path} cannot be read ({name}): {error}") from error


def _attributes(array: Any) -> Any:
    return getattr(array, "attrs", {})


def _read_forwards(data: Any, chosen: NDArray[np.bool_], trials: slice) -> NDArray[np.float32]:
    """(X, Y, Z, N): slabs of the first axis."""
    count = trials.stop - trials.start
    out = np.empty((count, int(chosen.sum())), dtype=np.float32)
    step = max(1, BLOCK // max(1, math.prod(chosen.shape[1:]) * count))
    done = 0
    for start in range(0, len(chosen), step):
        wanted = chosen[start : start + step]
        if not wanted.any():
            continue
        slab = np.asarray(data[start : start + step, ..., trials])[wanted]
        out[:, done : done + len(slab)] = slab.T
        done += len(slab)
    return out


def _read_backwards(data: Any, chosen: NDArray[np.bool_], trials: slice) -> NDArray[np.float32]:
    """(N, Z, Y, X): blocks of trials."""
    out = np.empty((trials.stop - trials.start, int(chosen.sum())), dtype=np.float32)
    step = max(1, BLOCK // chosen.size)
    for start in range(trials.start, trials.stop, step):
        stop = min(start + step, trials.stop)
        block = np.asarray(data[start:stop])
        turned = block.transpose(0, *range(block.ndim - 1, 0, -1))
        out[start - trials.start : stop - trials.start] = turned[:, chosen]
    return out


def find_layout(
    file: GlmsingleFile, trials: int, mask: NDArray[np.bool_] | None, axes: Axes
) -> BetaLayout:
    """Tell the order of the axes from the number of trials and the grid of the mask.

    Raises
    ------
    DataError
        If neither order fits, or both do and the file does not say who wrote it.
    """
    shape, by_matlab = file.betas()
    fitting = []
    for backwards in (False, True):
        if axes != "auto" and backwards != (axes == "nzyx"):
            continue
        count, grid = (shape[0], shape[:0:-1]) if backwards else (shape[-1], shape[:-1])
        if len(shape) > 1 and count == trials and _fits(grid, mask):
            fitting.append(BetaLayout(grid, backwards))
    if len(fitting) == 2 and by_matlab:
        return fitting[1]
    if len(fitting) == 2:
        raise DataError(
            f"betas of shape {shape} in {file.path} could be (X, Y, Z, trials) or its reverse; "
            "set axes to xyzn or to nzyx"
        )
    if not fitting:
        raise DataError(_misfit(file.path, shape, trials, mask))
    return fitting[0]


def _is_flat(grid: tuple[int, ...]) -> bool:
    return sum(size > 1 for size in grid) <= 1


def _fits(grid: tuple[int, ...], mask: NDArray[np.bool_] | None) -> bool:
    if mask is None:
        return _is_flat(grid)
    return grid == mask.shape or (_is_flat(grid) and math.prod(grid) == int(mask.sum()))


def _misfit(path: Path, shape: tuple[int, ...], trials: int, mask: NDArray[np.bool_] | None) -> str:
    where = f"betas in {path} have shape {shape}, the events list {trials} trials"
    if trials not in (shape[0], shape[-1]):
        return (
            f"{where}; they must be one trial a stimulus (check task, sessions, the stimulus "
            "column and the ids to ignore)"
        )
    if mask is None:
        return f"{where}; betas on a grid need a mask (a NIfTI of the same grid)"
    return f"{where} and the mask has the grid {mask.shape} with {int(mask.sum())} voxels"
