"""Reading one session of NSD betas, only the voxels asked for, in bounded memory.

HDF5 (NSD Data Manual, "Functional data (NSD)"): dataset `betas` is X x Y x Z x 750 as MATLAB
writes it, that is column-major, so h5py sees (750, Z, Y, X); int16, in chunks of one voxel's 750
trials, uncompressed. Voxel (x, y, z) of trial t is `betas[t, z, y, x]`.

NIfTI (the same page): (X, Y, Z, 750) in nibabel, int16, gzip. Both are percent signal change times
300: cast to float32 first, then divide. Not checked against the real files here.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.datasets.nsd.layout import BETA_SCALE, reason
from mindeye.datasets.nsd.voxels import NIFTI_ERRORS, Grid, open_nifti, say_grid
from mindeye.errors import DataError

KEY = "betas"
BLOCK_BYTES = 100_000_000
"""Bytes of a file looked at at once where single voxels cannot be read."""
HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, EOFError)
"""What h5py raises on files that are cut off, damaged or no HDF5."""


@dataclass(frozen=True)
class BetaFile:
    """A file of one session, its header checked.

    Parameters
    ----------
    path
        HDF5 or .nii.gz.
    trials
        T.
    grid
        Voxels along X, Y, Z.
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
        return _inspect_hdf5(path)
    return _inspect_nifti(path)


def _check_type(path: Path, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
    if dtype.kind != "i" or dtype.itemsize != 2:
        raise DataError(
            f"{path} holds {dtype}; NSD's betas are int16 (percent signal change x {BETA_SCALE})"
        )
    if len(shape) != 4 or 0 in shape:
        raise DataError(f"{path} has shape {shape}; betas have four dimensions")


def _inspect_hdf5(path: Path) -> BetaFile:
    try:
        with h5py.File(path, "r") as file:
            keys = list(file)
            data = file.get(KEY)
            found = (data.dtype, data.shape) if isinstance(data, h5py.Dataset) else None
    except HDF5_ERRORS as error:
        raise _unreadable(path, error) from error
    if found is None:
        raise DataError(f"{path} has no dataset {KEY!r}; it has {keys}")
    dtype, shape = found
    _check_type(path, dtype, shape)
    return BetaFile(path, int(shape[0]), (int(shape[3]), int(shape[2]), int(shape[1])))


def _inspect_nifti(path: Path) -> BetaFile:
    try:
        stored = open_nifti(path)
        dtype, shape = stored.dtype, stored.shape
        slope, intercept = float(stored.slope), float(stored.inter)
    except NIFTI_ERRORS as error:
        raise _unreadable(path, error) from error
    _check_type(path, dtype, shape)
    # A header that says 1 / 300 says what the manual says; another one contradicts it.
    plain = np.isclose(slope, 1) or np.isclose(slope, 1 / BETA_SCALE, rtol=1e-3)
    if not plain or intercept != 0:
        raise DataError(
            f"the header of {path} scales its numbers by {slope:g} and {intercept:g}; NSD's "
            f"betas are int16 without a scale of their own, to be divided by {BETA_SCALE}"
        )
    return BetaFile(path, int(shape[3]), (int(shape[0]), int(shape[1]), int(shape[2])))


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(f"{path} is cut off or damaged ({reason(error)}); fetch it again")


def check_files(files: Sequence[BetaFile], grid: Grid, *, source: Path) -> None:
    """Check that all sessions have as many trials and lie on one grid.

    Parameters
    ----------
    files
        Sessions in order.
    grid
        Voxels along X, Y, Z of the regions.
    source
        File the grid is from, for the message.

    Raises
    ------
    DataError
        If axes look swapped, a grid is another subject's, or sessions differ in trials.
    """
    for file in files:
        if file.grid == grid:
            continue
        seen = (file.trials, *file.grid)
        rest = list(seen)
        for size in grid:
            if size in rest:
                rest.remove(size)
        if len(rest) == 1:
            wanted = "(T, Z, Y, X)" if file.path.suffix == ".hdf5" else "(X, Y, Z, T)"
            shape = seen[:1] + seen[:0:-1] if file.path.suffix == ".hdf5" else (*seen[1:], seen[0])
            raise DataError(
                f"the axes of {file.path} look swapped: its shape is {shape}, {source.name} is "
                f"{say_grid(grid)}; NSD's own files are {wanted}"
            )
        raise DataError(
            f"{file.path} is on a grid of {say_grid(file.grid)}, {source} on one of "
            f"{say_grid(grid)}: they are of different subjects or resolutions"
        )
    for file in files:
        if file.trials != files[0].trials:
            raise DataError(
                f"{file.path} has {file.trials} trials, {files[0].path.name} has "
                f"{files[0].trials}; sessions must have equally many, one of them is damaged"
            )


def read_betas(file: BetaFile, voxels: pd.DataFrame) -> NDArray[np.float32]:
    """Read a session.

    Parameters
    ----------
    file
        From `inspect_betas`.
    voxels
        V rows with `x`, `y`, `z`, from 0.

    Returns
    -------
    array
        (T, V) in percent signal change.

    Raises
    ------
    DataError
        If the file is cut off, damaged, or has changed since it was inspected.
    """
    if inspect_betas(file.path) != file:
        raise DataError(f"{file.path} has changed while it was being read; start again")
    x, y, z = (voxels[axis].to_numpy(dtype=np.int64) for axis in "xyz")
    try:
        if file.path.suffix == ".hdf5":
            with h5py.File(file.path, "r") as opened:
                stored = _hdf5_voxels(opened[KEY], x, y, z)
        else:
            stored = _nifti_voxels(file, x, y, z)
    except (*HDF5_ERRORS, *NIFTI_ERRORS) as error:
        raise _unreadable(file.path, error) from error
    betas = stored.astype(np.float32)
    betas /= np.float32(BETA_SCALE)
    return betas


Ints = NDArray[np.int64]
Stored = NDArray[np.int16]


def _hdf5_voxels(data: h5py.Dataset, x: Ints, y: Ints, z: Ints) -> Stored:
    """Return stored numbers (T, V), by whole voxels where the file is laid out by voxels."""
    trials = data.shape[0]
    by_voxel = data.chunks == (trials, 1, 1, 1) and data.dtype == np.dtype("<i2")
    if by_voxel and data.id.get_create_plist().get_nfilters() == 0:
        try:
            return _voxel_chunks(data, x, y, z)
        except (OSError, RuntimeError, ValueError):
            pass  # a chunk never written, or a damaged one: the slower way tells which
    return _blocks(data, x, y, z)


def _voxel_chunks(data: h5py.Dataset, x: Ints, y: Ints, z: Ints) -> Stored:
    """Read each voxel's chunk as the bytes it is, in the order of the file."""
    stored = np.empty((len(x), data.shape[0]), dtype=np.int16)
    read = data.id.read_direct_chunk
    for i in np.lexsort((x, y, z)).tolist():
        skipped, content = read((0, int(z[i]), int(y[i]), int(x[i])))
        if skipped:
            raise ValueError("chunk with filters")
        stored[i] = np.frombuffer(content, dtype="<i2")
    return np.ascontiguousarray(stored.T)


def _blocks(data: h5py.Dataset, x: Ints, y: Ints, z: Ints) -> Stored:
    """Read any other layout in blocks of whole chunks, each chunk once."""
    stored = np.empty((data.shape[0], len(x)), dtype=np.int16)
    size = _block_shape(data.shape, data.chunks or (1, 1, 1, data.shape[3]))
    for t, zz, yy, xx in _corners(data.shape, size):
        inside = (z // size[1] * size[1] == zz) & (y // size[2] * size[2] == yy)
        columns = np.flatnonzero(inside & (x // size[3] * size[3] == xx))
        if not columns.size:
            continue
        block = data[t : t + size[0], zz : zz + size[1], yy : yy + size[2], xx : xx + size[3]]
        picked = block[:, z[columns] - zz, y[columns] - yy, x[columns] - xx]
        stored[t : t + len(block), columns] = picked
    return stored


def _block_shape(shape: tuple[int, ...], chunks: tuple[int, ...]) -> tuple[int, ...]:
    """Return whole chunks, enlarged from the last axis on while a block stays below the limit."""
    size = [min(c, s) for c, s in zip(chunks, shape, strict=True)]
    for axis in (3, 2, 1, 0):
        room = BLOCK_BYTES // (2 * int(np.prod(size)))
        size[axis] = min(shape[axis], size[axis] * max(1, room))
    return tuple(size)


def _corners(shape: tuple[int, ...], size: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return product(*(range(0, s, step) for s, step in zip(shape, size, strict=True)))


def _nifti_voxels(file: BetaFile, x: Ints, y: Ints, z: Ints) -> Stored:
    """Return stored numbers (T, V), decompressing the file once from its start to its end."""
    # The offset is the opened image's: its header forgets it. No scale: the numbers as stored.
    layout = open_nifti(file.path)
    volume = layout.dtype.itemsize * int(np.prod(file.grid))
    step = max(1, BLOCK_BYTES // volume)
    stored = np.empty((file.trials, len(x)), dtype=np.int16)
    with gzip.open(file.path, "rb") as stream:
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
