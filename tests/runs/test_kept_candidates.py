"""Candidates that were not picked are kept beside the pick, where there are several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mindeye.config import ReconstructConfig
from mindeye.config.settings import run_config
from mindeye.data.subject import Subject
from mindeye.runs import run_all, start_run
from mindeye.runs.pipeline import stage_keys
from small_zoo_run import WORDS


@pytest.fixture(scope="module")
def drawn(small_subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that draws 3 candidates for 4 stimuli, in batches that end amid a stimulus."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    config = run_config({}, [*WORDS, "reconstruct.batch_size=5", "reconstruct.blend=0.2"])
    run_all(start_run(config, small_subject.path, folder), until="reconstruct")
    return folder / "reconstruct"


@pytest.mark.parametrize(("name", "picture"), [("high", "high"), ("both", "both_unblended")])
def test_the_pick_is_one_of_the_candidates(drawn: Path, name: str, picture: str) -> None:
    kept = np.load(drawn / f"{name}_candidates.npy", allow_pickle=False)
    pictures, pick = np.load(drawn / f"{picture}.npy"), np.load(drawn / f"{name}_pick.npy")
    assert kept.dtype == np.uint8
    assert kept.shape == (4, 3, *pictures.shape[1:])
    assert np.array_equal(kept[np.arange(4), pick], pictures)
    scores = np.load(drawn / f"{name}_scores.npy")
    assert np.array_equal(scores.argmax(axis=1), pick)
    assert all(len(np.unique(own.reshape(3, -1), axis=0)) == 3 for own in kept)


def test_one_candidate_is_the_first_of_several_and_is_kept_once(
    drawn: Path, small_subject: Subject, tmp_path: Path
) -> None:
    config = run_config({}, [*WORDS, "reconstruct.candidates=1"])
    run_all(start_run(config, small_subject.path, tmp_path / "run"), until="reconstruct")
    folder = tmp_path / "run" / "reconstruct"
    assert not list(folder.glob("*_candidates.npy"))
    assert (np.load(folder / "high_pick.npy") == 0).all()
    first = np.load(drawn / "high_candidates.npy")[:, 0].astype(int)
    # Seeds are a candidate's own: alike up to what the batch it is drawn in does to rounding.
    assert np.abs(first - np.load(folder / "high.npy")).max() <= 2


def test_they_can_be_left_out_and_no_picture_depends_on_it(
    drawn: Path, small_subject: Subject, tmp_path: Path
) -> None:
    words = [*WORDS, "reconstruct.batch_size=5", "reconstruct.blend=0.2"]
    work = start_run(
        run_config({}, [*words, "reconstruct.keep_candidates=false"]), small_subject.path, tmp_path
    )
    kept = stage_keys(start_run(run_config({}, words), small_subject.path, drawn.parent))
    assert stage_keys(work)["reconstruct"] == kept["reconstruct"]
    run_all(work, until="reconstruct")
    assert not list((tmp_path / "reconstruct").glob("*_candidates.npy"))
    assert np.array_equal(
        np.load(tmp_path / "reconstruct" / "both.npy"), np.load(drawn / "both.npy")
    )


def test_by_default_nothing_is_picked() -> None:
    assert ReconstructConfig().candidates == 1
