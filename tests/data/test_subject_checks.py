"""Betas are looked at once, when they are written; a run reads them again only where it must."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mindeye.config.settings import run_config
from mindeye.data.preprocess import betas_problems
from mindeye.data.subject import Subject, load_subject
from mindeye.data.subject_checks import betas_checked, validate
from mindeye.errors import DataError
from mindeye.runs import open_run, start_run, workspace
from small_zoo_run import WORDS


def test_faults_of_betas_are_named_by_trial_and_voxel() -> None:
    betas = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    assert betas_problems(betas) == []
    betas[:, 4] = 2
    assert betas_problems(betas) == ["voxel 4 never changes (1 such voxels)"]
    for value in (np.nan, np.inf, -np.inf):
        betas[33, 2] = value
        assert f"betas hold {value} at trial 33, voxel 2" in betas_problems(betas)[0]


@pytest.fixture
def own(small_subject: Subject, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_subject.path, tmp_path / "own"))


def test_a_written_subject_records_that_its_betas_are_sound(small_subject: Subject) -> None:
    assert betas_checked(small_subject)
    assert validate(small_subject) == []


@pytest.mark.parametrize("change", ["betas written later", "another version", "no record"])
def test_betas_that_may_have_changed_are_looked_at_again(own: Path, change: str) -> None:
    path = own / "subject.json"
    info = json.loads(path.read_text())
    if change == "another version":
        info["versions"]["mindeye"] = "0.0"
    if change == "no record":
        del info["betas_checked"]
    path.write_text(json.dumps(info))
    if change == "betas written later":
        later = path.stat().st_mtime_ns + 10**9
        os.utime(own / "betas.npy", ns=(later, later))
    assert not betas_checked(load_subject(own))


def test_a_run_begins_with_sound_betas_and_is_opened_without_reading_them(
    small_subject: Subject, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    betas = np.load(own / "betas.npy")
    betas[3, 2] = np.nan
    np.save(own / "betas.npy", betas)
    later = (own / "subject.json").stat().st_mtime_ns + 10**9
    os.utime(own / "betas.npy", ns=(later, later))
    config = run_config({}, WORDS)
    with pytest.raises(DataError, match="betas hold nan at trial 3, voxel 2"):
        start_run(config, own, tmp_path / "bad")

    def never(_: np.ndarray) -> list[str]:
        raise AssertionError("betas were read")

    monkeypatch.setattr(workspace, "betas_problems", never)
    start_run(config, small_subject.path, tmp_path / "run")
    open_run(tmp_path / "run", run_config)


def test_the_mean_picture_is_that_of_all_pictures_at_once(
    small_subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mindeye import arrays

    whole = small_subject.pictures_of("train").mean(axis=0)
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 5 * 8 * whole.size)
    np.testing.assert_array_equal(small_subject.mean_picture("train"), whole)
