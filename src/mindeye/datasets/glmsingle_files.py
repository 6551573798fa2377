"""The HDF5 files that GLMsingle writes, in their two orders of axes.

Source: cvnlab/GLMsingle. `glmsingle/glmsingle.py` (Python) writes with `wanthdf5` one HDF5 data set
a field; its betas are `betasmd` (X, Y, Z, N), for data given as (V, time) the grid is (V, 1, 1).
`matlab/GLMestimatesingletrial.m` saves `modelmd` with `-v7.3`, which is HDF5 with the axes reversed
as h5py sees them, (N, Z, Y, X). Betas are percent signal change (`wantpercentbold`), `R2` is the
percentage of variance that the GLM explains, and trials are in chronological order. Checked against
that source, not against real files here.

Without `wanthdf5` Python saves a dictionary with `np.save`, which is a pickle: it can execute code
when it is opened, and is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mindeye.datasets.file_formats import open_dataset, open_hdf5
from mindeye.errors import DataError

if TYPE_CHECKING:
    import h5py

Axes = Literal["auto", "xyzn", "nzyx"]
BETAS = ("betasmd", "modelmd")
SUFFIXES = (".hdf5", ".h5", ".mat", ".npy")
"""Suffixes of outputs; the first that is there is read."""
BLOCK = 1 << 25
"""Values read at once, 128 MB as float32."""


@dataclass(frozen=True)
class BetaLayout:
    """How betas lie in a file.

    Parameters
    ----------
    grid
        Shape of the voxels, (X, Y, Z) or (V,) or (V, 1, 1), in the order GLMsingle was given.
    backwards
        True for axes (N, Z, Y, X), false for (X, Y, Z, N).
    """

    grid: tuple[int, ...]
    backwards: bool


class GlmsingleFile:
    """One output of GLMsingle in HDF5, read in parts.

    Parameters
    ----------
    path
        File that ends in `.hdf5`, `.h5` or `.mat` (saved with `-v7.3`).

    Raises
    ------
    DataError
        If it is missing, a pickle, or not readable as HDF5.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.suffix == ".npy":
            raise DataError(_refusal(path))
        if path.suffix not in SUFFIXES:
            raise DataError(f"{path} is no output of GLMsingle; give one of {SUFFIXES[:-1]}")
        with open_hdf5(path) as file:
            self._names = set(file)

    def field(self, name: str) -> NDArray[Any] | None:
        """Return a small field as the file has it, None if it has none of that name."""
        if name not in self._names:
            return None
        with open_dataset(self.path, name) as data:
            return np.asarray(data[()])

    def betas(self) -> tuple[tuple[int, ...], bool]:
        """Return the shape of the betas in the file and whether MATLAB wrote them.

        Raises
        ------
        DataError
            If there are none, or they are no numbers.
        """
        name = self._name_of_betas()
        with open_dataset(self.path, name) as data:
            if data.dtype.kind not in "fiu" or math.prod(data.shape) == 0:
                raise DataError(f"field {name} of {self.path} is not an array of numbers")
            return tuple(data.shape), "MATLAB_class" in data.attrs

    def read(
        self, layout: BetaLayout, chosen: NDArray[np.bool_], trials: slice
    ) -> NDArray[np.float32]:
        """Read the betas (trials, chosen voxels in C order of the grid).

        Parameters
        ----------
        layout
            Grid and order of the axes.
        chosen
            Voxels to read, true in an array of shape `layout.grid`.
        trials
            Range of trials, from 0, with start and stop.
        """
        take = _read_backwards if layout.backwards else _read_forwards
        with open_dataset(self.path, self._name_of_betas()) as data:
            return take(data, chosen, trials)

    def _name_of_betas(self) -> str:
        for name in BETAS:
            if name in self._names:
                return name
        raise DataError(
            f"{self.path} has no field betasmd (Python) or modelmd (MATLAB); is it an output of "
            "GLMsingle?"
        )


def _refusal(path: Path) -> str:
    new = path.with_suffix(".hdf5").name
    return (
        f"{path} is a pickle, which can execute code, and is not opened; save with wanthdf5=1, or, "
        "if you made the file yourself, convert it once in a script: d = numpy.load"
        f"({path.name!r}, allow_pickle=True).item(); f = h5py.File({new!r}, 'w'); "
        "f['betasmd'], f['R2'] = d['betasmd'], d['R2']; f.close()"
    )


def _read_forwards(
    data: h5py.Dataset, chosen: NDArray[np.bool_], trials: slice
) -> NDArray[np.float32]:
    """Read (X, Y, Z, N) by slabs of the first axis."""
    count = trials.stop - trials.start
    out = np.empty((count, int(chosen.sum())), dtype=np.float32)
    step = max(1, BLOCK // max(1, math.prod(chosen.shape[1:]) * count))
    done = 0
    for start in range(0, len(chosen), step):
        inside = chosen[start : start + step]
        if inside.any():
            slab = np.asarray(data[start : start + step, ..., trials])[inside]
            out[:, done : done + len(slab)] = slab.T
            done += len(slab)
    return out


def _read_backwards(
    data: h5py.Dataset, chosen: NDArray[np.bool_], trials: slice
) -> NDArray[np.float32]:
    """Read (N, Z, Y, X) by blocks of trials."""
    out = np.empty((trials.stop - trials.start, int(chosen.sum())), dtype=np.float32)
    step = max(1, BLOCK // chosen.size)
    for start in range(trials.start, trials.stop, step):
        block = np.asarray(data[start : min(start + step, trials.stop)])
        turned = block.transpose(0, *range(block.ndim - 1, 0, -1))
        out[start - trials.start :][: len(block)] = turned[:, chosen]
    return out


def find_layout(
    file: GlmsingleFile, trials: int, mask: NDArray[np.bool_] | None, axes: Axes
) -> BetaLayout:
    """Tell the order of the axes from the number of trials and the grid of the mask.

    Parameters
    ----------
    file
        The file of betas.
    trials
        Number of trials it has to hold.
    mask
        Voxels to read (X, Y, Z), if there is a mask.
    axes
        Order of the axes, where the user knows it.

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
    if len(fitting) == 2 and not by_matlab:
        raise DataError(
            f"betas of shape {shape} in {file.path} could be (X, Y, Z, trials) or its reverse; "
            "set axes to xyzn or to nzyx"
        )
    if not fitting:
        raise DataError(_misfit(file.path, shape, trials, mask))
    return fitting[-1]


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
