"""Stopped at any step and resumed, a training gives the bits of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_objective import CONFIG, fit, objective
from torch import Tensor

from mindeye.data.subject import Subject
from mindeye.errors import CheckpointError
from mindeye.files import MetricsLog
from mindeye.training.checkpoint import KEPT, checkpoint_files
from mindeye.training.high import HighDraw, HighObjective
from mindeye.training.objective import RowTerms


class PowerCut(Exception):
    """Stands for one."""


def cut_at(goal: HighObjective, step: int) -> None:
    """Make the forward pass of a step fail."""
    rows, calls = goal.forward, {"n": 0}

    def failing(draw: HighDraw) -> RowTerms:
        if calls["n"] == step:
            raise PowerCut
        calls["n"] += 1
        return rows(draw)

    goal.forward = failing  # type: ignore[method-assign]


def assert_same(a: HighObjective, b: HighObjective) -> None:
    ours, theirs = a.model.state_dict(), b.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def assert_same_log(a: Path, b: Path) -> None:
    assert MetricsLog.rows(a / "log.jsonl") == MetricsLog.rows(b / "log.jsonl")


OPTIONS = {
    "plain": CONFIG,
    "averaged": replace(CONFIG, optim=replace(CONFIG.optim, ema=0.9)),
    "factored": replace(CONFIG, optim=replace(CONFIG.optim, optimizer="adafactor")),
    "mixed repeats": replace(CONFIG, optim=replace(CONFIG.optim, repeats="mixed")),
    "micro-batches": replace(CONFIG, optim=replace(CONFIG.optim, micro_batch=5)),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_resumed_is_bit_identical_to_uninterrupted(
    name: str, small_subject: Subject, tmp_path: Path
) -> None:
    config = OPTIONS[name]
    whole = objective(small_subject, config)
    fit(small_subject, whole, tmp_path / "whole")
    for stop in (1, 3, 7, 15):  # before the first checkpoint, at one, inside epochs, at the end
        folder = tmp_path / f"cut{stop}"
        first = objective(small_subject, config)
        cut_at(first, stop if config.optim.micro_batch == 0 else stop * 3)
        with pytest.raises(PowerCut):
            fit(small_subject, first, folder)
        second = objective(small_subject, config)
        fit(small_subject, second, folder)
        assert_same(second, whole)
        assert_same_log(folder, tmp_path / "whole")


def test_the_last_two_checkpoints_are_kept(small_subject: Subject, tmp_path: Path) -> None:
    fit(small_subject, objective(small_subject), tmp_path)
    assert [p.name for p in checkpoint_files(tmp_path)] == [
        "checkpoint-000000016.safetensors",
        "checkpoint-000000015.safetensors",
    ]
    assert KEPT == 2


@pytest.mark.parametrize("left", [0, 7, 1000, -1])
def test_a_torn_checkpoint_is_skipped_with_a_warning(
    left: int, small_subject: Subject, tmp_path: Path
) -> None:
    whole = objective(small_subject)
    fit(small_subject, whole, tmp_path)
    newest = checkpoint_files(tmp_path)[0]
    newest.write_bytes(newest.read_bytes()[:left])
    again = objective(small_subject)
    with pytest.warns(UserWarning, match=rf"{newest.name} is torn .* skipped"):
        fit(small_subject, again, tmp_path)
    assert_same(again, whole)


def test_all_checkpoints_torn_means_from_the_start(small_subject: Subject, tmp_path: Path) -> None:
    whole = objective(small_subject)
    fit(small_subject, whole, tmp_path)
    for path in checkpoint_files(tmp_path):
        path.write_bytes(b"torn")
    again = objective(small_subject)
    with pytest.warns(UserWarning, match="from the start"):
        fit(small_subject, again, tmp_path)
    assert_same(again, whole)


def test_a_checkpoint_that_does_not_fit_is_an_error(small_subject: Subject, tmp_path: Path) -> None:
    fit(small_subject, objective(small_subject), tmp_path)
    wider = replace(CONFIG, decoder=replace(CONFIG.decoder, width=32))
    with pytest.raises(CheckpointError, match=r"checkpoint-0+16.safetensors does not fit"):
        fit(small_subject, objective(small_subject, wider), tmp_path)


def test_a_checkpoint_of_another_key_is_passed_over(small_subject: Subject, tmp_path: Path) -> None:
    short = replace(CONFIG.optim, epochs=1)
    fit(small_subject, objective(small_subject), tmp_path, short, key="one")
    fit(small_subject, objective(small_subject), tmp_path, short, key="two")
    rows = MetricsLog.rows(tmp_path / "log.jsonl")
    assert [r["step"] for r in rows if r["name"] == "val/prior"] == [4]


def test_a_stop_request_keeps_the_step_it_came_in(
    small_subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = objective(small_subject)
    fit(small_subject, whole, tmp_path / "whole")
    first = objective(small_subject)
    rows, calls = first.forward, {"n": 0}

    def interrupted(draw: HighDraw) -> RowTerms:
        calls["n"] += 1
        if calls["n"] == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return rows(draw)

    monkeypatch.setattr(first, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(small_subject, first, tmp_path / "cut")
    assert checkpoint_files(tmp_path / "cut")[0].name == "checkpoint-000000005.safetensors"
    second = objective(small_subject)
    fit(small_subject, second, tmp_path / "cut")
    assert_same(second, whole)


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from small_objective import CONFIG, fit, objective
from mindeye.data.subject import load_subject
subject = load_subject(Path({subject!r}))
goal = objective(subject)
rows = goal.forward
def slow(draw):
    time.sleep({pause})
    return rows(draw)
goal.forward = slow
fit(subject, goal, Path({out!r}))
from safetensors.torch import save_file
save_file({{k: v.contiguous() for k, v in goal.model.state_dict().items()}}, {out!r} + "/done")
"""


def run_killed(subject: Subject, out: Path, pause: float) -> list[str]:
    text = KILLED.format(
        tests=str(Path(__file__).parent), subject=str(subject.path), out=str(out), pause=pause
    )
    return [sys.executable, "-c", text]


def test_kill_9_costs_no_bit(small_subject: Subject, tmp_path: Path) -> None:
    """A real process is killed twice, wherever it is, and then left to finish."""
    from safetensors.torch import load_file

    whole: HighObjective = objective(small_subject)
    fit(small_subject, whole, tmp_path / "whole")
    out = tmp_path / "killed"
    out.mkdir()
    for wanted in (1, 2):
        process = subprocess.Popen(run_killed(small_subject, out, pause=0.15))
        deadline = time.monotonic() + 120
        while len(checkpoint_files(out)) < wanted and time.monotonic() < deadline:
            assert process.poll() is None, "finished before it could be killed"
            time.sleep(0.02)
        process.kill()
        process.wait()
    assert not (out / "done").exists()
    subprocess.run(run_killed(small_subject, out, pause=0), check=True, timeout=120)
    found: dict[str, Tensor] = load_file(out / "done")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, found[name]), name
