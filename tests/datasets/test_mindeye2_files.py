"""MindEye2's files in miniature: the real names, types and members, sessions of 750 trials."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import webdataset as wds

from mindeye.datasets.mindeye2 import MindEye2Config, read_mindeye2
from mindeye.errors import DataError, LeakageError, UsageError

V, PICTURES, SESSIONS = 6, 90, 2
TRIALS = 750 * SESSIONS
SHARED = 10
"""Pictures 0 to 9 are shared: the test set."""


ORDER = np.random.default_rng(1).permutation(np.arange(TRIALS) % PICTURES)


def behaviour(trial: int) -> np.ndarray:
    row = np.full((1, 17), -1.0)
    row[0, :6] = [ORDER[trial], 1, trial // 750 + 1, trial % 750 // 63 + 1, trial % 63 + 1, trial]
    row[0, 16] = ORDER[trial] < SHARED
    return row


Edit = Callable[[int, dict], None]


def write_files(
    root: Path, edit: Edit = lambda trial, members: None, *, whole: bool = False
) -> Path:
    """Write the tree; without `whole` samples have only the member that is read, for speed."""
    betas = np.random.default_rng(2).standard_normal((TRIALS, V)).astype(np.float32)
    with h5py.File(root / "betas_all_subj01_fp32_renorm.hdf5", "w") as file:
        file["betas"] = betas
    images = np.random.default_rng(3).random((PICTURES, 3, 5, 4)).astype(np.float16)
    with h5py.File(root / "coco_images_224_float16.hdf5", "w") as file:
        file["images"] = images
    folder = root / "wds" / "subj01"
    names = [f"train/{s}.tar" for s in range(SESSIONS)] + ["new_test/0.tar", "test/0.tar"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    tars = {name: wds.TarWriter(str(folder / name)) for name in names}
    # The trials of a shard are not in order: nothing may rest on their places.
    for trial in np.random.default_rng(4).permutation(TRIALS).tolist():
        members = {"__key__": f"sample{trial:09d}", "behav.npy": behaviour(trial)}
        if whole:
            nobody = np.full((15, 17), -1.0)
            members |= {"past_behav.npy": nobody, "future_behav.npy": nobody}
            members["olds_behav.npy"] = nobody[:3]
        edit(trial, members)
        if ORDER[trial] < SHARED:
            tars["new_test/0.tar"].write(members)
            if trial < 750:
                tars["test/0.tar"].write(members)
        else:
            tars[f"train/{trial // 750}.tar"].write(members)
    for tar in tars.values():
        tar.close()
    return root


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("mindeye2"), whole=True)


def stored(root: Path, name: str, data: str) -> np.ndarray:
    with h5py.File(root / name) as file:
        return np.asarray(file[data])


def test_every_trial_has_its_own_betas_and_picture(files: Path) -> None:
    recording = read_mindeye2(files, MindEye2Config())
    betas = stored(files, "betas_all_subj01_fp32_renorm.hdf5", "betas")
    assert recording.sessions == [1, 2]
    assert recording.trials["trial"].tolist() == list(range(TRIALS))
    assert recording.trials["stimulus_id"].tolist() == [str(p) for p in ORDER]
    for session in recording.sessions:
        rows = recording.rows_of_session(session)
        np.testing.assert_array_equal(recording.read_betas(session), betas[rows])
        assert {r // 750 + 1 for r in rows} == {session}
    images = stored(files, "coco_images_224_float16.hdf5", "images")
    ids = recording.stimuli["stimulus_id"].tolist()
    for stimulus_id, pixels in zip(ids, recording.read_pictures(ids), strict=True):
        wanted = images[int(stimulus_id)].astype(np.float64).transpose(1, 2, 0) * 255
        assert pixels.dtype == np.uint8
        assert np.abs(pixels - wanted).max() <= 0.5


def test_shared_pictures_are_the_test_split(files: Path) -> None:
    trials = read_mindeye2(files, MindEye2Config()).trials
    is_test = trials["stimulus_id"].astype(int) < SHARED
    assert (trials["split"] == np.where(is_test, "test", "train")).all()


def test_the_older_test_set_leaves_later_shared_trials_out(files: Path) -> None:
    recording = read_mindeye2(files, MindEye2Config(test_trials="test"))
    later = np.flatnonzero((ORDER < SHARED) & (np.arange(TRIALS) >= 750))
    assert len(later) > 10
    assert recording.info["trials_not_used"] == len(later)
    assert sorted(recording.trials["trial"]) == sorted(set(range(TRIALS)) - set(later.tolist()))
    betas = stored(files, "betas_all_subj01_fp32_renorm.hdf5", "betas")
    rows = recording.trials["trial"][recording.trials["session"] == 2]
    np.testing.assert_array_equal(recording.read_betas(2), betas[rows])


def set_column(column: int, value: float, trial: int = 77) -> Edit:
    def edit(number: int, members: dict) -> None:
        if number == trial:
            members["behav.npy"] = members["behav.npy"].copy()
            members["behav.npy"][0, column] = value

    return edit


def set_member(value: object, trial: int = 77) -> Edit:
    def edit(number: int, members: dict) -> None:
        if number == trial:
            members["behav.npy"] = value
            if value is None:
                members["past_behav.npy"] = members.pop("behav.npy") or np.zeros((15, 17))

    return edit


def readme_formula(number: int, members: dict) -> None:
    members["behav.npy"] = members["behav.npy"].copy()
    members["behav.npy"][0, 5] = (number % 750) * (number // 750 + 1)


TRAIN_TRIAL = int(np.flatnonzero(ORDER >= SHARED)[5])

MALFORMED: dict[str, tuple[Edit, str]] = {
    "picture from 1": (set_column(0, PICTURES), "shows picture 90; there are 90"),
    "picture below 0": (set_column(0, -1), "shows picture -1"),
    "trial out of range": (set_column(5, TRIALS), "trial 1500, but there are betas of 1500"),
    "trial of another session": (set_column(5, 800), "trial 800 of the experiment, but of session"),
    "trial twice": (set_column(5, 78), "trial 78 is in two samples"),
    "rows by the README's formula": (readme_formula, "of session|in two samples"),
    "NaN": (set_column(5, np.nan), "where whole numbers belong"),
    "fraction": (set_column(0, 3.5), "where whole numbers belong"),
    "another subject": (set_column(1, 2), "of subject 2, not 1"),
    "no behaviour": (set_member(None), "no member 'behav.npy'"),
    "behaviour is one row": (set_member(np.zeros(17)), r"shape \(17,\)"),
    "too few columns": (set_member(np.zeros((1, 4))), r"shape \(1, 4\)"),
    "behaviour is text": (set_member(np.array([["a"] * 17])), r"must be \(1, 17\) numbers"),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_trials_are_named(tmp_path: Path, fault: str) -> None:
    edit, message = MALFORMED[fault]
    with pytest.raises(DataError, match=message):
        read_mindeye2(write_files(tmp_path, edit), MindEye2Config())


def test_a_shared_picture_among_the_training_trials_is_refused(tmp_path: Path) -> None:
    root = write_files(tmp_path, set_column(0, 3, trial=TRAIN_TRIAL))
    with pytest.raises(LeakageError, match=r"'3' is in both train and test"):
        read_mindeye2(root, MindEye2Config())


def test_files_that_are_missing_cut_off_or_different_are_named(tmp_path: Path) -> None:
    root = write_files(tmp_path)
    betas = root / "betas_all_subj01_fp32_renorm.hdf5"
    whole = betas.read_bytes()

    def refused(message: str) -> None:
        with pytest.raises(DataError, match=message):
            read_mindeye2(root, MindEye2Config())

    betas.write_bytes(whole[: len(whole) // 2])
    refused(r"betas_all.*cut off, damaged or no HDF5")
    with h5py.File(betas, "w") as file:
        file["voxels"] = np.ones((TRIALS, V), np.float32)
    refused(r"no dataset 'betas'.*voxels")
    with h5py.File(betas, "w") as file:
        file["betas"] = np.ones((TRIALS, V), np.int16)
    refused(r"betas has shape \(1500, 6\) and type int16")
    with h5py.File(betas, "w") as file:
        file["betas"] = np.ones((TRIALS, V, 2), np.float32)
    refused("2 axes")
    betas.unlink()
    refused("no file at .*betas_all")
    betas.write_bytes(whole)

    (root / "wds" / "subj01" / "train" / "0.tar").unlink()
    refused(r"train/0.tar is missing")
    (root / "wds" / "subj01" / "train" / "1.tar").unlink()
    refused(r"no shards train/0.tar")
    with pytest.raises(UsageError, match="subj09"):
        MindEye2Config(subject="subj09")


def test_pictures_that_are_not_shares_of_white_are_refused(tmp_path: Path) -> None:
    root = write_files(tmp_path)
    with h5py.File(root / "coco_images_224_float16.hdf5", "r+") as file:
        file["images"][40] = 200.0
        file["images"][41] = np.nan
    recording = read_mindeye2(root, MindEye2Config())
    assert len(list(recording.read_pictures(["39", "42"]))) == 2
    for bad in ("40", "41"):
        with pytest.raises(DataError, match=rf"picture {bad} is not in \[0, 1\]"):
            list(recording.read_pictures([bad]))
