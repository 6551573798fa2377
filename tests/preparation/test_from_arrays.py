"""Arrays in memory become the subject that the same arrays in files become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mindeye.data.subject import Subject, load_subject
from mindeye.data.subject_checks import check_subject
from mindeye.datasets.arrays import ArraysConfig, read_arrays
from mindeye.errors import ConfigError, DataError, LeakageError
from mindeye.preparation.config import PrepareConfig
from mindeye.preparation.prepare import prepare

RNG = np.random.default_rng(0)
BETAS = RNG.standard_normal((48, 12)) * 3 + 5
PICTURES = RNG.integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
TRIALS = pd.DataFrame({"stimulus_id": np.tile(np.arange(16), 3), "session": np.repeat([0, 1], 24)})


def from_files(folder: Path, trials: pd.DataFrame = TRIALS, **choices: Any) -> Subject:
    folder.mkdir()
    np.save(folder / "betas.npy", BETAS)
    np.save(folder / "stimuli.npy", PICTURES)
    trials.to_csv(folder / "trials.csv", index=False)
    config = ArraysConfig(folder / "betas.npy", folder / "stimuli.npy", folder / "trials.csv")
    return prepare(read_arrays(config), folder / "out", PrepareConfig(**choices), preview=False)


def same(first: Subject, second: Subject) -> None:
    assert first.info["sha256"] == second.info["sha256"]
    assert first.fingerprint == second.fingerprint
    assert first.splits == second.splits
    assert first.betas.dtype == second.betas.dtype == np.float32
    assert first.betas.tobytes() == second.betas.tobytes()
    assert first.pictures.tobytes() == second.pictures.tobytes()
    pd.testing.assert_frame_equal(first.trials, second.trials)
    pd.testing.assert_frame_equal(first.voxels, second.voxels)


@pytest.mark.parametrize("choices", [{}, {"zscore": "train", "seed": 3}])
def test_it_is_bit_for_bit_the_subject_of_the_same_files(
    tmp_path: Path, choices: dict[str, Any]
) -> None:
    given = Subject.from_arrays(BETAS, PICTURES, TRIALS, **choices)
    same(given, from_files(tmp_path / "files", **choices))
    assert isinstance(given.betas, np.ndarray)
    assert not isinstance(given.betas, np.memmap)


def test_pictures_and_trials_come_in_any_form(tmp_path: Path) -> None:
    whole = Subject.from_arrays(BETAS, PICTURES, TRIALS, zscore="train")
    by_id = {i: Image.fromarray(p) for i, p in enumerate(PICTURES)}
    ids, order = TRIALS["stimulus_id"].tolist(), np.arange(16)[::-1]
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, picture in by_id.items():
        picture.save(folder / f"{i}.png")
    np.save(tmp_path / "betas.npy", BETAS)
    TRIALS.to_csv(tmp_path / "trials.csv", index=False)
    for stimuli, trials in [
        (by_id, TRIALS),
        (folder, TRIALS),
        (str(folder), str(tmp_path / "trials.csv")),
        ({i: folder / f"{i}.png" for i in by_id}, TRIALS),
    ]:
        same(Subject.from_arrays(BETAS, stimuli, trials, zscore="train"), whole)
    turned = Subject.from_arrays(
        tmp_path / "betas.npy", PICTURES[order], TRIALS, ids=list(order), zscore="train"
    )
    same(turned, whole)
    plain = Subject.from_arrays(BETAS, PICTURES, ids)
    np.testing.assert_array_equal(plain.betas, whole.betas)


def test_written_it_is_a_prepared_subject(tmp_path: Path) -> None:
    given = Subject.from_arrays(BETAS, PICTURES, TRIALS, subject="me", source="my lab")
    written = given.write(str(tmp_path / "subject"))
    same(written, given)
    same(Subject.load(str(tmp_path / "subject")), given)
    assert check_subject(tmp_path / "subject").info["source"] == "my lab"
    same(written.write(tmp_path / "again"), written)
    np.save(tmp_path / "other.npy", BETAS)
    with pytest.raises(DataError, match="not empty and not a prepared subject"):
        given.write(tmp_path)


def test_splits_can_be_given_or_the_test_stimuli_alone() -> None:
    splits = {"train": range(10), "val": [10, 11], "test": [12, 13, 14, 15]}
    subject = Subject.from_arrays(BETAS, PICTURES, TRIALS, splits=splits)
    assert {name: sorted(map(int, ids)) for name, ids in subject.splits.items()} == {
        name: list(ids) for name, ids in splits.items()
    }
    subject = Subject.from_arrays(BETAS, PICTURES, TRIALS, test=[7, 3])
    assert subject.splits["test"] == ["3", "7"]


def test_betas_and_pictures_of_a_split_are_in_its_order() -> None:
    subject = Subject.from_arrays(BETAS, PICTURES, TRIALS)
    test = subject.splits["test"]
    expected = [subject.betas[subject.rows_by_stimulus[s]].mean(axis=0) for s in test]
    np.testing.assert_array_equal(subject.betas_of("test"), expected)
    np.testing.assert_array_equal(subject.betas_of(test[::-1]), expected[::-1])
    np.testing.assert_array_equal(subject.pictures_of("test"), PICTURES[[int(s) for s in test]])
    np.testing.assert_array_equal(subject.pictures_of([5]), PICTURES[[5]])
    with pytest.raises(DataError, match="no split 'tset'"):
        subject.betas_of("tset")
    with pytest.raises(DataError, match="no stimulus '99'"):
        subject.pictures_of([99])


def test_trials_measured_later_are_scaled_as_the_subject_was(tmp_path: Path) -> None:
    subject = Subject.from_arrays(BETAS, PICTURES, TRIALS)
    written = subject.write(tmp_path / "subject")
    for known in (subject, written):
        scaler = known.scaler
        assert scaler is not None
        later = scaler.apply(BETAS[24:].astype(np.float32), session=1)
        np.testing.assert_array_equal(later, subject.betas[24:])
        with pytest.raises(DataError, match="session 9 has no statistics"):
            scaler.apply(BETAS[:2], session=9)
        with pytest.raises(DataError, match="12 voxels"):
            scaler.apply(BETAS[:2, :3], session=1)
    together = Subject.from_arrays(BETAS, PICTURES, TRIALS, zscore="train").scaler
    assert together is not None
    assert together.apply(BETAS[:2]).shape == (2, 12)
    assert Subject.from_arrays(BETAS, PICTURES, TRIALS, zscore="none").scaler is None


def change(column: str, row: int, value: Any) -> pd.DataFrame:
    trials = TRIALS.astype(object)
    trials.loc[row, column] = value
    return trials


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Subject.from_arrays(BETAS[:40], PICTURES, TRIALS), "betas has 40 trials but"),
        (lambda: Subject.from_arrays(BETAS[0], PICTURES, TRIALS), r"betas has shape \(12,\)"),
        (lambda: Subject.from_arrays(BETAS, PICTURES[:9], TRIALS), "no image for stimulus '10'"),
        (lambda: Subject.from_arrays(BETAS, PICTURES / 255, TRIALS), "stimuli has shape"),
        (lambda: Subject.from_arrays(BETAS, dict(enumerate(PICTURES[:9])), TRIALS), "7 missing"),
        (lambda: Subject.from_arrays(BETAS, PICTURES, TRIALS, ids=[1]), "16 stimuli, but 1 ids"),
        (
            lambda: Subject.from_arrays(BETAS, PICTURES, TRIALS, ids=[0] * 16),
            "stimulus '0' is in ids twice",
        ),
        (
            lambda: Subject.from_arrays(BETAS, PICTURES, change("stimulus_id", 3, None)),
            "row 3 of the trial table has no stimulus_id",
        ),
        (
            lambda: Subject.from_arrays(BETAS, PICTURES, TRIALS.rename(columns=str.upper)),
            "trials has no column stimulus_id",
        ),
        (
            lambda: Subject.from_arrays(BETAS, PICTURES, TRIALS, voxels=pd.DataFrame({"x": [1]})),
            "voxels has 1 rows for 12 voxels",
        ),
        (lambda: Subject.from_arrays(BETAS, PICTURES, TRIALS, test=[99]), "test lists stimulus"),
        (
            lambda: Subject.from_arrays(BETAS, PICTURES, TRIALS, splits={"train": range(15)}),
            "stimulus '15' has trials but is in none of the splits",
        ),
        (lambda: Subject.from_arrays("nowhere.npy", PICTURES, TRIALS), "nowhere.npy is missing"),
    ],
)
def test_wrong_input_is_refused_in_one_line(wrong: Callable[[], Subject], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_the_guards_are_those_of_the_command_line() -> None:
    spoilt = BETAS.copy()
    spoilt[3, 5] = np.nan
    with pytest.raises(DataError, match=r"voxel 5 holds NaN .* use --bad-voxels drop"):
        Subject.from_arrays(spoilt, PICTURES, TRIALS)
    assert Subject.from_arrays(spoilt, PICTURES, TRIALS, bad_voxels="drop").betas.shape[1] == 11
    leak = PICTURES.copy()
    leak[9] = leak[3]
    with pytest.raises(LeakageError, match=r"'9' of .* is a copy of '3' of test"):
        Subject.from_arrays(BETAS, leak, TRIALS, test=[3])
    with pytest.raises(LeakageError, match="'3' is in both"):
        Subject.from_arrays(BETAS, PICTURES, TRIALS, splits={"train": range(16), "test": [3]})
    with pytest.raises(ConfigError, match="no choice 'zscores'"):
        Subject.from_arrays(BETAS, PICTURES, TRIALS, zscores="train")


def test_a_simulated_subject_keeps_its_truth_when_written_again(
    small_subject: Subject, tmp_path: Path
) -> None:
    again = small_subject.write(tmp_path / "again")
    same(again, small_subject)
    np.testing.assert_array_equal(
        again.array("truth/responses.npy"), small_subject.array("truth/responses.npy")
    )
    assert load_subject(tmp_path / "again").has("truth/noise_loadings.npy")
