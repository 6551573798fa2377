"""The command line under a launcher: real processes, the files of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

from mindeye.cli import main
from mindeye.data.subject import Subject
from mindeye.files import read_json
from test_pipeline import PIXELS

WORDS = [
    *PIXELS,
    "high.decoder.dropout_block=0",
    "low.dropout_in=0",
    "low.dropout_block=0",
    "high.optim.precision=fp32",
    "low.optim.precision=fp32",
    "high.optim.epochs=2",
]
LAUNCHERS = {
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"],
    "accelerate": [
        "-m", "accelerate.commands.launch", "--cpu", "--num_processes=2", "--num_machines=1",
        "--mixed_precision=no", "--dynamo_backend=no", "-m",
    ],
}  # fmt: skip


def command(subject: Subject, out: Path, *more: str) -> list[str]:
    return ["run", "demo", f"--subject-dir={subject.path}", f"--out={out}", *more]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launched_run_leaves_what_one_process_leaves(
    launcher: str, small_subject: Subject, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    until = ["--until", "retrieve"]
    assert main([*command(small_subject, one, *until), *WORDS]) == 0
    answer = subprocess.run(
        [sys.executable, *LAUNCHERS[launcher], "mindeye",
         *command(small_subject, two, *until), *WORDS],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("is ready") == 1
    for stage in ("high", "low"):
        ours, theirs = (load_file(f / stage / "model.safetensors") for f in (one, two))
        for name, value in ours.items():
            assert_close(theirs[name], value, rtol=1e-3, atol=2e-5)
        logs = [(f / stage / "log.jsonl").read_text().count("\n") for f in (one, two)]
        assert logs[0] == logs[1]
    assert read_json(one / "predict" / "stimulus_ids.json") == read_json(
        two / "predict" / "stimulus_ids.json"
    )


def test_a_batch_that_two_processes_cannot_share_is_refused_in_one_line(
    small_subject: Subject, tmp_path: Path
) -> None:
    answer = subprocess.run(
        [sys.executable, *LAUNCHERS["torchrun"], "mindeye", *command(small_subject, tmp_path),
         "--until", "high", *WORDS, "high.optim.batch_size=15"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert answer.returncode != 0
    assert "batch_size=15 cannot be shared evenly by 2 processes" in answer.stderr
    assert not (tmp_path / "high" / "log.jsonl").exists()
