"""Anyone's data: betas as .npy, pictures as a folder or .npy, trials as CSV."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.images import read_picture
from mindeye.data.tables import read_table
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
        Origin of the data, in words.
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

    Parameters
    ----------
    config
        Paths of the arrays, name of the subject, source and licence.

    Raises
    ------
    DataError
        If anything is missing, malformed, or does not fit together.
    """
    inputs = (config.betas, config.stimuli, config.trials)
    recording = recording_of(
        open_betas(config.betas),
        read_trials(config.trials),
        partial(find_stimuli, config.stimuli),
        voxels=None if config.voxels is None else read_table(config.voxels),
        names=(str(config.betas), str(config.trials), str(config.voxels)),
        subject=config.subject,
        source=config.source,
        licence=config.licence,
    )
    return replace(recording, inputs=inputs if config.voxels is None else (*inputs, config.voxels))


def recording_of(
    betas: NDArray[Any],
    trials: pd.DataFrame,
    find: Callable[[list[str]], ReadPictures],
    *,
    voxels: pd.DataFrame | None = None,
    names: tuple[str, str, str] = ("betas", "trials", "voxels"),
    subject: str = "subj01",
    source: str = "arrays",
    licence: str = "not stated",
) -> Recording:
    """Return arrays that are open or in memory as a recording.

    Parameters
    ----------
    betas
        Numbers of shape (trials, voxels), in any unit.
    trials
        One row a trial with `stimulus_id`; see `mindeye.data.trials.complete_trials`.
    find
        Function from the stimulus ids to the reader of their pictures.
    voxels
        What is known of the voxels, one row each.
    names
        What messages call the betas, the trials and the voxels.
    subject, source, licence
        Name of the subject, origin of the data and terms of their use, in words.

    Raises
    ------
    DataError
        If anything is malformed, or does not fit together.
    """
    if betas.ndim != 2 or not np.issubdtype(betas.dtype, np.number) or betas.size == 0:
        raise DataError(
            f"{names[0]} has shape {betas.shape} and type {betas.dtype}; betas are numbers of "
            "shape (trials, voxels)"
        )
    table = complete_trials(trials)
    if len(table) != len(betas):
        raise DataError(
            f"{names[0]} has {len(betas)} trials but {names[1]} has {len(table)} rows; "
            "they must match one to one"
        )
    ids = sorted(set(table["stimulus_id"]))
    rows = {int(s): np.flatnonzero(table["session"] == s) for s in table["session"].unique()}

    def read_betas(session: int) -> NDArray[np.float32]:
        return np.asarray(betas[rows[session]], dtype=np.float32)

    return Recording(
        subject=subject,
        trials=table,
        stimuli=pd.DataFrame({"stimulus_id": ids}),
        voxels=_voxel_table(voxels, betas.shape[1], names[2]),
        read_betas=read_betas,
        read_pictures=find(ids),
        inputs=(),
        info={
            "source": source,
            "simulated": False,
            "licence": licence,
            "space": "as given",
            "units": "as given",
        },
    )


def open_betas(path: Path) -> NDArray[Any]:
    """Open betas on disk, memory-mapped."""
    return open_array(path, "give an .npy file of shape (trials, voxels)")


def _voxel_table(known: pd.DataFrame | None, voxels: int, name: str) -> pd.DataFrame:
    table = pd.DataFrame({"voxel": np.arange(voxels)})
    if known is None:
        return table
    if len(known) != voxels:
        raise DataError(f"{name} has {len(known)} rows for {voxels} voxels; one row a voxel")
    known = known.drop(columns="voxel", errors="ignore").reset_index(drop=True)
    return pd.concat([table, known], axis=1)


def find_stimuli(path: Path, ids: list[str]) -> ReadPictures:
    """Return a reader of pictures by stimulus id, after a look at whether all are there."""
    if path.is_dir():
        files = find_pictures(path, ids)
        return lambda wanted: (read_picture(files[s]) for s in wanted)
    if path.is_file() and path.suffix == ".npy":
        pictures = open_array(path, "give a folder of images or an .npy file")
        return numbered_pictures(pictures, ids, str(path))
    raise DataError(f"no pictures at {path}; give a folder of images or an .npy file")


def _rows(pictures: NDArray[np.uint8], ids: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
    for stimulus_id in ids:
        picture = np.array(pictures[int(stimulus_id)])
        yield np.repeat(picture[..., None], 3, axis=-1) if picture.ndim == 2 else picture


def numbered_pictures(pictures: NDArray[Any], ids: list[str], name: str) -> ReadPictures:
    """Return a reader of pictures whose row in an array is the stimulus id.

    Raises
    ------
    DataError
        If the array, called `name` in messages, holds no pictures or lacks some of the ids.
    """
    grey_or_rgb = pictures.ndim == 3 or (pictures.ndim == 4 and pictures.shape[-1] == 3)
    if pictures.dtype != np.uint8 or not grey_or_rgb or len(pictures) == 0:
        raise DataError(
            f"{name} has shape {pictures.shape} and type {pictures.dtype}; pictures are uint8 of "
            "shape (stimuli, height, width) or (stimuli, height, width, 3)"
        )
    bad = [s for s in ids if not re.fullmatch(r"\d+", s) or int(s) >= len(pictures)]
    if bad:
        raise DataError(
            f"no image for stimulus {bad[0]!r}: with an .npy of {len(pictures)} images, "
            f"stimulus_id is the row, 0 to {len(pictures) - 1}"
        )
    return lambda wanted: _rows(pictures, wanted)
