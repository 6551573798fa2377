"""The Natural Scenes Dataset as it is distributed, read into a `Recording`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.datasets.nsd.betas import check_files, inspect_betas, read_betas
from mindeye.datasets.nsd.design import (
    Design,
    read_design,
    session_trials,
    shared_counts,
    shared_test_sets,
)
from mindeye.datasets.nsd.layout import (
    LICENCE,
    MARKER,
    SATURATION,
    SESSIONS_HELD,
    SPACE,
    UNITS,
    NsdConfig,
    NsdPaths,
    find_sessions,
)
from mindeye.datasets.nsd.pictures import count_pictures, read_pictures
from mindeye.datasets.nsd.voxels import choose_voxels, grid_of_region, used_files
from mindeye.datasets.recording import Recording
from mindeye.errors import DataError
from mindeye.files import read_json


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
    grid, region = grid_of_region(paths, config)
    check_files(list(files.values()), grid, source=region)
    voxels = choose_voxels(paths, config, grid, least_ceiling=config.min_noise_ceiling)
    trials = session_trials(design, config.subject, list(files), first.trials)
    stimuli = _stimulus_table(design, config.subject, trials)
    shown_ids = {int(i) for i in stimuli["stimulus_id"]}
    _check_count(paths.stimuli, design)
    betas = [file.path for file in files.values()]
    info = {
        **_info(paths, config),
        "grid": list(grid),
        "trials_per_session": first.trials,
        "sessions_present": list(files),
        "sessions_held": SESSIONS_HELD[config.subject - 1],
        "shared_stimuli_by_definition": shared_counts(design, first.trials),
        **_simulation(paths.root),
    }

    def session_betas(session: int) -> NDArray[np.float32]:
        return read_betas(files[session], voxels)

    def pictures(stimulus_ids: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
        return read_pictures(paths.stimuli, (_row(s, paths.stimuli) for s in stimulus_ids))

    return Recording(
        subject=f"subj{config.subject:02d}",
        trials=trials,
        stimuli=stimuli,
        voxels=voxels,
        read_betas=session_betas,
        read_pictures=pictures,
        inputs=(*betas, *used_files(paths, config), paths.design, paths.stimuli),
        info=info,
        saturation=SATURATION,
        test_sets=shared_test_sets(design, config.subject, first.trials, shown_ids),
    )


def _stimulus_table(design: Design, subject: int, trials: pd.DataFrame) -> pd.DataFrame:
    """Return the pictures that have trials, in increasing 73k index."""
    ids = np.unique(trials["stimulus_id"].to_numpy(dtype=np.int64))
    shared = np.isin(ids, design.images[subject - 1][: design.shared])
    return pd.DataFrame({"stimulus_id": [str(i) for i in ids], "shared": shared})


def _row(stimulus_id: str, path: Path) -> int:
    if not stimulus_id.isdecimal():
        raise DataError(f"stimulus {stimulus_id!r} is no picture of {path}; ids are row numbers")
    return int(stimulus_id)


def _check_count(path: Path, design: Design) -> None:
    count, largest = count_pictures(path), int(design.images.max())
    if largest >= count:
        raise DataError(
            f"{path} has {count} pictures, but the trial order names number {largest + 1}; "
            "they are not of one data set"
        )


def _info(paths: NsdPaths, config: NsdConfig) -> dict[str, Any]:
    simulated = (paths.root / MARKER).is_file()
    return {
        "subject": f"subj{config.subject:02d}",
        "source": "miniature of the Natural Scenes Dataset, simulated"
        if simulated
        else "Natural Scenes Dataset (Allen et al. 2022)",
        "simulated": simulated,
        "licence": "CC0-1.0 (made by this software)" if simulated else f"{LICENCE}; pictures: COCO",
        "space": f"{SPACE} (the subject's own, 1.8 mm), voxels in C order over (X, Y, Z)",
        "units": UNITS,
        "betas_version": config.betas,
        "roi": config.roi,
        "mask": config.mask,
        "min_noise_ceiling": config.min_noise_ceiling,
    }


def _simulation(root: Path) -> dict[str, Any]:
    """Return how a miniature was simulated; nothing for a person's data."""
    path = root / MARKER
    if not path.is_file():
        return {}
    try:
        return {"simulation": read_json(path)}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable JSON: {error}") from error
