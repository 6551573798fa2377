from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mindeye
from mindeye.data.subject import Subject
from mindeye.data.subject_checks import check_subject
from mindeye.datasets.arrays import ArraysConfig, read_arrays
from mindeye.errors import DataError, LeakageError
from mindeye.preparation.config import PrepareConfig
from mindeye.preparation.prepare import prepare as prepare_recording

Write = Callable[..., dict[str, Path]]


def prepare(
    paths: dict[str, Path], out: Path, *, voxels: Path | None = None, **fields: object
) -> Subject:
    """Prepare arrays whose betas are noise, which the alignment self-test would refuse."""
    recording = read_arrays(ArraysConfig(**paths, voxels=voxels))
    config = PrepareConfig(**{"no_alignment_test": True, **fields})
    return prepare_recording(recording, out, config)


def test_arrays_come_back_as_they_went_in(arrays: Write, tmp_path: Path) -> None:
    paths = arrays()
    prepare(paths, tmp_path / "subject", zscore="none")
    subject = mindeye.load_subject(tmp_path / "subject")
    np.testing.assert_allclose(subject.betas, np.load(paths["betas"]).astype(np.float32))
    assert isinstance(subject.betas, np.memmap)
    pictures = np.load(paths["stimuli"])
    for stimulus_id in (0, 7, 19):
        seen = subject.stimulus(stimulus_id)
        assert (seen == pictures[stimulus_id][..., None]).all()
    assert subject.trials["repeat"].tolist() == [0] * 20 + [1] * 20


def test_scaling_is_fitted_on_training_trials_alone(arrays: Write, tmp_path: Path) -> None:
    paths = arrays()
    subject = prepare(paths, tmp_path / "a", zscore="train")
    training = subject.trials["stimulus_id"].isin(subject.splits["train"]).to_numpy()
    np.testing.assert_allclose(subject.betas[training].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(subject.betas[training].std(axis=0), 1, atol=1e-5)
    betas = np.load(paths["betas"])
    betas[~training] += 1000  # whatever the test trials are, training values must not move
    np.save(paths["betas"], betas)
    again = prepare(paths, tmp_path / "b", zscore="train")
    np.testing.assert_allclose(again.betas[training], subject.betas[training])


def test_session_scaling_takes_session_offsets_away(arrays: Write, tmp_path: Path) -> None:
    paths = arrays()
    betas = np.load(paths["betas"])
    betas[20:] = betas[20:] * 7 + 100
    np.save(paths["betas"], betas)
    subject = prepare(paths, tmp_path / "subject", zscore="session")
    training = subject.trials["stimulus_id"].isin(subject.splits["train"]).to_numpy()
    for session in (0, 1):
        rows = training & (subject.trials["session"] == session).to_numpy()
        np.testing.assert_allclose(subject.betas[rows].mean(axis=0), 0, atol=1e-4)


def test_a_folder_of_images_is_read_by_stimulus_id(arrays: Write, tmp_path: Path) -> None:
    paths = arrays(trials=pd.DataFrame({"stimulus_id": [f"pic{i % 20:02d}" for i in range(40)]}))
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 256, (20, 6, 6, 3), dtype=np.uint8)
    for i in range(20):
        Image.fromarray(codes[i]).save(folder / f"pic{i:02d}.png")
    subject = prepare({**paths, "stimuli": folder}, tmp_path / "subject")
    assert (subject.stimulus("pic03") == codes[3]).all()


def test_drawn_splits_share_no_stimulus_and_cover_all(arrays: Write, tmp_path: Path) -> None:
    splits = prepare(arrays(), tmp_path / "subject").splits
    everyone = [s for members in splits.values() for s in members]
    assert sorted(everyone, key=int) == [str(i) for i in range(20)]
    assert all(splits.values())


def test_given_splits_are_kept_and_val_is_taken_from_train(arrays: Write, tmp_path: Path) -> None:
    trials = pd.DataFrame({"stimulus_id": np.tile(np.arange(20), 2)})
    trials["split"] = np.where(trials["stimulus_id"] >= 15, "test", "train")
    splits = prepare(arrays(trials=trials), tmp_path / "subject").splits
    assert splits["test"] == ["15", "16", "17", "18", "19"]
    assert set(splits["val"]) < {str(i) for i in range(15)}


def fault(name: str, arrays: Write, tmp_path: Path) -> dict[str, Path]:
    """Write arrays with one planted fault."""
    rng = np.random.default_rng(0)
    betas = rng.standard_normal((40, 12))
    trials = pd.DataFrame({"stimulus_id": np.tile(np.arange(20), 2)})
    if name == "nan":
        betas[31, 5] = np.nan
    elif name == "infinite":
        betas[2, 11] = np.inf
    elif name == "length":
        trials = trials.iloc[:-3]
    elif name == "no image":
        trials["stimulus_id"] = trials["stimulus_id"].replace(19, 99)
    elif name == "two splits":
        trials["split"] = ["train"] * 20 + ["test"] * 20
    elif name == "constant":
        betas[:, 4] = 2.5
    elif name == "repeat":
        trials["repeat"] = 0
    elif name == "empty id":
        trials["stimulus_id"] = trials["stimulus_id"].astype(str)
        trials.loc[6, "stimulus_id"] = ""
    elif name == "unknown split":
        trials["split"] = "training"
    paths = arrays(betas=betas, trials=trials)
    if name == "unreadable image":
        folder = tmp_path / "images"
        folder.mkdir()
        for i in range(20):
            (folder / f"{i}.png").write_bytes(b"not a picture")
        paths["stimuli"] = folder
    elif name == "not an array":
        paths["betas"].write_bytes(b"hello")
    elif name == "pickle":
        np.save(paths["betas"], np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return paths


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nan", "voxel 5 holds NaN or infinite betas in session 0"),
        ("infinite", "voxel 11 holds NaN or infinite betas"),
        ("length", "has 40 trials but"),
        ("no image", "no image for stimulus '99'"),
        ("constant", "voxel 4 never changes in session 0"),
        ("repeat", "which an earlier trial already has"),
        ("empty id", "row 6 of the trial table has no stimulus_id"),
        ("unknown split", "'training'"),
        ("unreadable image", "is not a readable image"),
        ("not an array", "not a plain .npy array"),
        ("pickle", "not a plain .npy array"),
    ],
)
def test_a_planted_fault_is_named_with_its_place(
    name: str, words: str, arrays: Write, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        prepare(fault(name, arrays, tmp_path), tmp_path / "subject")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "subject" / "subject.json").exists()


def test_a_stimulus_in_two_splits_is_a_leak(arrays: Write, tmp_path: Path) -> None:
    with pytest.raises(LeakageError, match="is in both train and test"):
        prepare(fault("two splits", arrays, tmp_path), tmp_path / "subject")


def test_constant_voxels_can_be_left_out(arrays: Write, tmp_path: Path) -> None:
    paths = fault("constant", arrays, tmp_path)
    subject = prepare(paths, tmp_path / "subject", bad_voxels="drop")
    assert subject.voxels["voxel"].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]


def test_voxel_coordinates_travel_with_their_voxel(arrays: Write, tmp_path: Path) -> None:
    paths = fault("constant", arrays, tmp_path)
    table = pd.DataFrame({"x": range(100, 112), "roi": list("abcdefghijkl")})
    table.to_csv(tmp_path / "voxels.csv", index=False)
    listed = tmp_path / "voxels.csv"
    subject = prepare(paths, tmp_path / "s", voxels=listed, bad_voxels="drop")
    assert subject.voxels["x"].tolist() == [100, 101, 102, 103, *range(105, 112)]
    table.iloc[:5].to_csv(listed, index=False)
    with pytest.raises(DataError, match="5 rows for 12 voxels"):
        prepare(paths, tmp_path / "t", voxels=listed)


def test_check_finds_one_changed_byte(arrays: Write, tmp_path: Path) -> None:
    prepare(arrays(), tmp_path / "subject")
    check_subject(tmp_path / "subject")
    path = tmp_path / "subject" / "betas.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"betas.npy has changed"):
        check_subject(tmp_path / "subject")


def test_subject_json_cannot_point_outside_the_folder(arrays: Write, tmp_path: Path) -> None:
    import json

    prepare(arrays(), tmp_path / "subject")
    path = tmp_path / "subject" / "subject.json"
    info = json.loads(path.read_text())
    info["sha256"]["../betas.npy"] = "0"
    path.write_text(json.dumps(info))
    with pytest.raises(DataError, match="outside the subject"):
        check_subject(tmp_path / "subject")


def test_a_foreign_folder_is_not_overwritten(arrays: Write, tmp_path: Path) -> None:
    out = tmp_path / "precious"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="not empty"):
        prepare(arrays(), out)
    assert [p.name for p in out.iterdir()] == ["thesis.tex"]
