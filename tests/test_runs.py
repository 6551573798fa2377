from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from mindeye.errors import MindEyeError
from mindeye.files import MetricsLog, atomic_path, run_stage, stage_done, write_array, write_json


def _write_half(path: Path) -> None:
    path.write_text("half a fi")
    raise ValueError("power cut")


def _fill_the_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write_json(path, {"a": 1})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="power cut"), atomic_path(path) as temporary:
        _write_half(temporary)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["table.json"]


def test_a_full_disk_is_told_in_words(tmp_path: Path) -> None:
    message = r"no space left on the disk while writing .*betas"
    with pytest.raises(MindEyeError, match=message), atomic_path(tmp_path / "betas.npy"):
        _fill_the_disk()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_really_full_disk_keeps_what_was_there(small_disk: Path) -> None:
    from mindeye.models.pipelines import save_model

    write_array(small_disk / "betas.npy", np.arange(10))
    with pytest.raises(MindEyeError, match="no space left"):
        write_array(small_disk / "betas.npy", np.zeros(400_000))
    with pytest.raises(MindEyeError, match="no space left"):
        save_model(torch.nn.Linear(600, 600), small_disk / "model", {})
    assert np.load(small_disk / "betas.npy").tolist() == list(range(10))
    assert not list((small_disk / "model").iterdir())


def test_objects_are_not_written_as_pickles(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        write_array(tmp_path / "x.npy", np.array([{}], dtype=object))
    assert not list(tmp_path.iterdir())


def test_a_stage_is_done_once_per_key_and_marked_last(tmp_path: Path) -> None:
    calls: list[str] = []

    def work() -> None:
        calls.append("x")
        assert not stage_done(tmp_path, f"k{len(calls)}")

    assert run_stage(tmp_path, "k1", work)
    assert not run_stage(tmp_path, "k1", work)
    assert run_stage(tmp_path, "k2", work)
    assert len(calls) == 2


def test_a_stage_that_fails_is_not_done(tmp_path: Path) -> None:
    def work() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(tmp_path, "k", work)
    assert not stage_done(tmp_path, "k")


def test_the_log_forgets_what_lies_past_the_checkpoint_and_torn_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = MetricsLog(path)
    for step in (1, 2, 3):
        log.add(step, loss=step / 2)
    with path.open("a") as file:
        file.write('{"step": 4, "na')
    assert [r["step"] for r in MetricsLog.rows(path)] == [1, 2, 3]
    MetricsLog(path, keep_until=2)
    assert [r["step"] for r in MetricsLog.rows(path)] == [1, 2]
