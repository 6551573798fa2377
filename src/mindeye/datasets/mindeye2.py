"""The files that MindEye2 was published with: betas and pictures in HDF5, trials in shards.

Layout (MindEye2's Train.ipynb, recon_inference.ipynb and dataset_creation.ipynb)::

    betas_all_subj01_fp32_renorm.hdf5    `betas` (trials, V) float32, all sessions
    coco_images_224_float16.hdf5         `images` (73000, 3, 224, 224) float16 in [0, 1]
    wds/subj01/train/{0,1,...}.tar       one shard a session, trials of unshared pictures
    wds/subj01/test/0.tar                trials of shared pictures, of the first 37 sessions
    wds/subj01/new_test/0.tar            the same, of all 40 (Train.ipynb: new_test)

A sample is a trial; of its members only `behav.npy` (1, 17) float64 is needed. Its columns
(dataset_creation.ipynb): 0 the picture's 73k index from 0 (`73KID` - 1), 1 subject from 1,
2 session from 1, 3 run, 4 trial of the run, 5 the trial's place in the experiment from 0, which is
its row in `betas` (`voxels[behav[:, 0, 5]]` in Train.ipynb), 16 whether the picture is shared.
The README has another formula for column 5, ``i * (tar + 1)``; it would give rows twice and
contradict column 2, so both are checked here.

Betas are z-scored within sessions; the notebook fits on all trials and says that the published
file ("renorm") was fitted without the shared pictures. Not checked against the files here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.splits import SPLITS, check_disjoint
from mindeye.data.trials import complete_trials
from mindeye.datasets.recording import Recording
from mindeye.datasets.shard_trials import TRIALS_A_SESSION
from mindeye.datasets.tar_index import Sample, find_shards, index_shard
from mindeye.errors import DataError, UsageError
from mindeye.progress import track

PICTURE, SUBJECT, SESSION, RUN, TRIAL, ROW = range(6)
SCALED = (
    "z-scored within sessions by the source; by its authors' word on trials of unshared pictures"
)


@dataclass(frozen=True)
class MindEye2Config:
    """Which of MindEye2's files to read.

    Parameters
    ----------
    subject
        subj01 to subj08.
    test_trials
        ``new_test``, shared pictures of all sessions, or ``test``, those of the sessions that
        were public before; with ``test`` the later trials of shared pictures are left out.
    """

    subject: str = "subj01"
    test_trials: Literal["new_test", "test"] = "new_test"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"subj0[1-8]", self.subject):
            raise UsageError(f"subject {self.subject!r} is not one of subj01 ... subj08")
        if self.test_trials not in ("new_test", "test"):
            raise UsageError(f"test_trials is {self.test_trials!r}; it may be new_test or test")


def read_mindeye2(root: Path, config: MindEye2Config) -> Recording:
    """Read one subject of MindEye2's files.

    Sessions are numbered from 1, as NSD's files are. Splits are train and test; val is left to
    the preparation.

    Parameters
    ----------
    root
        The folder that holds the HDF5 files and `wds`.
    config
        Subject and test set.

    Raises
    ------
    DataError
        If a file is missing, cut off or malformed, or the parts do not fit together.
    LeakageError
        If a picture is in both splits.
    """
    betas = root / f"betas_all_{config.subject}_fp32_renorm.hdf5"
    pictures = root / "coco_images_224_float16.hdf5"
    count, width = _shape(betas, "betas", "f", (-1, -1))
    known = _shape(pictures, "images", "f", (-1, 3, -1, -1))[0]
    folder = root / "wds" / config.subject
    shards = {
        "train": find_shards(folder / "train", ""),
        "test": find_shards(folder / config.test_trials, ""),
    }
    trials = _trials(shards, config, rows=count, pictures=known)
    ids = sorted(set(trials["stimulus_id"]), key=int)
    rows = trials["trial"].to_numpy()
    return Recording(
        subject=config.subject,
        trials=trials,
        stimuli=pd.DataFrame({"stimulus_id": ids}),
        voxels=pd.DataFrame({"voxel": np.arange(width)}),
        read_betas=_betas_reader(betas, trials["session"].to_numpy(), rows),
        read_pictures=_pictures_reader(pictures, known),
        inputs=(betas, pictures, *shards["train"], *shards["test"]),
        info={
            "source": "MindEye2's files of NSD (huggingface pscotti/mindeyev2)",
            "licence": "NSD terms of use (http://naturalscenesdataset.org)",
            "space": "func1pt8mm, nsdgeneral",
            "simulated": False,
            "test_trials": config.test_trials,
            "trials_not_used": count - len(trials),
        },
        scaled=SCALED,
    )


def _trials(
    shards: dict[str, list[Path]], config: MindEye2Config, *, rows: int, pictures: int
) -> pd.DataFrame:
    """Return the trial table in the order of the experiment; `trial` is the row of the betas."""
    found: list[dict[str, Any]] = []
    every = [(split, path) for split, paths in shards.items() for path in paths]
    for split, path in track(every, "trials"):
        for sample in index_shard(path):
            values = _behaviour(sample)
            _check_numbers(sample, values, int(config.subject[-2:]), rows, pictures)
            found.append(
                {
                    "session": values[ROW] // TRIALS_A_SESSION + 1,
                    "run": values[RUN],
                    "trial": values[ROW],
                    "stimulus_id": str(values[PICTURE]),
                    "split": split,
                    "sample": str(sample),
                }
            )
    table = pd.DataFrame(found).sort_values("trial", kind="stable", ignore_index=True)
    twice = np.flatnonzero(table["trial"].duplicated().to_numpy())
    if twice.size:
        row = int(twice[0])
        raise DataError(
            f"{table['sample'].iloc[row]} is trial {table['trial'].iloc[row]}, as is "
            f"{table['sample'].iloc[row - 1]}"
        )
    groups = table.groupby("split")["stimulus_id"].unique()
    check_disjoint({s: sorted(groups[s]) for s in SPLITS if s in groups})
    return complete_trials(table.drop(columns="sample"))


def _behaviour(sample: Sample) -> list[int]:
    """Return the first columns of `behav.npy`, which are whole numbers."""
    array = sample.array("behav.npy")
    if array.ndim != 2 or len(array) != 1 or array.shape[1] <= ROW or array.dtype.kind not in "fi":
        raise DataError(
            f"{sample}: behav.npy has shape {array.shape} and type {array.dtype}; it must be "
            "(1, 17) numbers"
        )
    values = array[0, : ROW + 1].astype(np.float64)
    if not np.isfinite(values).all() or (values % 1 != 0).any():
        raise DataError(f"{sample}: behav.npy has {values.tolist()} where whole numbers belong")
    return [int(v) for v in values]


def _check_numbers(
    sample: Sample, values: list[int], subject: int, rows: int, pictures: int
) -> None:
    if not 0 <= values[PICTURE] < pictures:
        raise DataError(f"{sample} shows picture {values[PICTURE]}; there are {pictures}, from 0")
    if not 0 <= values[ROW] < rows:
        raise DataError(f"{sample} is trial {values[ROW]}, but there are betas of {rows} trials")
    if values[SUBJECT] != subject:
        raise DataError(f"{sample} is of subject {values[SUBJECT]}, not {subject}")
    if values[SESSION] != values[ROW] // TRIALS_A_SESSION + 1:
        raise DataError(
            f"{sample} is trial {values[ROW]} of the experiment, but of session {values[SESSION]}; "
            f"with {TRIALS_A_SESSION} trials a session these do not agree"
        )


def _shape(path: Path, name: str, kind: str, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a dataset; -1 in `wanted` stands for any length but 0."""
    try:
        with h5py.File(path, "r") as file:
            data = file.get(name)
            if not isinstance(data, h5py.Dataset):
                raise DataError(f"{path} has no dataset {name!r}; it has {sorted(file)[:5]}")
            shape, dtype = tuple(int(n) for n in data.shape), data.dtype
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path} is missing, cut off or not HDF5 ({error}); fetch it") from error
    fits = len(shape) == len(wanted) and dtype.kind == kind
    if not fits or any(n == 0 or w not in (-1, n) for n, w in zip(shape, wanted, strict=True)):
        words = ["any" if w == -1 else str(w) for w in wanted]
        raise DataError(
            f"{path}: {name} has shape {shape} and type {dtype}; it must be floating numbers of "
            f"shape ({', '.join(words)})"
        )
    return shape


def _rows(path: Path, name: str, rows: slice | int) -> NDArray[Any]:
    try:
        with h5py.File(path, "r") as file:
            return np.asarray(file[name][rows])
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise DataError(f"{path}: {name} cannot be read at {rows}: {error}") from error


def _betas_reader(
    path: Path, sessions: NDArray[np.int64], rows: NDArray[np.int64]
) -> Callable[[int], NDArray[np.float32]]:
    def read(session: int) -> NDArray[np.float32]:
        start = (session - 1) * TRIALS_A_SESSION
        # One slice, then the rows wanted: a list of rows is read one by one.
        block = _rows(path, "betas", slice(start, start + TRIALS_A_SESSION))
        return np.asarray(block[rows[sessions == session] - start], dtype=np.float32)

    return read


def _pictures_reader(
    path: Path, known: int
) -> Callable[[Sequence[str]], Iterator[NDArray[np.uint8]]]:
    def read(stimulus_ids: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
        for stimulus_id in stimulus_ids:
            if not stimulus_id.isdigit() or int(stimulus_id) >= known:
                raise DataError(f"{path} has no picture {stimulus_id!r}; there are {known}")
            image = _rows(path, "images", int(stimulus_id)).astype(np.float32)
            if not (image.min() >= -1e-3 and image.max() <= 1 + 1e-3):
                raise DataError(f"{path}: picture {stimulus_id} is not in [0, 1]")
            scaled = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
            yield np.ascontiguousarray(scaled.transpose(1, 2, 0))

    return read
