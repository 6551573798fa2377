"""Two gloo processes do what one does: real processes, started by torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_objective import ALONE
from torch import Tensor
from two_processes import CASES, work

from mindeye.data.subject import Subject
from mindeye.files import MetricsLog

SCRIPT = Path(__file__).with_name("two_processes.py")


def launch(subject: Subject, out: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*command, str(SCRIPT), str(subject.path), str(out)],
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def results(
    small_subject: Subject, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("processes")
    work(small_subject, folder / "one", ALONE)
    launch(small_subject, folder / "two")
    assert json.loads((folder / "two" / "process1.json").read_text()) == {"count": 2}
    ours = MetricsLog.rows(folder / "one" / "log.jsonl")
    theirs = MetricsLog.rows(folder / "two" / "log.jsonl")
    assert [(r["step"], r["name"]) for r in ours] == [(r["step"], r["name"]) for r in theirs]
    return {
        "one": load_file(folder / "one" / "process0.safetensors"),
        "first": load_file(folder / "two" / "process0.safetensors"),
        "second": load_file(folder / "two" / "process1.safetensors"),
    }


@pytest.mark.parametrize("case", [c for c in CASES if c != "not gathered"])
def test_two_processes_have_the_loss_and_gradient_of_one(
    case: str, results: dict[str, dict[str, Tensor]]
) -> None:
    names = [name for name in results["one"] if name.startswith(f"{case}/")]
    assert any("/loss/" in name for name in names)
    for name in names:
        expected = results["one"][name]
        scale = float(expected.abs().max())
        for process in ("first", "second"):
            found = results[process][name]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * scale + 1e-7)


def test_negatives_that_are_not_gathered_make_another_loss(
    results: dict[str, dict[str, Tensor]],
) -> None:
    """The published behaviour; the planted fault for the test above."""
    name = "not gathered/loss/contrastive"
    assert abs(float(results["one"][name] - results["first"][name])) > 0.1


def test_a_training_leaves_both_processes_with_the_same_weights_bit_by_bit(
    results: dict[str, dict[str, Tensor]],
) -> None:
    """Steps and epochs are those of one process, as its log says (`results`)."""
    names = [name for name in results["one"] if name.startswith("trained/")]
    assert names
    for name in names:
        assert torch.equal(results["first"][name], results["second"][name]), name
