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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.splits import SPLITS, check_disjoint
from mindeye.data.trials import complete_trials
from mindeye.datasets.file_formats import open_dataset
from mindeye.datasets.recording import Recording
from mindeye.datasets.tar_index import Sample, find_shards, index_shard
from mindeye.errors import DataError, UsageError
from mindeye.progress import track

TRIALS_A_SESSION = 750
PICTURE, SUBJECT, SESSION, RUN, _, ROW = range(6)
SCALED = (
    "z-scored within sessions by the source; by its authors' word on trials of unshared pictures"
)


@dataclass(frozen=True)
class MindEye2Config:
    """Which of MindEye2's files to read.

    Parameters
    ----------
    subject
        Name of the subject, subj01 to subj08.
    test_trials
        ``new_test``, shared pictures of all sessions, or ``test``, those of the sessions that
        were public before; with ``test`` the later trials of shared pictures are left out.
    """

    subject: str = "subj01"
    test_trials: Literal["new_test", "test"] = "new_test"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"subj0[1-8]", self.subject):
            raise UsageError(f"subject {self.subject!r} is not one of subj01 ... subj08")


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
    count, width = _shape(betas, "betas", 2)
    known = _shape(pictures, "images", 4)[0]
    folder = root / "wds" / config.subject
    shards = [("train", path) for path in find_shards(folder / "train", "")]
    shards += [("test", path) for path in find_shards(folder / config.test_trials, "")]
    if {split for split, _ in shards} != {"train", "test"}:
        raise DataError(f"no shards train/0.tar and {config.test_trials}/0.tar in {folder}")
    trials = _trials(shards, int(config.subject[-2:]), rows=count, pictures=known)
    sessions, rows = (trials[name].to_numpy(dtype=np.int64) for name in ("session", "trial"))

    def read_betas(session: int) -> NDArray[np.float32]:
        start = (session - 1) * TRIALS_A_SESSION
        # One slice, then the rows wanted: h5py reads a list of rows one by one.
        with open_dataset(betas, "betas") as data:
            block = data[start : start + TRIALS_A_SESSION]
        return np.asarray(block[rows[sessions == session] - start], dtype=np.float32)

    def read_pictures(stimulus_ids: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
        with open_dataset(pictures, "images") as data:
            for stimulus_id in stimulus_ids:
                yield _picture(np.asarray(data[int(stimulus_id)]), stimulus_id, pictures)

    return Recording(
        subject=config.subject,
        trials=trials,
        stimuli=pd.DataFrame({"stimulus_id": sorted(set(trials["stimulus_id"]), key=int)}),
        voxels=pd.DataFrame({"voxel": np.arange(width)}),
        read_betas=read_betas,
        read_pictures=read_pictures,
        inputs=(betas, pictures, *(path for _, path in shards)),
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


def _shape(path: Path, name: str, axes: int) -> tuple[int, ...]:
    with open_dataset(path, name) as data:
        if data.dtype.kind != "f" or data.ndim != axes or 0 in data.shape:
            raise DataError(
                f"{path}: {name} has shape {data.shape} and type {data.dtype}; it must be floating "
                f"numbers with {axes} axes"
            )
        return tuple(int(n) for n in data.shape)


def _trials(
    shards: list[tuple[str, Path]], subject: int, *, rows: int, pictures: int
) -> pd.DataFrame:
    """Return the trial table in the order of the experiment; `trial` is the row of the betas."""
    found = []
    for split, path in track(shards, "trials"):
        for sample in index_shard(path):
            values = _behaviour(sample)
            _check_numbers(sample, values, subject, rows, pictures)
            found.append(
                {
                    "session": values[SESSION],
                    "run": values[RUN],
                    "trial": values[ROW],
                    "stimulus_id": str(values[PICTURE]),
                    "split": split,
                }
            )
    table = pd.DataFrame(found).sort_values("trial", kind="stable", ignore_index=True)
    twice = table["trial"].duplicated()
    if twice.any():
        raise DataError(
            f"trial {table['trial'][twice].iloc[0]} is in two samples of {shards[0][1].parents[1]}"
        )
    groups = table.groupby("split")["stimulus_id"].unique()
    check_disjoint({s: sorted(groups[s]) for s in SPLITS if s in groups})
    return complete_trials(table)


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


def _picture(image: NDArray[np.floating], stimulus_id: str, path: Path) -> NDArray[np.uint8]:
    """Turn an image (3, H, W) in [0, 1] into a picture (H, W, 3), 0..255."""
    image = image.astype(np.float32)
    if not (image.min() >= -1e-3 and image.max() <= 1 + 1e-3):
        raise DataError(f"{path}: picture {stimulus_id} is not in [0, 1]")
    scaled = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(scaled.transpose(1, 2, 0))
