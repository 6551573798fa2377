"""What NSD's two extra experiments share: one session, one file of betas, NSD's own voxels.

NSD-synthetic and NSD-imagery were scanned with the eight subjects of NSD on the grids of NSD, and
their betas are stored like those of an NSD session (`nsd_betas`): int16, percent signal change
times 300, in one file `betas_<experiment>.hdf5` or `.nii.gz` of a folder
`<experiment>betas_<version>` below `nsddata_betas/ppdata/subjAA/func1pt8mm` (NSD Data Manual,
"Functional data (nsdsynthetic)" and "Functional data (nsdimagery)"; folder and file names as in
github.com/gifale95/NSD-synthetic and github.com/mynanshan/NHprojectNSDimagery). Not checked
against the real files here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.subject import load_subject
from mindeye.datasets.mat_check import load_mat
from mindeye.datasets.nsd.betas import BetaFile, check_files, inspect_betas, read_betas
from mindeye.datasets.nsd.layout import (
    BETA_SCALE,
    MARKER,
    SPACE,
    FileFormat,
    NsdConfig,
    NsdPaths,
    parse_rois,
)
from mindeye.datasets.nsd.voxels import Grid, choose_voxels, read_volume, say_grid, used_files
from mindeye.errors import ConfigError, DataError

LICENCE = "NSD terms and conditions of use (signed by everyone who downloads it)"
SATURATION = np.iinfo(np.int16).max / BETA_SCALE
SESSION = 1
"""The one session of an experiment, counted from 1 like those of NSD."""
KEPT = ("roi", "ncsnr", "file_noise_ceiling")
"""Columns of another preparation's voxels that are facts of the voxel and not of its trials."""


@dataclass(frozen=True)
class SingleSessionConfig:
    """What both experiments let one choose.

    Parameters
    ----------
    subject
        Number of the subject, 1 to 8.
    file_format
        `hdf5` or `nii` (.nii.gz) file of betas; `auto` takes what is there, HDF5 first.
    roi
        Regions, separated by commas, whose union is read: `nsdgeneral` is every voxel with a label
        above 0, `prf-visualrois:1+2` those labelled 1 or 2.
    mask
        A .nii or .nii.gz file on the subject's grid; only voxels above 0 in it are read.
    voxels_of
        A prepared subject of NSD, the same person: exactly its voxels are read, in its order, so
        that a decoder trained on it can be applied; takes the place of roi and mask.
    """

    subject: int = 1
    file_format: FileFormat = "auto"
    roi: str = "nsdgeneral"
    mask: str = ""
    voxels_of: Path | None = None

    def __post_init__(self) -> None:
        self.regions()
        if self.voxels_of is not None and (self.mask or self.roi != type(self).roi):
            raise ConfigError(
                "voxels_of says which voxels are read; leave roi and mask out, or leave it out"
            )

    def regions(self) -> NsdConfig:
        """Return the same choice of voxels as NSD's own reader takes it.

        Raises
        ------
        ConfigError
            If a value is unknown.
        """
        return NsdConfig(
            subject=self.subject, file_format=self.file_format, roi=self.roi, mask=self.mask
        )


@dataclass(frozen=True)
class SingleSession:
    """A session, its header checked and its voxels chosen.

    Parameters
    ----------
    file
        The betas.
    voxels
        V rows as in `nsd_voxels.choose_voxels`.
    inputs
        Files read so far.
    """

    file: BetaFile
    voxels: pd.DataFrame
    inputs: tuple[Path, ...]

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the betas of some trials of the file (rows, V), in percent signal change."""
        return read_betas(self.file, self.voxels)[rows]

    def info(self, paths: NsdPaths, config: SingleSessionConfig) -> dict[str, Any]:
        """Return what is known whichever the experiment."""
        simulated = (paths.root / MARKER).is_file()
        chosen = {"roi": config.roi, "mask": config.mask}
        if config.voxels_of is not None:
            chosen = {"voxels_of": str(config.voxels_of)}
        return {
            "subject": f"subj{config.subject:02d}",
            "simulated": simulated,
            "licence": "CC0-1.0 (made by this software)" if simulated else LICENCE,
            "space": f"{SPACE} (the subject's own, 1.8 mm); order of the voxels: "
            f"{'that of voxels_of' if config.voxels_of else 'C order over (X, Y, Z)'}",
            "units": f"percent signal change (int16 / {BETA_SCALE})",
            "betas_version": paths.version,
            "grid": list(self.file.grid),
            "trials_in_file": self.file.trials,
            **chosen,
        }


def open_session(paths: NsdPaths, name: str, config: SingleSessionConfig) -> SingleSession:
    """Find the file of betas and choose its voxels; reads no betas.

    Parameters
    ----------
    paths
        Root, subject and folder of betas.
    name
        Name of the file without suffix, like ``betas_nsdsynthetic``.
    config
        File format and voxels.

    Raises
    ------
    DataError
        If a file is missing, unreadable, or on another grid than the voxels.
    """
    file = inspect_betas(_find_betas(paths, name, config.file_format))
    if config.voxels_of is not None:
        voxels = prepared_voxels(config.voxels_of, config.subject, file)
        tables = [config.voxels_of / "subject.json", config.voxels_of / "voxels.csv"]
        return SingleSession(file, voxels, (file.path, *tables))
    wanted = config.regions()
    first = parse_rois(config.roi)[0][0]
    shape = read_volume(paths.roi(first), f"region {first}").shape
    check_files([file], (shape[0], shape[1], shape[2]), source=paths.roi(first))
    voxels = choose_voxels(paths, wanted, file.grid)
    return SingleSession(file, voxels, (file.path, *used_files(paths, wanted)))


def _find_betas(paths: NsdPaths, name: str, file_format: FileFormat) -> Path:
    suffixes = {"hdf5": ("hdf5",), "nii": ("nii.gz",), "auto": ("hdf5", "nii.gz")}[file_format]
    for suffix in suffixes:
        path = paths.betas / f"{name}.{suffix}"
        if path.is_file():
            return path
    names = " or ".join(f"{name}.{s}" for s in suffixes)
    raise DataError(
        f"no {names} in {paths.betas}; it has this path in NSD's bucket too; correct --root, "
        "--subject or --betas"
    )


def prepared_voxels(folder: Path, subject: int, file: BetaFile) -> pd.DataFrame:
    """Return the voxels of a prepared NSD subject, in its order, as places in another file.

    Parameters
    ----------
    folder
        The prepared subject.
    subject
        Whose betas are read; the prepared one must be the same person.
    file
        The betas the voxels are to be read from.

    Returns
    -------
    DataFrame
        V rows: `voxel`, `x`, `y`, `z`, `flat_index`, and `KEPT` where known.

    Raises
    ------
    DataError
        If it is another person's, says no places, or lies on another grid.
    """
    other = load_subject(folder)
    name = f"subj{subject:02d}"
    if other.info.get("subject") != name:
        raise DataError(
            f"{folder} is {other.info.get('subject')!r}, the betas are of {name}: voxels of one "
            "person are not those of another; give the same --subject"
        )
    grid = _recorded_grid(folder, other.info.get("grid"))
    if grid is not None:
        check_files([file], grid, source=folder / "subject.json")
    x, y, z = _places(other.voxels, file.grid, folder)
    table = {
        "voxel": np.arange(len(x)),
        "x": x,
        "y": y,
        "z": z,
        "flat_index": np.ravel_multi_index((x, y, z), file.grid),
    }
    if len(np.unique(table["flat_index"])) != len(x):
        raise DataError(f"voxels.csv of {folder} names a place twice; prepare it again")
    kept = {c: other.voxels[c].to_numpy() for c in KEPT if c in other.voxels}
    return pd.DataFrame({**table, **kept})


def _recorded_grid(folder: Path, grid: object) -> Grid | None:
    if grid is None:
        return None
    whole = isinstance(grid, list) and all(isinstance(n, int) and n > 0 for n in grid)
    if not isinstance(grid, list) or not whole or len(grid) != 3:
        raise DataError(f"the grid in subject.json of {folder} is {grid!r}, not three sizes")
    return grid[0], grid[1], grid[2]


def _places(voxels: pd.DataFrame, grid: Grid, folder: Path) -> tuple[NDArray[np.int64], ...]:
    names = [n for n in ("x", "y", "z") if n in voxels]
    names = names if len(names) == 3 else ["flat_index"]
    if not set(names) <= set(voxels):
        raise DataError(
            f"voxels.csv of {folder} has no columns x, y, z, nor flat_index, so the same voxels "
            "cannot be found; prepare that subject from NSD's own files"
        )
    limits = grid if len(names) == 3 else (int(np.prod(grid)),)
    places = []
    for column, limit in zip(names, limits, strict=True):
        numbers = pd.to_numeric(voxels[column], errors="coerce").to_numpy(dtype=np.float64)
        inside = (numbers >= 0) & (numbers < limit) & (numbers % 1 == 0)
        if not inside.all():
            row = int(np.flatnonzero(~inside)[0])
            raise DataError(
                f"{column} of voxel {row} in voxels.csv of {folder} is {voxels[column].iloc[row]}, "
                f"outside the betas' grid of {say_grid(grid)}"
            )
        places.append(numbers.astype(np.int64))
    if len(names) == 3:
        return tuple(places)
    return tuple(np.asarray(p, dtype=np.int64) for p in np.unravel_index(places[0], grid))


def need_file(path: Path, what: str) -> Path:
    """Return the path of a file that has to be there.

    Raises
    ------
    DataError
        If it is not.
    """
    if not path.is_file():
        raise DataError(
            f"no {what} at {path}; it has this path in NSD's bucket too; get it or correct --root"
        )
    return path


def read_mat(path: Path, what: str, key: str, *, numbers: bool = False) -> NDArray[Any]:
    """Return one array of a MATLAB file, of cells or of numbers.

    Raises
    ------
    DataError
        If the file is missing, unreadable or lacks it.
    """
    need_file(path, what)
    content = load_mat(path, numbers=(key,) if numbers else ())
    if key not in content:
        known = [k for k in content if not k.startswith("__")]
        raise DataError(f"{path} lacks {key!r}; it has {known}")
    return np.asarray(content[key])
