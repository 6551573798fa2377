"""Anyone's data: betas as .npy, pictures as a folder or .npy, trials as CSV."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.images import read_picture
from mindeye.data.trials import complete_trials, read_trials
from mindeye.datasets.picture_folder import find_pictures
from mindeye.datasets.recording import ReadPictures, Recording
from mindeye.errors import DataError
from mindeye.files import open_array


@dataclass(frozen=True)
class ArraysConfig:
    """Where the arrays are and what to call them.

    Parameters
    ----------
    betas
        .npy of shape (trials, voxels), single-trial GLM amplitudes in any unit.
    stimuli
        Folder of images named by stimulus_id, or .npy uint8 (stimuli, height, width[, 3]).
    trials
        CSV with stimulus_id per row of the betas; optional session, run, repeat, split.
    voxels
        CSV, one row a voxel of the betas: x, y, z, roi, noise_ceiling, whatever is known.
    subject
        Name of the subject.
    source
        Where the data are from, in words.
    licence
        Terms the data may be used under, in words.
    """

    betas: Path
    stimuli: Path
    trials: Path
    voxels: Path | None = None
    subject: str = "subj01"
    source: str = "arrays"
    licence: str = "not stated"


def read_arrays(config: ArraysConfig) -> Recording:
    """Open arrays on disk as a recording.

    Raises
    ------
    DataError
        If anything is missing, malformed, or does not fit together.
    """
    betas = _open_betas(config.betas)
    trials = complete_trials(read_trials(config.trials))
    if len(trials) != len(betas):
        raise DataError(
            f"{config.betas} has {len(betas)} trials but {config.trials} has {len(trials)} rows; "
            "they must match one to one"
        )
    ids = sorted(set(trials["stimulus_id"]))
    rows = {int(s): np.flatnonzero(trials["session"] == s) for s in trials["session"].unique()}

    def read_betas(session: int) -> NDArray[np.float32]:
        return np.asarray(betas[rows[session]], dtype=np.float32)

    inputs = (config.betas, config.stimuli, config.trials)
    return Recording(
        subject=config.subject,
        trials=trials,
        stimuli=pd.DataFrame({"stimulus_id": ids}),
        voxels=_read_voxels(config.voxels, betas.shape[1]),
        read_betas=read_betas,
        read_pictures=_pictures(config.stimuli, ids),
        inputs=inputs if config.voxels is None else (*inputs, config.voxels),
        info={
            "source": config.source,
            "simulated": False,
            "licence": config.licence,
            "space": "as given",
            "units": "as given",
        },
    )


def _open_betas(path: Path) -> NDArray[Any]:
    betas = open_array(path, "give an .npy file of shape (trials, voxels)")
    if betas.ndim != 2 or not np.issubdtype(betas.dtype, np.number) or betas.size == 0:
        raise DataError(
            f"{path} has shape {betas.shape} and type {betas.dtype}; betas are numbers of shape "
            "(trials, voxels)"
        )
    return betas


def _read_voxels(path: Path | None, voxels: int) -> pd.DataFrame:
    table = pd.DataFrame({"voxel": np.arange(voxels)})
    if path is None:
        return table
    try:
        known = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable CSV: {error}") from error
    if len(known) != voxels:
        raise DataError(f"{path} has {len(known)} rows for {voxels} voxels; one row a voxel")
    return pd.concat([table, known.drop(columns="voxel", errors="ignore")], axis=1)


def _pictures(path: Path, ids: list[str]) -> ReadPictures:
    """Return a reader of pictures by stimulus id, after a look at whether all are there."""
    if path.is_dir():
        files = find_pictures(path, ids)
        return lambda wanted: (read_picture(files[s]) for s in wanted)
    if path.is_file() and path.suffix == ".npy":
        pictures = _open_pictures(path, ids)
        return lambda wanted: _rows(pictures, wanted)
    raise DataError(f"no pictures at {path}; give a folder of images or an .npy file")


def _rows(pictures: NDArray[np.uint8], ids: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
    for stimulus_id in ids:
        picture = np.array(pictures[int(stimulus_id)])
        yield np.repeat(picture[..., None], 3, axis=-1) if picture.ndim == 2 else picture


def _open_pictures(path: Path, ids: list[str]) -> NDArray[np.uint8]:
    pictures = open_array(path, "give a folder of images or an .npy file")
    grey_or_rgb = pictures.ndim == 3 or (pictures.ndim == 4 and pictures.shape[-1] == 3)
    if pictures.dtype != np.uint8 or not grey_or_rgb or len(pictures) == 0:
        raise DataError(
            f"{path} has shape {pictures.shape} and type {pictures.dtype}; pictures are uint8 of "
            "shape (stimuli, height, width) or (stimuli, height, width, 3)"
        )
    bad = [s for s in ids if not re.fullmatch(r"\d+", s) or int(s) >= len(pictures)]
    if bad:
        raise DataError(
            f"no image for stimulus {bad[0]!r}: with an .npy of {len(pictures)} images, "
            f"stimulus_id is the row, 0 to {len(pictures) - 1}"
        )
    return pictures
