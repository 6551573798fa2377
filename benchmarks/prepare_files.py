"""A synthetic NSD tree at real size, for timing; laid out as `mindeye.datasets.nsd` reads it.

Pictures are smooth noise whose coarse cells drive the betas of the region, so that the guards of a
preparation run as on real data and pass. Everything else on the grid is noise.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mindeye.config.fingerprints import config_dict
from mindeye.datasets.nsd.betas import KEY
from mindeye.datasets.nsd.design import MOST_REPEATS
from mindeye.datasets.nsd.layout import BETA_SCALE, MARKER, SUBJECTS, NsdPaths
from mindeye.datasets.nsd.miniature_files import (
    RandomDesign,
    refuse_real_tree,
    write_design,
    write_nifti,
)
from mindeye.datasets.nsd.pictures import PICTURES
from mindeye.errors import UsageError
from mindeye.files import atomic_path, read_json, write_json
from mindeye.progress import track

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SHARED = 0.1
"""Share of a subject's pictures that all subjects share; NSD's."""
CELLS = 8
"""Cells along a side of the noise that a picture is enlarged from."""
CEILING = 0.3
"""Share of a single trial's variance that the picture explains."""
POSTERIOR = 0.5
"""Share of the grid along Y, from the back, that the region lies in."""
FOLDERS = ("nsddata", "nsddata_betas", "nsddata_stimuli")


@dataclass(frozen=True)
class TreeConfig:
    """Sizes of a tree.

    Parameters
    ----------
    sessions, trials
        Sessions of the one subject, trials of each.
    voxels
        V, of `nsdgeneral`.
    grid
        Voxels along X, Y, Z.
    pictures
        In the subject's list; each has up to three trials.
    size
        Picture side in pixels.
    seed
        Of everything drawn.
    """

    sessions: int = 3
    trials: int = 750
    voxels: int = 15724
    grid: tuple[int, int, int] = (81, 104, 83)
    pictures: int = 1500
    size: int = 425
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = (self.sessions, self.trials, self.voxels, *self.grid, self.size)
        if min(sizes) < 1 or self.pictures < 10:
            raise UsageError("sizes of the bench start at 1, pictures at 10")
        if self.voxels > int(np.prod(self.grid)):
            raise UsageError(f"{self.voxels} voxels do not fit a grid of {self.grid}")
        if self.sessions * self.trials > MOST_REPEATS * self.pictures:
            raise UsageError(
                f"{self.sessions} sessions of {self.trials} trials need more than "
                f"{self.pictures} pictures shown up to {MOST_REPEATS} times"
            )


def make_tree(root: Path, config: TreeConfig) -> bool:
    """Write a tree unless the folder has this very one; return whether it was written.

    Raises
    ------
    DataError
        If the folder holds an NSD tree that was not made here.
    """
    refuse_real_tree(root)
    about = {
        "simulated": True,
        "seed": config.seed,
        "bench": {**config_dict(config), "grid": list(config.grid)},
    }
    marker = root / MARKER
    if marker.is_file() and read_json(marker) == {**about, "complete": True}:
        return False
    for name in FOLDERS:
        shutil.rmtree(root / name, ignore_errors=True)
    write_json(marker, {**about, "complete": False})
    paths = NsdPaths(root, 1)
    rng = np.random.default_rng(config.seed)
    design = _draw_design(config, rng)
    write_design(paths.design, design, trials=config.trials)
    cells = rng.integers(0, 256, (config.pictures, CELLS, CELLS, 3), dtype=np.uint8)
    _write_pictures(paths.stimuli, design, cells, config.size)
    region = place_region(config.grid, config.voxels)
    write_nifti(paths.roi("nsdgeneral"), region)
    features = _standardised(cells)
    weights = rng.standard_normal((features.shape[1], config.voxels), dtype=np.float32)
    weights /= np.float32(np.sqrt(features.shape[1]))
    for session in track(range(1, config.sessions + 1), "betas"):
        own = slice((session - 1) * config.trials, session * config.trials)
        signal = features[design.order[own]] @ weights
        generator = np.random.default_rng([config.seed, session])
        path = paths.session(session, "hdf5")
        write_session(path, signal, region.T > 0, generator)
    write_json(marker, {**about, "complete": True})
    return True


def _draw_design(config: TreeConfig, rng: np.random.Generator) -> RandomDesign:
    """Draw the order of as many trials as there are, and every subject's list of pictures."""
    places = np.repeat(np.arange(config.pictures), MOST_REPEATS)
    order = rng.permutation(places)[: config.sessions * config.trials]
    shared = max(1, round(SHARED * config.pictures))
    private = config.pictures - shared
    pool = rng.permutation(shared + SUBJECTS * private)
    own = pool[shared:].reshape(SUBJECTS, private)
    lists = np.concatenate([np.tile(np.sort(pool[:shared]), (SUBJECTS, 1)), own], axis=1)
    return RandomDesign(order.astype(np.int64), lists.astype(np.int64), shared, len(pool))


def _write_pictures(path: Path, design: RandomDesign, cells: NDArray[np.uint8], size: int) -> None:
    """Write `nsd_stimuli.hdf5`; pictures of other subjects' lists are black and take no room."""
    rows = design.images[0]
    shape = (size, size, 3)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        brick = file.create_dataset(
            PICTURES, (design.pictures, *shape), dtype=np.uint8, chunks=(1, *shape)
        )
        for place in track(np.argsort(rows, kind="stable").tolist(), "pictures"):
            small = Image.fromarray(cells[place])
            brick[int(rows[place])] = np.asarray(
                small.resize((size, size), Image.Resampling.BICUBIC)
            )


def place_region(grid: tuple[int, int, int], voxels: int) -> NDArray[np.int16]:
    """Return (X, Y, Z) int16, 1 in the region: a shell in the posterior half, as cortex is one."""
    axes = [np.linspace(-1, 1, n) for n in grid]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    distance = np.abs(np.sqrt(x**2 + y**2 + z**2) - 0.8)
    distance[:, round(POSTERIOR * grid[1]) :] += 10
    region = np.zeros(distance.size, dtype=np.int16)
    region[np.argsort(distance.ravel(), kind="stable")[:voxels]] = 1
    return region.reshape(grid)


def _standardised(cells: NDArray[np.uint8]) -> Floats:
    flat = cells.reshape(len(cells), -1).astype(np.float32)
    return np.asarray((flat - flat.mean(axis=0)) / flat.std(axis=0))


def write_session(
    path: Path, signal: Floats, inside: NDArray[np.bool_], rng: np.random.Generator
) -> None:
    """Write a session's betas: (T, Z, Y, X) int16, a chunk a voxel, not compressed.

    HDF5 lays all chunks out at once, their bytes are then written in place: a call of the library
    for each of 700,000 chunks would take minutes.

    Parameters
    ----------
    path
        To write.
    signal
        (T, V), of variance 1; voxels in C order over (X, Y, Z).
    inside
        (Z, Y, X) true in the region.
    rng
        Draws the noise.
    """
    trials = len(signal)
    # The file runs through X fastest, the table of voxels through Z.
    file_order = np.full(inside.T.shape, -1, dtype=np.int64)
    file_order[inside.T] = np.arange(signal.shape[1])
    column = file_order.T
    noise = np.float32(np.sqrt((1 - CEILING) / CEILING))
    with atomic_path(path) as temporary:
        offsets = _lay_out(temporary, (trials, *inside.shape))
        with temporary.open("r+b") as file:
            for layer, where in zip(column, offsets, strict=True):
                flat = layer.ravel()
                values = rng.integers(-900, 900, (flat.size, trials), dtype=np.int16)
                drawn = rng.standard_normal((int((flat >= 0).sum()), trials), dtype=np.float32)
                betas = signal[:, flat[flat >= 0]].T + noise * drawn
                values[flat >= 0] = np.rint(betas * np.float32(BETA_SCALE)).astype(np.int16)
                for first, last in _runs(where.ravel(), trials * values.itemsize):
                    os.pwrite(file.fileno(), values[first:last].tobytes(), int(where.flat[first]))


def _lay_out(path: Path, shape: tuple[int, ...]) -> Ints:
    """Create the data set with all its chunks; return where each begins, in bytes (Z, Y, X)."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((shape[0], 1, 1, 1))
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    with h5py.File(path, "w") as file:
        made = h5py.h5d.create(file.id, KEY.encode(), h5py.h5t.STD_I16LE, space, creation)
        return chunk_offsets(h5py.Dataset(made))


def chunk_offsets(data: h5py.Dataset) -> Ints:
    """Return where the chunk of every voxel begins in the file, in bytes (Z, Y, X)."""
    offsets = np.full(data.shape[1:], -1, dtype=np.int64)

    def note(chunk: h5py.h5d.StoreInfo) -> None:
        offsets[chunk.chunk_offset[1:]] = chunk.byte_offset

    data.id.chunk_iter(note)
    return offsets


def _runs(offsets: Ints, width: int) -> Iterator[tuple[int, int]]:
    """Yield first and last + 1 of stretches whose chunks follow each other in the file."""
    breaks = np.flatnonzero(np.diff(offsets) != width) + 1
    yield from zip([0, *breaks.tolist()], [*breaks.tolist(), len(offsets)], strict=True)
