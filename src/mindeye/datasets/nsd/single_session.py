"""What NSD's two extra experiments share: one session, one file of betas, NSD's own voxels.

NSD-synthetic and NSD-imagery were scanned with the eight subjects of NSD on the grids of NSD, and
their betas are stored like those of an NSD session (`nsd.betas`): int16, percent signal change
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
from mindeye.datasets.nsd.betas import BetaFile, check_files, inspect_betas, read_betas
from mindeye.datasets.nsd.layout import (
    LICENCE,
    MARKER,
    SATURATION,
    SPACE,
    UNITS,
    NsdPaths,
    VoxelsConfig,
    find_betas,
)
from mindeye.datasets.nsd.voxels import choose_voxels, describe_grid, grid_of_region, used_files
from mindeye.datasets.recording import ReadPictures, Recording
from mindeye.errors import ConfigError, DataError

SESSION = 1
"""The one session of an experiment, counted from 1 like those of NSD."""
KEPT = ("roi", "ncsnr", "file_noise_ceiling")
"""Columns of another preparation's voxels that are facts of the voxel and not of its trials."""


@dataclass(frozen=True)
class SingleSessionConfig(VoxelsConfig):
    """What both experiments let one choose, beside the fields of `VoxelsConfig`.

    Parameters
    ----------
    voxels_of
        A prepared subject of NSD, the same person: exactly its voxels are read, in its order, so
        that a decoder trained on it can be applied; takes the place of roi and mask.
    """

    voxels_of: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.voxels_of is not None and (self.mask or self.roi != type(self).roi):
            raise ConfigError(
                "voxels_of says which voxels are read; leave roi and mask out, or leave it out"
            )


@dataclass(frozen=True)
class SingleSession:
    """A session whose header is checked and whose voxels are chosen.

    Parameters
    ----------
    paths
        Paths of the subject's files.
    config
        Subject, file format and voxels.
    file
        The file of betas.
    voxels
        V rows as `nsd.voxels.choose_voxels` returns them.
    inputs
        Files read so far.
    """

    paths: NsdPaths
    config: SingleSessionConfig
    file: BetaFile
    voxels: pd.DataFrame
    inputs: tuple[Path, ...]

    def recording(
        self,
        *,
        source: str,
        trials: pd.DataFrame,
        stimuli: pd.DataFrame,
        read_pictures: ReadPictures,
        inputs: tuple[Path, ...],
        info: dict[str, Any],
    ) -> Recording:
        """Return the recording of some trials of the file.

        Parameters
        ----------
        source
            Name of the experiment.
        trials
            Trial table; its column `trial` is the row of the file of betas, from 0.
        stimuli
            Table of the pictures, of which those that have trials are kept.
        read_pictures
            Reads pictures by their stimulus ids.
        inputs
            Files read beside the betas and the voxels.
        info
            What is known of this experiment.
        """
        rows = trials["trial"].to_numpy(dtype=np.int64)
        shown = stimuli["stimulus_id"].isin(trials["stimulus_id"])

        def session_betas(_: int) -> NDArray[np.float32]:
            betas: NDArray[np.float32] = read_betas(self.file, self.voxels)[rows]
            return betas

        return Recording(
            subject=f"subj{self.config.subject:02d}",
            trials=trials,
            stimuli=stimuli[shown].reset_index(drop=True),
            voxels=self.voxels,
            read_betas=session_betas,
            read_pictures=read_pictures,
            inputs=(*self.inputs, *inputs),
            info={"source": source, **self._info(), **info},
            saturation=SATURATION,
        )

    def _info(self) -> dict[str, Any]:
        simulated = (self.paths.root / MARKER).is_file()
        config = self.config
        selection = {"roi": config.roi, "mask": config.mask}
        if config.voxels_of is not None:
            selection = {"voxels_of": str(config.voxels_of)}
        return {
            "subject": f"subj{config.subject:02d}",
            "simulated": simulated,
            "licence": "CC0-1.0 (made by this software)" if simulated else LICENCE,
            "space": f"{SPACE} (the subject's own, 1.8 mm); order of the voxels: "
            f"{'that of voxels_of' if config.voxels_of else 'C order over (X, Y, Z)'}",
            "units": UNITS,
            "betas_version": self.paths.version,
            "grid": list(self.file.grid),
            "trials_in_file": self.file.trials,
            **selection,
        }


def open_session(root: Path, version: str, name: str, config: SingleSessionConfig) -> SingleSession:
    """Find the file of betas and choose its voxels; reads no betas.

    Parameters
    ----------
    root
        Folder that holds `nsddata`, `nsddata_betas` and `nsddata_stimuli`.
    version
        Name of the folder of betas.
    name
        Name of the file without suffix, like ``betas_nsdsynthetic``.
    config
        Subject, file format and voxels.

    Raises
    ------
    DataError
        If a file is missing, unreadable, or on another grid than the voxels.
    """
    paths = NsdPaths(Path(root), config.subject, version)
    file = inspect_betas(find_betas(paths, name, config.file_format)[name])
    if config.voxels_of is not None:
        voxels = prepared_voxels(config.voxels_of, config.subject, file)
        tables = (config.voxels_of / "subject.json", config.voxels_of / "voxels.csv")
        return SingleSession(paths, config, file, voxels, (file.path, *tables))
    grid, region = grid_of_region(paths, config)
    check_files([file], grid, source=region)
    voxels = choose_voxels(paths, config, grid)
    return SingleSession(paths, config, file, voxels, (file.path, *used_files(paths, config)))


def prepared_voxels(folder: Path, subject: int, file: BetaFile) -> pd.DataFrame:
    """Return the voxels of a prepared NSD subject, in its order, as places in another file.

    Parameters
    ----------
    folder
        The prepared subject.
    subject
        Number of the subject whose betas are read; the prepared one must be the same person.
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
    name, grid = f"subj{subject:02d}", file.grid
    if other.info.get("subject") != name:
        raise DataError(
            f"{folder} is {other.info.get('subject')!r}, the betas are of {name}: voxels of one "
            "person are not those of another; give the same --subject"
        )
    if other.info.get("grid", list(grid)) != list(grid):
        raise DataError(
            f"{folder} is on a grid of {other.info['grid']}, {file.path} on one of "
            f"{describe_grid(grid)}: they are of different resolutions"
        )
    if "flat_index" not in other.voxels:
        raise DataError(
            f"voxels.csv of {folder} has no column flat_index, so the same voxels cannot be "
            "found; prepare that subject from NSD's own files"
        )
    flat = pd.to_numeric(other.voxels["flat_index"], errors="coerce").to_numpy(dtype=np.float64)
    if not np.isin(flat, np.arange(np.prod(grid))).all() or len(np.unique(flat)) != len(flat):
        raise DataError(
            f"flat_index in voxels.csv of {folder} must name each place once, 0 to "
            f"{np.prod(grid) - 1} on the grid of {describe_grid(grid)}; prepare it again"
        )
    places = flat.astype(np.int64)
    x, y, z = np.unravel_index(places, grid)
    table = {"voxel": np.arange(len(places)), "x": x, "y": y, "z": z, "flat_index": places}
    columns = {c: other.voxels[c].to_numpy() for c in KEPT if c in other.voxels}
    return pd.DataFrame({**table, **columns})
