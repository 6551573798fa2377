"""Reading one session of NSD betas, only the voxels asked for, in bounded memory.

HDF5 (NSD Data Manual, "Functional data (NSD)"): dataset `betas` is X x Y x Z x 750 as MATLAB
writes it, that is column-major, so h5py sees (750, Z, Y, X); int16, in chunks of one voxel's 750
trials, uncompressed. Voxel (x, y, z) of trial t is `betas[t, z, y, x]`.

NIfTI (the same page): (X, Y, Z, 750) in nibabel, int16, gzip. Both are percent signal change times
300: cast to float32 first, then divide. Not checked against the real files here.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.datasets.file_formats import open_dataset, reading_nifti
from mindeye.datasets.nsd.layout import BETA_SCALE
from mindeye.datasets.nsd.voxels import Grid, describe_grid
from mindeye.errors import DataError

if TYPE_CHECKING:
    import h5py

KEY = "betas"
BLOCK_BYTES = 100_000_000
"""Bytes of a NIfTI file decompressed at once."""

Ints = NDArray[np.int64]
Stored = NDArray[np.int16]


@dataclass(frozen=True)
class BetaFile:
    """A file of one session, its header checked.

    Parameters
    ----------
    path
        The .hdf5 or .nii.gz file.
    trials
        Number of trials T.
    grid
        Number of voxels along X, Y and Z.
    """

    path: Path
    trials: int
    grid: Grid


def inspect_betas(path: Path) -> BetaFile:
    """Open a session's file and check type and dimensions, reading no betas.

    Raises
    ------
    DataError
        If it is unreadable, has no `betas`, or is not int16 with four dimensions.
    """
    if path.suffix == ".hdf5":
        with open_dataset(path, KEY) as data:
            dtype, shape = data.dtype, data.shape[:1] + data.shape[:0:-1]
    else:
        stored = _nifti_layout(path)
        dtype, shape = stored.dtype, stored.shape[-1:] + stored.shape[:-1]
        _check_scale(path, float(stored.slope), float(stored.inter))
    if dtype.kind != "i" or dtype.itemsize != 2:
        raise DataError(
            f"{path} holds {dtype}; NSD's betas are int16 (percent signal change x {BETA_SCALE})"
        )
    if len(shape) != 4 or 0 in shape:
        raise DataError(
            f"{path} has {shape[0]} trials of shape {shape[1:]}; betas have four dimensions"
        )
    trials, x, y, z = (int(n) for n in shape)
    return BetaFile(path, trials, (x, y, z))


def _nifti_layout(path: Path) -> Any:
    """Return nibabel's view of a file: type, shape, scale and where the numbers begin."""
    import nibabel

    with reading_nifti(path):
        return nibabel.load(path).dataobj


def _check_scale(path: Path, slope: float, intercept: float) -> None:
    """Refuse a scale in the header, unless it says 1 / 300, as the manual does."""
    plain = np.isclose(slope, 1) or np.isclose(slope, 1 / BETA_SCALE, rtol=1e-3)
    if not plain or intercept != 0:
        raise DataError(
            f"the header of {path} scales its numbers by {slope:g} and {intercept:g}; NSD's "
            f"betas are int16 without a scale of their own, to be divided by {BETA_SCALE}"
        )


def check_files(files: Sequence[BetaFile], grid: Grid, *, source: Path) -> None:
    """Check that all sessions have as many trials and lie on one grid.

    Parameters
    ----------
    files
        Sessions in order.
    grid
        Number of voxels along X, Y and Z of the regions.
    source
        File the grid is from, for the message.

    Raises
    ------
    DataError
        If axes look swapped, a grid is another subject's, or sessions differ in trials.
    """
    for file in files:
        if file.grid != grid:
            raise DataError(_misfit(file, grid, source))
        if file.trials != files[0].trials:
            raise DataError(
                f"{file.path} has {file.trials} trials, {files[0].path.name} has "
                f"{files[0].trials}; sessions must have equally many, one of them is damaged"
            )


def _misfit(file: BetaFile, grid: Grid, source: Path) -> str:
    rest = [file.trials, *file.grid]
    for size in grid:
        if size in rest:
            rest.remove(size)
    if len(rest) == 1:
        return (
            f"the axes of {file.path} look swapped: it has {file.trials} trials of "
            f"{describe_grid(file.grid)} voxels, {source.name} is {describe_grid(grid)}; NSD's own "
            f"files are {'(T, Z, Y, X)' if file.path.suffix == '.hdf5' else '(X, Y, Z, T)'}"
        )
    return (
        f"{file.path} is on a grid of {describe_grid(file.grid)}, {source} on one of "
        f"{describe_grid(grid)}: they are of different subjects or resolutions"
    )


def read_betas(file: BetaFile, voxels: pd.DataFrame) -> NDArray[np.float32]:
    """Read a session.

    Parameters
    ----------
    file
        The session, as `inspect_betas` returned it.
    voxels
        V rows with the places `x`, `y` and `z`, from 0.

    Returns
    -------
    array
        Betas (T, V) in percent signal change.

    Raises
    ------
    DataError
        If the file is cut off, damaged, or has changed since it was inspected.
    """
    if inspect_betas(file.path) != file:
        raise DataError(f"{file.path} has changed while it was being read; start again")
    x, y, z = (voxels[axis].to_numpy(dtype=np.int64) for axis in "xyz")
    if file.path.suffix == ".hdf5":
        with open_dataset(file.path, KEY) as data:
            stored = _hdf5_voxels(data, x, y, z)
    else:
        stored = _nifti_voxels(file, x, y, z)
    betas = stored.astype(np.float32)
    betas /= np.float32(BETA_SCALE)
    return betas


def _hdf5_voxels(data: h5py.Dataset, x: Ints, y: Ints, z: Ints) -> Stored:
    """Return stored numbers (T, V), by whole voxels where the file is laid out by voxels."""
    by_voxel = data.chunks == (data.shape[0], 1, 1, 1) and data.dtype == np.dtype("<i2")
    if by_voxel and data.id.get_create_plist().get_nfilters() == 0:
        try:
            return _voxel_chunks(data, x, y, z)
        except (OSError, RuntimeError, ValueError):
            pass  # a chunk never written, or a damaged one: the slower way tells which
    return _slabs(data, x, y, z)


def _voxel_chunks(data: h5py.Dataset, x: Ints, y: Ints, z: Ints) -> Stored:
    """Read each voxel's chunk as the bytes it is, in the order of the file."""
    stored = np.empty((len(x), data.shape[0]), dtype=np.int16)
    for i in np.lexsort((x, y, z)).tolist():
        _, content = data.id.read_direct_chunk((0, int(z[i]), int(y[i]), int(x[i])))
        stored[i] = np.frombuffer(content, dtype="<i2")
    return np.ascontiguousarray(stored.T)


def _slabs(data: h5py.Dataset, x: Ints, y: Ints, z: Ints) -> Stored:
    """Read any other layout by slabs along Z, each chunk once."""
    stored = np.empty((data.shape[0], len(x)), dtype=np.int16)
    step = data.chunks[1] if data.chunks else 1
    for start in range(0, data.shape[1], step):
        columns = np.flatnonzero((z >= start) & (z < start + step))
        if columns.size:
            slab = data[:, start : start + step]
            stored[:, columns] = slab[:, z[columns] - start, y[columns], x[columns]]
    return stored


def _nifti_voxels(file: BetaFile, x: Ints, y: Ints, z: Ints) -> Stored:
    """Return stored numbers (T, V), decompressing the file once from its start to its end."""
    # The offset is the opened image's: its header forgets it. No scale: the numbers as stored.
    layout = _nifti_layout(file.path)
    volume = layout.dtype.itemsize * int(np.prod(file.grid))
    step = max(1, BLOCK_BYTES // volume)
    stored = np.empty((file.trials, len(x)), dtype=np.int16)
    with reading_nifti(file.path), gzip.open(file.path, "rb") as stream:
        _exactly(stream, layout.offset)
        for start in range(0, file.trials, step):
            count = min(step, file.trials - start)
            block = np.frombuffer(_exactly(stream, count * volume), dtype=layout.dtype)
            block = block.reshape(*file.grid, count, order="F")
            stored[start : start + count] = block[x, y, z].T
        while stream.read(1 << 20):  # to the end, where gzip keeps its checksum
            pass
    return stored


def _exactly(stream: gzip.GzipFile, count: int) -> bytes:
    content = stream.read(count)
    if len(content) != count:
        raise EOFError(f"{count - len(content)} bytes are missing at the end")
    return content
