"""The command line under a launcher: real processes, the files of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mindeye.cli import main
from mindeye.data.subject import Subject
from mindeye.files import MetricsLog, read_json
from test_pipeline import PIXELS

WORDS = [
    *PIXELS,
    "high.decoder.dropout_block=0",
    "low.dropout_in=0",
    "low.dropout_block=0",
    *(
        f"{pipeline}.optim.{word}"
        for pipeline in ("high", "low")
        for word in ("precision=fp32", "epochs=2", "batch_size=54")
    ),
]
"""Two epochs of one step each: the losses of the first are those of the weights both start from."""
LAUNCHERS = {
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"],
    "accelerate": [
        "-m", "accelerate.commands.launch", "--cpu", "--num_processes=2", "--num_machines=1",
        "--mixed_precision=no", "--dynamo_backend=no", "-m",
    ],
}  # fmt: skip


UNTIL = {
    "torchrun": (["--until", "retrieve"], ("high", "low")),
    "accelerate": (["--until", "high", "low_enabled=false"], ("high",)),
}


def command(subject: Subject, out: Path, *more: str) -> list[str]:
    return ["run", "demo", f"--subject-dir={subject.path}", f"--out={out}", *more]


def _logged(path: Path) -> dict[tuple[int, str], float]:
    return {(row["step"], row["name"]): row["value"] for row in MetricsLog.rows(path)}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launched_run_leaves_what_one_process_leaves(
    launcher: str, small_subject: Subject, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    until, stages = UNTIL[launcher]
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
    for stage in stages:
        ours, theirs = (load_file(f / stage / "model.safetensors") for f in (one, two))
        shapes = [{name: value.shape for name, value in m.items()} for m in (ours, theirs)]
        assert shapes[0] == shapes[1]
        logs = [_logged(f / stage / "log.jsonl") for f in (one, two)]
        assert logs[0].keys() == logs[1].keys()
        first = [key for key in logs[0] if key[0] == 1 and key[1].startswith("train/")]
        assert first
        for key in first:
            assert logs[1][key] == pytest.approx(logs[0][key], rel=1e-4), key
    for path in one.glob("predict/stimulus_ids.json"):
        assert read_json(path) == read_json(two / "predict" / path.name)


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
