from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from made_recording import made_recording

from mindeye import arrays as array_room
from mindeye.data import subject_writing as subject_room
from mindeye.data.subject import Subject, load_subject
from mindeye.data.subject_checks import check_subject
from mindeye.datasets import arrays as given_arrays
from mindeye.datasets.recording import Recording
from mindeye.errors import DataError, LeakageError
from mindeye.preparation import reading
from mindeye.preparation.config import PrepareConfig
from mindeye.preparation.prepare import prepare as prepare_with_preview

prepare = partial(prepare_with_preview, preview=False)


def content_of(subject: Subject) -> dict[str, str]:
    """Checksums of everything but what says when it was made."""
    return dict(subject.info["sha256"])


def training_rows(subject: Subject) -> np.ndarray:
    return subject.trials["stimulus_id"].isin(subject.splits["train"]).to_numpy()


def test_every_trial_keeps_its_betas_and_its_picture(tmp_path: Path) -> None:
    recording = made_recording(tmp_path)
    subject = prepare(recording, tmp_path / "out", PrepareConfig(zscore="none"))
    for session in (1, 2, 3):
        rows = recording.rows_of_session(session)
        np.testing.assert_array_equal(subject.betas[rows], recording.read_betas(session))
    for stimulus_id in ("000", "031", "059"):
        picture = next(iter(recording.read_pictures([stimulus_id])))
        np.testing.assert_array_equal(subject.stimulus(stimulus_id), picture)
    assert check_subject(tmp_path / "out").info["preparation"]["zscore"] == "none"


def test_scaling_within_sessions_sees_training_trials_alone(tmp_path: Path) -> None:
    subject = prepare(made_recording(tmp_path), tmp_path / "out")
    training, sessions = training_rows(subject), subject.trials["session"].to_numpy()
    assert subject.info["preparation"]["zscore"] == "session"
    for session in (1, 2, 3):
        rows = training & (sessions == session)
        np.testing.assert_allclose(subject.betas[rows].mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(subject.betas[rows].std(axis=0), 1, atol=1e-4)
        assert np.abs(subject.betas[sessions == session].mean(axis=0)).max() > 1e-3


def test_as_published_scaling_sees_all_trials_and_says_so(tmp_path: Path) -> None:
    config = PrepareConfig(zscore="session_all")
    subject = prepare(made_recording(tmp_path), tmp_path / "out", config)
    for session in (1, 2, 3):
        rows = (subject.trials["session"] == session).to_numpy()
        np.testing.assert_allclose(subject.betas[rows].mean(axis=0), 0, atol=1e-5)
    assert "test trials included" in subject.info["units"]


def test_a_budget_of_one_session_is_all_that_scaling_sees(tmp_path: Path) -> None:
    recording = made_recording(tmp_path)
    subject = prepare(recording, tmp_path / "out", PrepareConfig(sessions="1"))
    raw = recording.read_betas(1)
    of_session = recording.trials[recording.trials["session"] == 1]["stimulus_id"]
    training = raw[of_session.isin(subject.splits["train"]).to_numpy()].astype(np.float64)
    mean, deviation = training.mean(axis=0), training.std(axis=0)
    later = (subject.trials["session"] == 3).to_numpy()
    shown = recording.trials[recording.trials["session"] == 3]["stimulus_id"]
    own = recording.read_betas(3)[shown.isin(subject.splits["test"]).to_numpy()]
    np.testing.assert_allclose(subject.betas[later], (own - mean) / deviation, rtol=1e-4, atol=1e-4)
    assert set(subject.trials.loc[training_rows(subject), "session"]) == {1}


def test_blocks_of_any_size_give_the_same_subject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = made_recording(tmp_path)
    whole = prepare(recording, tmp_path / "a", PrepareConfig(zscore="train"))
    monkeypatch.setattr(array_room, "BLOCK_BYTES", 4 * 700)
    parts = prepare(recording, tmp_path / "b", PrepareConfig(zscore="train"))
    assert content_of(whole) == content_of(parts)


def test_an_interrupted_preparation_goes_on_with_the_next_session(tmp_path: Path) -> None:
    calls: list[int] = []

    def read(session: int) -> None:
        calls.append(session)
        if calls == [1, 2]:
            raise KeyboardInterrupt

    whole = prepare(made_recording(tmp_path), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        prepare(made_recording(tmp_path, on_read=read), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    again = prepare(made_recording(tmp_path, on_read=read), tmp_path / "out")
    assert calls == [1, 2, 2, 3]
    assert content_of(again) == content_of(whole)
    assert not (tmp_path / "out.preparing").exists()


def test_other_input_files_start_over(tmp_path: Path) -> None:
    calls: list[int] = []

    def read(session: int) -> None:
        calls.append(session)
        if calls == [1, 2]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(made_recording(tmp_path, on_read=read), tmp_path / "out")
    (tmp_path / "source.bin").write_bytes(b"other content")
    prepare(made_recording(tmp_path, on_read=read), tmp_path / "out")
    assert calls == [1, 2, 1, 2, 3]


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from made_recording import made_recording
from mindeye.preparation.prepare import prepare
def read(session):
    print("session", session, flush=True)
    if session == 3: time.sleep(60)
folder = Path({folder!r})
prepare(made_recording(folder, on_read=read), folder / "out")
"""


def test_a_killed_process_leaves_no_subject_and_the_next_one_finishes(tmp_path: Path) -> None:
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "session 3" not in process.stdout.readline():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    calls: list[int] = []
    again = prepare(made_recording(tmp_path, on_read=calls.append), tmp_path / "out")
    assert calls == [3]
    assert content_of(again) == content_of(prepare(made_recording(tmp_path), tmp_path / "whole"))


def test_a_finished_subject_is_not_read_again_and_another_choice_replaces_it(
    tmp_path: Path,
) -> None:
    calls: list[int] = []
    recording = made_recording(tmp_path, on_read=calls.append)
    first = prepare(recording, tmp_path / "out")
    prepare(recording, tmp_path / "out")
    assert calls == [1, 2, 3]
    second = prepare(recording, tmp_path / "out", PrepareConfig(zscore="train"))
    assert content_of(second) != content_of(first)
    assert load_subject(tmp_path / "out").info["preparation"]["zscore"] == "train"


def test_a_shifted_trial_table_is_refused_and_the_override_is_recorded(tmp_path: Path) -> None:
    shifted = made_recording(tmp_path, shift=1)
    with pytest.raises(DataError, match="shifted by") as caught:
        prepare(shifted, tmp_path / "out")
    assert "--no-alignment-test" in str(caught.value)
    assert not (tmp_path / "out").exists()
    calls: list[int] = []
    again = made_recording(tmp_path, shift=1, on_read=calls.append)
    subject = prepare(again, tmp_path / "out", PrepareConfig(no_alignment_test=True))
    assert calls == []  # what the refused call had read is not read twice
    assert subject.info["preparation"]["config"]["no_alignment_test"] is True
    assert "not made" in json.dumps(subject.info["preparation"]["alignment"])


def copied(recording_folder: Path):
    """A recording in which training picture 040 is the test picture 003."""
    recording = made_recording(recording_folder)
    read = recording.read_pictures

    def read_pictures(wanted):
        return read(["003" if s == "040" else s for s in wanted])

    return replace(recording, read_pictures=read_pictures)


def test_a_copied_test_picture_is_a_leak(tmp_path: Path) -> None:
    with pytest.raises(LeakageError, match=r"'040' of (train|val) is a copy of '003' of test"):
        prepare(copied(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_training_copy_of_a_test_picture_can_be_left_out(tmp_path: Path) -> None:
    subject = prepare(copied(tmp_path), tmp_path / "out", PrepareConfig(duplicates="drop"))
    assert "003" in subject.splits["test"]
    assert all("040" not in members for members in subject.splits.values())
    kept = prepare(copied(tmp_path), tmp_path / "b", PrepareConfig(duplicates="allow"))
    assert "040" in kept.splits["train"] + kept.splits["val"]


def test_bad_voxels_are_refused_or_dropped_with_their_coordinates(tmp_path: Path) -> None:
    recording = made_recording(tmp_path)
    read = recording.read_betas

    def read_betas(session: int) -> np.ndarray:
        betas = read(session)
        betas[:, 4] = 2.5
        if session == 2:
            betas[7, 11] = np.nan
        return betas

    bad = replace(recording, read_betas=read_betas)
    with pytest.raises(DataError, match="--bad-voxels drop"):
        prepare(bad, tmp_path / "out")
    subject = prepare(bad, tmp_path / "out", PrepareConfig(bad_voxels="drop"))
    expected = [v for v in range(100, 130) if v not in (104, 111)]
    assert subject.voxels["x"].tolist() == expected
    check_subject(tmp_path / "out")


def test_a_session_read_twice_is_refused(tmp_path: Path) -> None:
    recording = made_recording(tmp_path)
    read = recording.read_betas
    twice = replace(recording, read_betas=lambda session: read(min(session, 2)))
    with pytest.raises(DataError, match="has the same betas in every voxel"):
        prepare(twice, tmp_path / "out")


def test_pictures_of_two_sizes_ask_for_one(tmp_path: Path) -> None:
    recording = made_recording(tmp_path)
    read = recording.read_pictures

    def read_pictures(wanted):
        return (p[:8] if s == "020" else p for s, p in zip(wanted, read(wanted), strict=True))

    uneven = replace(recording, read_pictures=read_pictures)
    with pytest.raises(DataError, match="stimulus '020' is 16 x 8"):
        prepare(uneven, tmp_path / "out")
    assert not (tmp_path / "out.preparing").exists()
    subject = prepare(uneven, tmp_path / "out", PrepareConfig(size=10))
    assert subject.pictures.shape[1:] == (10, 10, 3)


def test_whole_clusters_are_held_out_on_request(tmp_path: Path) -> None:
    subject = prepare(made_recording(tmp_path), tmp_path / "out", PrepareConfig(test="clusters"))
    assert subject.info["preparation"]["chosen"]["test set"] == "clusters"
    assert subject.splits["test"]
    embeddings = np.repeat(np.eye(4, dtype=np.float32), 15, axis=0)
    np.save(tmp_path / "e.npy", embeddings)
    named = str(tmp_path / "e.npy")
    config = PrepareConfig(test="clusters", test_share=0.3, cluster_embeddings=named)
    by_meaning = prepare(made_recording(tmp_path), tmp_path / "b", config)
    groups = {int(s) // 15 for s in by_meaning.splits["test"]}
    assert len(by_meaning.splits["test"]) == 15 * len(groups)


def test_all_stimuli_as_test_set_need_no_training(tmp_path: Path) -> None:
    subject = prepare(made_recording(tmp_path), tmp_path / "out", PrepareConfig(test="every"))
    assert [len(subject.splits[s]) for s in ("train", "val", "test")] == [0, 0, 60]
    assert subject.info["preparation"]["zscore"] == "session_all"


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from mindeye.errors import MindEyeError

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MindEyeError, match="no space left"):
        prepare(made_recording(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def counting(path: Path, count: dict[str, float]) -> np.ndarray:
    """Open an array that counts how often it is read as a whole, by the name of its file."""

    class Counted(np.memmap):
        def __getitem__(self, key: object) -> np.ndarray:
            found = np.asarray(super().__getitem__(key))
            count[path.name] = count.get(path.name, 0) + found.nbytes / self.nbytes
            return found

    return np.load(path, mmap_mode="r").view(Counted)


def files_of(recording: Recording, folder: Path) -> given_arrays.ArraysConfig:
    """Write a recording as the arrays of `mindeye prepare arrays`."""
    np.save(folder / "betas.npy", np.concatenate([recording.read_betas(s) for s in (1, 2, 3)]))
    ids = list(recording.stimuli["stimulus_id"])
    np.save(folder / "stimuli.npy", np.stack(list(recording.read_pictures(ids))))
    recording.trials.to_csv(folder / "trials.csv", index=False)
    names = ("betas.npy", "stimuli.npy", "trials.csv")
    return given_arrays.ArraysConfig(*(folder / name for name in names))


def test_betas_are_read_three_times_in_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as they are given, twice as they are kept by session, never as they are prepared."""
    count: dict[str, float] = {}
    hashed: list[str] = []
    real = subject_room.sha256
    monkeypatch.setattr(subject_room, "sha256", lambda p: (hashed.append(p.name), real(p))[1])
    for room in (given_arrays, reading):
        monkeypatch.setattr(room, "open_array", lambda path, _: counting(Path(path), count))
    config = files_of(made_recording(tmp_path), tmp_path)
    prepare(given_arrays.read_arrays(config), tmp_path / "out")
    assert count["betas.npy"] == pytest.approx(1)
    assert count["raw.npy"] == pytest.approx(2)
    assert "betas.npy" not in hashed
    check_subject(tmp_path / "out")  # whose own hash of betas.npy is the one on record
