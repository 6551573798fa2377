"""Which voxels of NSD's volumes are read, and in which order.

NIfTI volumes are (X, Y, Z) in nibabel. Voxels are in C order over (X, Y, Z), the order that a
boolean mask of such a volume gives and most published code has; their places are in the table.
Regions mark voxels by labels above 0; 0 is cortex outside the region and -1 is not cortex at all
(labels 1 up: NSD Data Manual, "ROIs"; -1 as known from public code; not checked against the real
files here), so a region is `volume > 0` and never `volume != 0`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.datasets.file_formats import read_volume, whole_labels
from mindeye.datasets.nsd.layout import GRIDS, NsdPaths, VoxelsConfig, parse_rois, require_file
from mindeye.errors import DataError

Grid = tuple[int, int, int]


def describe_grid(grid: tuple[int, ...]) -> str:
    """Return a grid in words, with the NSD subject who has it."""
    owner = f" (subj{GRIDS.index(grid) + 1:02d}'s in NSD)" if grid in GRIDS else ""
    return " x ".join(map(str, grid)) + owner


def grid_of_region(paths: NsdPaths, config: VoxelsConfig) -> tuple[Grid, Path]:
    """Return the grid of the first region, and its file."""
    name = parse_rois(config.roi)[0][0]
    path = require_file(paths.roi(name), f"region {name}")
    x, y, z = read_volume(path, f"region {name}").shape
    return (x, y, z), path


def _on_grid(path: Path, what: str, grid: Grid) -> NDArray[np.float32]:
    volume = read_volume(require_file(path, what), what)
    if volume.shape != grid:
        raise DataError(
            f"{path} is on a grid of {describe_grid(volume.shape)}, the betas on one of "
            f"{describe_grid(grid)}: it is another subject's or another resolution's"
        )
    return volume


def _roi_labels(paths: NsdPaths, config: VoxelsConfig, grid: Grid) -> NDArray[np.object_]:
    """Return an object volume: "" outside, else the regions of a voxel, joined by ";"."""
    named = np.full(grid, "", dtype=object)
    for name, labels in parse_rois(config.roi):
        volume = whole_labels(_on_grid(paths.roi(name), f"region {name}", grid))
        inside = volume > 0 if not labels else np.isin(volume, labels)
        if not inside.any():
            raise DataError(
                f"{paths.roi(name)} has no voxel {f'labelled {labels}' if labels else 'above 0'}; "
                f"its labels are {sorted(np.unique(volume[volume > 0]).astype(int).tolist())[:20]}"
            )
        several = len(np.unique(volume[volume > 0])) > 1
        for label in np.unique(volume[inside]):
            here = volume == label
            tag = f"{name}:{label:g}" if several else name
            already = here & (named != "")
            named[here & ~already] = tag
            named[already] = named[already] + f";{tag}"
    return named


def choose_voxels(
    paths: NsdPaths, config: VoxelsConfig, grid: Grid, *, least_ceiling: float = 0
) -> pd.DataFrame:
    """Return the voxels to read, in C order over (X, Y, Z).

    Parameters
    ----------
    paths
        Paths of the subject's files.
    config
        Regions and mask.
    grid
        Number of voxels of the betas along X, Y and Z.
    least_ceiling
        Least single-trial noise ceiling of a voxel, a share of variance; 0 keeps all.

    Returns
    -------
    DataFrame
        V rows: `voxel` (0 to V - 1), `x`, `y`, `z` (from 0), `flat_index` ((x Y + y) Z + z),
        `roi`, and where the file is there `ncsnr` and `file_noise_ceiling`, the share of the
        variance of a single trial that is signal, ncsnr^2 / (ncsnr^2 + 1) (NSD Data Manual,
        "Functional data (NSD)": noise ceiling of n averaged trials, with n = 1; there in percent).

    Raises
    ------
    DataError
        If a file is missing, unreadable or on another grid, or no voxel is left.
    """
    named = _roi_labels(paths, config, grid)
    mask = named != ""
    if config.mask:
        if not Path(config.mask).is_file():
            raise DataError(f"no mask at {config.mask}; correct --mask, or leave it out")
        mask &= whole_labels(_on_grid(Path(config.mask), "mask", grid)) > 0
    ncsnr = None
    if least_ceiling > 0 or paths.ncsnr.is_file():
        ncsnr = _on_grid(paths.ncsnr, "noise ceiling (ncsnr.nii.gz)", grid).astype(np.float64)
        if least_ceiling > 0:
            # A voxel without a known ceiling (NaN) compares false and is left out.
            mask &= ceiling(ncsnr) >= least_ceiling
    if not mask.any():
        raise DataError(
            f"no voxel of subject {paths.subject} is in {config.roi}"
            f"{f' and {config.mask}' if config.mask else ''}"
            f"{f' with a noise ceiling of at least {least_ceiling}' if least_ceiling else ''}; "
            "choose other regions, another mask or a lower ceiling"
        )
    x, y, z = np.nonzero(mask)
    table: dict[str, Any] = {
        "voxel": np.arange(len(x)),
        "x": x,
        "y": y,
        "z": z,
        "flat_index": np.flatnonzero(mask),
        "roi": named[mask].astype(str),
    }
    if ncsnr is not None:
        table["ncsnr"] = ncsnr[mask]
        table["file_noise_ceiling"] = ceiling(ncsnr[mask])
    return pd.DataFrame(table)


def ceiling(ncsnr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return single-trial noise ceilings, shares of variance from 0 to 1, of ncsnr."""
    return np.asarray(1 - 1 / (ncsnr**2 + 1))


def used_files(paths: NsdPaths, config: VoxelsConfig) -> list[Path]:
    """Return the files that `choose_voxels` reads."""
    files = [paths.roi(name) for name, _ in parse_rois(config.roi)]
    if config.mask:
        files.append(Path(config.mask))
    if paths.ncsnr.is_file():
        files.append(paths.ncsnr)
    return files
