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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mindeye.datasets.file_formats import open_dataset, open_hdf5
from mindeye.errors import DataError

if TYPE_CHECKING:
    import h5py

BETAS = ("betasmd", "modelmd")
SUFFIXES = (".hdf5", ".h5", ".mat", ".npy")
"""Suffixes of outputs; the first that is there is read."""
BLOCK = 1 << 25
"""Values read at once, 128 MB as float32."""


def read_field(path: Path, name: str) -> NDArray[Any]:
    """Return a small field of numbers as the file has it; empty if it has none of that name."""
    with open_hdf5(path) as file:
        values = np.asarray(file[name][()]) if name in file else np.empty(0)
    return values if values.dtype.kind in "fiu" else np.empty(0)


class BetasFile:
    """The betas of one output of GLMsingle, read in parts.

    Parameters
    ----------
    path
        File that ends in `.hdf5`, `.h5` or `.mat` (saved with `-v7.3`).

    Attributes
    ----------
    grid
        Shape of the voxels, (X, Y, Z) or (V,) or (V, 1, 1), in the order GLMsingle was given.
    trials
        Number of trials N.
    backwards
        Whether the file's axes are MATLAB's, (N, Z, Y, X), and not (X, Y, Z, N).

    Raises
    ------
    DataError
        If it is missing, a pickle, not readable as HDF5, or holds no betas.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.suffix == ".npy":
            raise DataError(_refusal(path))
        if path.suffix not in SUFFIXES:
            raise DataError(f"{path} is no output of GLMsingle; give one of {SUFFIXES[:-1]}")
        with open_hdf5(path) as file:
            self._name = next((n for n in BETAS if n in file), "")
        if not self._name:
            raise DataError(
                f"{path} has no field betasmd (Python) or modelmd (MATLAB); is it an output of "
                "GLMsingle?"
            )
        with open_dataset(path, self._name) as data:
            shape, kind = tuple(data.shape), data.dtype.kind
            self.backwards = "MATLAB_class" in data.attrs
        if kind not in "fiu" or len(shape) < 2 or 0 in shape:
            raise DataError(f"field {self._name} of {path} is not an array (voxels, trials)")
        self.grid: tuple[int, ...] = shape[:0:-1] if self.backwards else shape[:-1]
        self.trials: int = shape[0] if self.backwards else shape[-1]

    def read(self, chosen: NDArray[np.bool_], trials: slice) -> NDArray[np.float32]:
        """Read the betas (trials, chosen voxels in C order of the grid).

        Parameters
        ----------
        chosen
            Voxels to read, true in an array of the shape of the grid.
        trials
            Range of trials, from 0, with start and stop.
        """
        take = _read_backwards if self.backwards else _read_forwards
        with open_dataset(self.path, self._name) as data:
            return take(data, chosen, trials)

    def explained(self) -> NDArray[np.float64] | None:
        """Return the percentage of variance that the GLM explains (grid), None if not there."""
        values = read_field(self.path, "R2")
        if values.size != math.prod(self.grid):
            return None
        turned = values.T if self.backwards else values
        return np.asarray(turned, dtype=np.float64).reshape(self.grid)


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
