"""Writing the files of a miniature NSD, each as the original is laid out.

Types and axes: see `nsd_betas`, `nsd_design`, `nsd_voxels` and `nsd` for what is known of the
originals and from where. Everything that counts from 1 in NSD's files counts from 1 here.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.io import savemat

from mindeye.data.scenes import caption
from mindeye.datasets.nsd.design import MOST_REPEATS
from mindeye.datasets.nsd.layout import BETA_SCALE, MARKER, NsdPaths
from mindeye.datasets.nsd.voxels import Grid
from mindeye.errors import DataError
from mindeye.files import atomic_path, write_text

if TYPE_CHECKING:
    from mindeye.data.simulate import Simulation

Ints = NDArray[np.int64]

SCENES = "mindeye_scenes.csv"
"""Not of NSD: which scene of the simulation each 73k index is."""
AREAS = 7
"""Labels of `prf-visualrois`: V1v, V1d, V2v, V2d, V3v, V3d, hV4 (NSD Data Manual, "ROIs")."""


@dataclass(frozen=True)
class RandomDesign:
    """A trial order, counted from 0.

    Parameters
    ----------
    order
        (trials,) position in a subject's list.
    images
        (8, pictures of a subject) 73k index.
    shared
        Shared pictures, which come first in every list.
    pictures
        Pictures in the file of pictures.
    """

    order: Ints
    images: Ints
    shared: int
    pictures: int


@dataclass(frozen=True)
class Place:
    """Where the voxels of a subject lie.

    Parameters
    ----------
    grid
        Voxels along X, Y, Z; three different numbers, others for every subject.
    region
        (X, Y, Z) int16: 1 in `nsdgeneral`, 0 in the rest of cortex, -1 outside.
    """

    grid: Grid
    region: NDArray[np.int16]


def refuse_real_tree(root: Path) -> None:
    """Raise DataError if a folder holds NSD files that were not made here."""
    folders = [n for n in ("nsddata", "nsddata_betas", "nsddata_stimuli") if (root / n).exists()]
    if folders and not (root / MARKER).is_file():
        raise DataError(
            f"{root} holds {folders[0]} but no {MARKER}: it may be real data; write the miniature "
            "into another folder"
        )


def place_voxels(subject: int, simulation: Simulation, rng: np.random.Generator) -> Place:
    """Scatter a subject's voxels over a grid; in C order they are in the simulation's order."""
    voxels = len(simulation.ceilings)
    side = max(3, round((2 * voxels) ** (1 / 3)) - 3)
    grid = (side + subject % 4, side + 5 + subject // 4, side + 9)
    cells = rng.permutation(int(np.prod(grid)))
    region = np.full(len(cells), -1, dtype=np.int16)
    region[cells[: voxels + (len(cells) - voxels) // 2]] = 0
    region[cells[:voxels]] = 1
    return Place(grid, region.reshape(grid))


def write_design(path: Path, design: RandomDesign, *, trials: int) -> None:
    """Write `nsd_expdesign.mat`: all but `stimpattern` (blank trials), doubles, from 1."""
    repeat = pd.Series(design.order).groupby(design.order).cumcount().to_numpy()
    session = np.arange(len(repeat)) // trials
    counts = np.zeros((MOST_REPEATS, int(session[-1]) + 1))
    np.add.at(counts, (repeat, session), 1)
    content = {
        "masterordering": design.order[None] + 1.0,
        "subjectim": design.images + 1.0,
        "sharedix": design.images[:1, : design.shared] + 1.0,
        "basiccnt": counts,
    }
    with atomic_path(path) as temporary:
        savemat(temporary, content, do_compression=True, appendmat=False)


def write_pictures(path: Path, rows: Ints, pictures: NDArray[np.uint8], *, count: int) -> None:
    """Write `nsd_stimuli.hdf5`; pictures nobody sees are black and take no room."""
    shape = pictures.shape[1:]
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        brick = file.create_dataset("imgBrick", (count, *shape), dtype=np.uint8, chunks=(1, *shape))
        for i in np.argsort(rows, kind="stable").tolist():
            brick[int(rows[i])] = pictures[i]


def write_scenes(path: Path, simulations: Sequence[Simulation], rows: Sequence[Ints]) -> None:
    """Write which scene each 73k index is, and its caption."""
    tables = []
    for simulation, own in zip(simulations, rows, strict=True):
        train = simulation.config.train
        listed = np.r_[train : len(simulation.ids), :train].tolist()
        tables.append(
            pd.DataFrame(
                {
                    "stimulus_id": own,
                    "scene": [simulation.ids[i] for i in listed],
                    "caption": [caption(simulation.scenes[i]) for i in listed],
                }
            )
        )
    table = pd.concat(tables).drop_duplicates("stimulus_id").sort_values("stimulus_id")
    write_text(path, table.to_csv(index=False))


def write_nifti(path: Path, volume: NDArray[Any]) -> None:
    """Write a .nii.gz of 1.8 mm voxels, without a scale of its own."""
    image = nib.Nifti1Image(volume, np.diag([1.8, 1.8, 1.8, 1.0]))
    image.header.set_slope_inter(1, 0)
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))


def write_volumes(paths: NsdPaths, place: Place, simulation: Simulation) -> None:
    """Write `nsdgeneral`, `prf-visualrois` (low-level voxels, labels 1 to 7) and `ncsnr`."""
    inside = np.flatnonzero(place.region.ravel() == 1)
    low = inside[: len(simulation.fields)]
    areas = np.minimum(place.region, 0).ravel()
    areas[low] = np.arange(len(low)) % AREAS + 1
    ncsnr = np.zeros(place.region.size, dtype=np.float32)
    ceilings = simulation.ceilings.astype(np.float64)
    ncsnr[inside] = np.sqrt(ceilings / np.maximum(1 - ceilings, 1e-6))
    write_nifti(paths.roi("nsdgeneral"), place.region)
    write_nifti(paths.roi("prf-visualrois"), areas.reshape(place.grid))
    write_nifti(paths.ncsnr, ncsnr.reshape(place.grid))


def write_betas(
    paths: NsdPaths,
    place: Place,
    simulation: Simulation,
    rng: np.random.Generator,
    *,
    file_format: str,
) -> None:
    """Write every session: the simulation's betas in the region, noise in the rest of cortex.

    HDF5: (T, Z, Y, X) in chunks of a voxel's T trials, not compressed. NIfTI: (X, Y, Z, T).
    """
    session = simulation.trials["session"].to_numpy()
    trials = int((session == session[0]).sum())
    region = place.region.ravel()
    limits = np.iinfo(np.int16)
    for number in np.unique(session).tolist():
        volume = np.zeros((region.size, trials), dtype=np.int16)
        rest = rng.standard_normal((int((region == 0).sum()), trials), dtype=np.float32)
        for label, betas in ((1, simulation.betas[session == number].T), (0, rest)):
            stored = np.clip(np.rint(betas * np.float32(BETA_SCALE)), limits.min, limits.max)
            volume[region == label] = stored.astype(np.int16)
        spatial = volume.reshape(*place.grid, trials)
        if file_format in ("hdf5", "both"):
            _write_hdf5(paths.session(number + 1, "hdf5"), spatial)
        if file_format in ("nii", "both"):
            write_nifti(paths.session(number + 1, "nii.gz"), spatial)


def _write_hdf5(path: Path, volume: NDArray[np.int16]) -> None:
    trials = volume.shape[-1]
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("betas", data=np.ascontiguousarray(volume.T), chunks=(trials, 1, 1, 1))
