"""Subjects in the `bdata` HDF5 files of Kamitani lab (BrainDecoderToolbox2, bdpy).

Source of the layout: KamitaniLab/bdpy, `bdpy/bdata/bdata.py` (`save`, `load`) and `metadata.py`:
`dataset` (N, columns) holds voxels and labels side by side (`dataSet` in older files);
`metadata/key`, `metadata/description` (K,) and `metadata/value` (K, columns) say what the columns
are (`metaData` in older files): a column belongs to `VoxelData`, `ROI_V1`, `Run` ... where that
key's value is 1, and `voxel_x` ... hold a number for every voxel; `vmap/<key>/<number>` names the
numbers of a label column; `header` is of no interest here.
`DataType` (1 training, 2 perception test, 3 imagery test) and `Label` (synset number, and image
number in the six decimals) are those of KamitaniLab/GenericObjectDecoding,
`code/matlab/convertdata_BrainData.m`. Compared with files that bdpy 0.26 writes; not checked
against the published files here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.images import read_picture
from mindeye.data.trials import complete_trials
from mindeye.datasets.bdata_file import BdataFile, choose_columns
from mindeye.datasets.picture_folder import find_pictures
from mindeye.datasets.recording import Recording
from mindeye.errors import DataError

LABELS = ("stimulus_name", "stimulus_id", "Label", "image_index")
NO_TRIALS = ("rest", "fixation", "n/a", "")
"""Labels that are no stimuli in any data set."""
DATA_TYPES = {1: "train", 2: "test"}
PLACES = {"voxel_i": "x", "voxel_j": "y", "voxel_k": "z",
          "voxel_x": "x_mm", "voxel_y": "y_mm", "voxel_z": "z_mm"}  # fmt: skip


@dataclass(frozen=True)
class BdataConfig:
    """Which files, voxels and labels of a subject.

    Parameters
    ----------
    files
        One or several files; those of training if `test_files` are given.
    pictures
        Folder of pictures, named by stimulus.
    subject
        Name of the subject.
    test_files
        Files whose stimuli are the test split.
    roi
        `V1` or `ROI_V1`, or several joined by `+`; empty for all of `VoxelData`.
    label
        Column that tells the stimulus; empty for the first there is of stimulus_name,
        stimulus_id, Label, image_index.
    label_style
        ``plain`` takes names and numbers as they are; ``synset`` turns 1443537.022563 into
        n01443537_22563, the way of the Generic Object Decoding data.
    ignore
        Stimuli that are no trials, whatever their case, beside rest, fixation and n/a.
    licence
        Terms the data may be used under, in words.
    """

    files: tuple[Path, ...]
    pictures: Path
    subject: str = "subj01"
    test_files: tuple[Path, ...] = ()
    roi: str = ""
    label: str = ""
    label_style: Literal["plain", "synset"] = "plain"
    ignore: tuple[str, ...] = ()
    licence: str = "as stated by the data set; not known to this software"


def read_bdata(config: BdataConfig) -> Recording:
    """Read a subject out of `bdata` files.

    Trials whose `DataType` is 3 (imagery) or whose label is empty or ignored are left out, and so
    are voxels that are not finite in any trial that is kept; `info` counts both. Sessions are
    numbered on through the files, since each may count from 1; without a column `Session`, the
    trials of one file and one data type are one session.

    Parameters
    ----------
    config
        Files, voxels and labels of the subject.

    Raises
    ------
    DataError
        If something is missing, malformed, or does not fit together.
    """
    paths = (*config.files, *config.test_files)
    if not config.files or len(set(paths)) < len(paths):
        raise DataError("give at least one bdata file, and each once")
    files = [BdataFile(path) for path in paths]
    voxels = [choose_columns(file, config.roi) for file in files]
    tables = [_voxel_table(f, c, config.roi) for f, c in zip(files, voxels, strict=True)]
    for file, table in zip(files, tables, strict=True):
        if not table.equals(tables[0]):
            raise DataError(f"{file.path} has other voxels than {files[0].path}")
    trials, excluded = _all_trials(files, config)
    finite = np.ones(len(voxels[0]), dtype=np.bool_)
    for number, (file, columns) in enumerate(zip(files, voxels, strict=True)):
        rows = trials.loc[trials["file"] == number, "row"].to_numpy(dtype=np.int64)
        finite &= np.isfinite(file.read(np.sort(rows), columns)).all(axis=0)
    ids = list(dict.fromkeys(trials["stimulus_id"]))
    pictures = find_pictures(config.pictures, ids)

    def read_betas(session: int) -> NDArray[np.float32]:
        of_session = trials[trials["session"] == session]
        number = int(of_session["file"].iloc[0])
        rows = of_session["row"].to_numpy(dtype=np.int64)
        return files[number].read(rows, voxels[number][finite])

    return Recording(
        subject=config.subject,
        trials=trials.drop(columns=["file", "row"]),
        stimuli=pd.DataFrame({"stimulus_id": ids}),
        voxels=tables[0][finite].reset_index(drop=True),
        read_betas=read_betas,
        read_pictures=lambda wanted: (read_picture(pictures[s]) for s in wanted),
        inputs=paths,
        info={
            "source": "bdata (Kamitani lab)",
            "licence": config.licence,
            "simulated": False,
            "space": "as the data set was preprocessed",
            "units": "as the data set was preprocessed",
            "roi": config.roi or "VoxelData",
            "voxels_not_finite": int((~finite).sum()),
            "trials_left_out": excluded,
        },
    )


def _voxel_table(file: BdataFile, columns: NDArray[np.int64], roi: str) -> pd.DataFrame:
    table = pd.DataFrame({"voxel": np.arange(len(columns))})
    for key, name in PLACES.items():
        if key in file.keys:
            table[name] = file.values(key)[columns]
    names = [r.strip().removeprefix("ROI_") for r in roi.split("+") if r.strip()]
    names = names or sorted(k.removeprefix("ROI_") for k in file.keys if k.startswith("ROI_"))
    member = [np.where(file.values(f"ROI_{n}")[columns] == 1, n, "") for n in names]
    if member:
        rows = zip(*(m.tolist() for m in member), strict=True)
        table["roi"] = ["+".join(filter(None, row)) for row in rows]
    return table


def _all_trials(files: list[BdataFile], config: BdataConfig) -> tuple[pd.DataFrame, int]:
    tables, total, last = [], 0, 0
    for number, file in enumerate(files):
        split = ""
        if config.test_files:
            split = "train" if number < len(config.files) else "test"
        table = _trials(file, split, config)
        total += file.shape[0]
        if not len(table):
            raise DataError(f"{file.path} has no trial with a stimulus; check label and ignore")
        if last:
            table["session"] += max(0, last + 1 - int(table["session"].min()))
        last = int(table["session"].max())
        table["file"] = number
        tables.append(table)
    trials = pd.concat(tables, ignore_index=True)
    # Rows of a session stay together, in the order of the files.
    trials = trials.sort_values(["session", "file", "row"], kind="stable", ignore_index=True)
    if "split" in trials.columns:
        _check_numbers_restart(trials, config)
    return complete_trials(trials), total - len(trials)


def _trials(file: BdataFile, split: str, config: BdataConfig) -> pd.DataFrame:
    label = config.label or next((k for k in LABELS if k in file.keys), "")
    if not label:
        raise DataError(f"{file.path} has no label column of {LABELS}; it has {list(file.keys)}")
    ids = [_styled(s, config, file.path) for s in file.labels(label)]
    ignored = {*NO_TRIALS, *(word.lower() for word in config.ignore)}
    is_trial = np.array([s.lower() not in ignored for s in ids])
    kinds = file.numbers("DataType")
    if kinds is not None:
        is_trial &= np.isin(kinds, list(DATA_TYPES))
    rows = np.flatnonzero(is_trial)
    table = pd.DataFrame({"row": rows, "stimulus_id": [ids[r] for r in rows]})
    for key, name in (("Session", "session"), ("Run", "run")):
        numbers = file.numbers(key)
        if numbers is not None:
            table[name] = _whole(numbers[rows], key, file.path)
    if "session" not in table.columns:
        table["session"] = 1 if kinds is None else kinds[rows].astype(np.int64)
    elif kinds is not None:
        table["session"] = _told_apart(table["session"].to_numpy(), kinds[rows])
    if split:
        table["split"] = split
    elif kinds is not None:
        table["split"] = [DATA_TYPES[int(k)] for k in kinds[rows]]
    return table


def _told_apart(sessions: NDArray[np.int64], kinds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count sessions on where the test data start anew (1, 2, 3, 1, 2 become 1 ... 5)."""
    starts = np.flatnonzero(np.diff(sessions, prepend=sessions[0] - 1))
    blocks = sessions[starts]
    pairs = set(zip(blocks.tolist(), kinds[starts].tolist(), strict=True))
    if len(set(blocks.tolist())) == len(blocks) or len(pairs) < len(blocks):
        return sessions
    number = np.zeros(len(sessions), dtype=np.int64)
    number[starts] = 1
    return np.cumsum(number)


def _whole(numbers: NDArray[np.float64], key: str, path: Path) -> NDArray[np.int64]:
    bad = numbers[numbers % 1 != 0]
    if bad.size:
        raise DataError(f"column {key} of {path} holds {bad[0]}, not a whole number")
    return numbers.astype(np.int64)


def _styled(label: str, config: BdataConfig, path: Path) -> str:
    if config.label_style == "plain" or label.lower() in (*NO_TRIALS, *config.ignore):
        return label
    synset, _, image = label.partition(".")
    if not (synset.isdigit() and image.isdigit() and len(image) == 6):
        raise DataError(f"label {label!r} of {path} is not like 1443537.022563; use plain labels")
    return f"n{int(synset):08d}_{int(image)}"


def _check_numbers_restart(trials: pd.DataFrame, config: BdataConfig) -> None:
    """Stop where train and test share numbers, not pictures: image_index starts at 1 in both."""
    sides = trials.groupby("stimulus_id")["split"].nunique()
    both = sides.index[sides > 1]
    if len(both):
        raise DataError(
            f"stimulus {both[0]!r} of {config.subject} is in training and in test ({len(both)} "
            "such); if the numbers start anew in each, take a label that names the picture"
        )
