"""The Natural Scenes Dataset as it is distributed, read into a `Recording`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.datasets.nsd.betas import (
    HDF5_ERRORS,
    BetaFile,
    check_files,
    inspect_betas,
    read_betas,
)
from mindeye.datasets.nsd.design import (
    Design,
    read_design,
    session_trials,
    shared_counts,
    shared_test_sets,
)
from mindeye.datasets.nsd.layout import (
    BETA_SCALE,
    MARKER,
    SESSIONS_HELD,
    SPACE,
    NsdConfig,
    NsdPaths,
    find_sessions,
    parse_rois,
    reason,
    require_file,
)
from mindeye.datasets.nsd.voxels import choose_voxels, read_volume, used_files
from mindeye.datasets.recording import Recording
from mindeye.errors import DataError
from mindeye.files import read_json

PICTURES = "imgBrick"
LICENCE = "NSD terms and conditions of use (signed by everyone who downloads it); pictures: COCO"


def read_nsd(root: Path, config: NsdConfig) -> Recording:
    """Read one subject of the Natural Scenes Dataset.

    Sessions that are missing, in the middle too, are left out; the others keep their trials. All
    sessions present are listed.

    Parameters
    ----------
    root
        Folder that holds `nsddata`, `nsddata_betas` and `nsddata_stimuli`.
    config
        Subject, version of the betas, voxels.

    Returns
    -------
    Recording
        `session` counts from 1 as in the file names, `trial` from 0 over the whole experiment,
        `stimulus_id` is the 73k index from 0 as text.

    Raises
    ------
    DataError
        If a file is missing, unreadable, or does not fit the others.
    """
    paths = NsdPaths(Path(root), config.subject, config.betas)
    design = read_design(paths.design)
    files = {s: inspect_betas(p) for s, p in find_sessions(paths, config.file_format).items()}
    first = next(iter(files.values()))
    region = paths.roi(parse_rois(config.roi)[0][0])
    shape = read_volume(region, f"region {parse_rois(config.roi)[0][0]}").shape
    check_files(list(files.values()), (shape[0], shape[1], shape[2]), source=region)
    voxels = choose_voxels(paths, config, first.grid)
    trials = session_trials(design, config.subject, list(files), first.trials)
    stimuli = _stimulus_table(design, config.subject, trials)
    ids = [int(i) for i in stimuli["stimulus_id"]]
    _check_pictures(paths.stimuli, design)
    inputs = [f.path for f in files.values()] + used_files(paths, config)

    def session_betas(session: int) -> NDArray[np.float32]:
        return read_betas(files[session], voxels)

    def pictures(wanted: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
        return read_pictures(paths.stimuli, wanted)

    return Recording(
        subject=f"subj{config.subject:02d}",
        trials=trials,
        stimuli=stimuli,
        voxels=voxels,
        read_betas=session_betas,
        read_pictures=pictures,
        inputs=(*inputs, paths.design, paths.stimuli),
        info=_info(paths, config, design, files),
        saturation=np.iinfo(np.int16).max / BETA_SCALE,
        test_sets=shared_test_sets(design, config.subject, first.trials, set(ids)),
    )


def _stimulus_table(design: Design, subject: int, trials: pd.DataFrame) -> pd.DataFrame:
    """Return the pictures that have trials, in increasing 73k index."""
    ids = np.unique(trials["stimulus_id"].to_numpy(dtype=np.int64))
    shared = np.isin(ids, design.images[subject - 1][: design.shared])
    return pd.DataFrame({"stimulus_id": [str(i) for i in ids], "shared": shared})


def _info(
    paths: NsdPaths, config: NsdConfig, design: Design, files: dict[int, BetaFile]
) -> dict[str, Any]:
    per_session = next(iter(files.values())).trials
    marker = paths.root / MARKER
    simulated = marker.is_file()
    return {
        "subject": f"subj{config.subject:02d}",
        "source": "miniature of the Natural Scenes Dataset, simulated"
        if simulated
        else "Natural Scenes Dataset (Allen et al. 2022)",
        "simulated": simulated,
        "licence": "CC0-1.0 (made by this software)" if simulated else LICENCE,
        "space": f"{SPACE} (the subject's own, 1.8 mm), voxels in C order over (X, Y, Z)",
        "units": f"percent signal change (int16 / {BETA_SCALE})",
        "betas_version": config.betas,
        "roi": config.roi,
        "mask": config.mask,
        "min_noise_ceiling": config.min_noise_ceiling,
        "grid": list(next(iter(files.values())).grid),
        "trials_per_session": per_session,
        "sessions_present": list(files),
        "sessions_held": SESSIONS_HELD[config.subject - 1],
        "shared_stimuli_by_definition": shared_counts(design, per_session),
        **({"simulation": _read_marker(marker)} if simulated else {}),
    }


def _read_marker(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable JSON: {reason(error)}") from error


def damaged_pictures(path: Path, error: BaseException) -> DataError:
    """Return the error of a file of pictures that cannot be read."""
    return DataError(f"{path} is cut off or damaged ({reason(error)}); fetch it again")


def inspect_pictures(path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return type and shape of the `imgBrick` in a file of pictures.

    Raises
    ------
    DataError
        If the file is damaged or has no such dataset.
    """
    try:
        with h5py.File(path, "r") as file:
            keys, data = list(file), file.get(PICTURES)
            found = (data.dtype, data.shape) if isinstance(data, h5py.Dataset) else None
    except HDF5_ERRORS as error:
        raise damaged_pictures(path, error) from error
    if found is None:
        raise DataError(f"{path} has no dataset {PICTURES!r}; it has {keys}")
    return found


def _check_pictures(path: Path, design: Design) -> None:
    """Check the file of pictures: (S, H, W, 3) uint8, RGB, and a row for every 73k index.

    h5py sees (73000, 425, 425, 3), upright, what MATLAB has as 3 x 425 x 425 x 73000 (NSD Data
    Manual, "Experiments"; not checked against the real file here).
    """
    require_file(path, "pictures (nsd_stimuli.hdf5)")
    dtype, shape = inspect_pictures(path)
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise DataError(
            f"{PICTURES} of {path} holds {dtype} of shape {shape}; pictures are uint8 (pictures, "
            "height, width, 3)"
        )
    largest = int(design.images.max())
    if largest >= shape[0]:
        raise DataError(
            f"{path} has {shape[0]} pictures, but the trial order names number {largest + 1}; "
            "they are not of one data set"
        )


def read_pictures(path: Path, wanted: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
    """Yield pictures (H, W, 3), 0..255, by their 73k index.

    Parameters
    ----------
    path
        `nsd_stimuli.hdf5`; opened once, one picture in memory.
    wanted
        Stimulus ids; quickest in increasing order.

    Raises
    ------
    DataError
        If an id is no row of the file, or the file is cut off or damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            data = file[PICTURES]
            for stimulus_id in wanted:
                if not stimulus_id.isdecimal() or int(stimulus_id) >= len(data):
                    raise DataError(
                        f"stimulus {stimulus_id!r} is no picture of {path}, which has 0 to "
                        f"{len(data) - 1}"
                    )
                yield np.asarray(data[int(stimulus_id)])
    except HDF5_ERRORS as error:
        raise damaged_pictures(path, error) from error
