"""Claims about `mindeye evaluate` of anybody's pictures, as a person calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mindeye.cli import main
from mindeye.files import read_json
from mindeye.metrics.table import read_rows

RNG = np.random.default_rng(0)
SEEN = RNG.integers(0, 256, (6, 24, 24, 3), dtype=np.uint8)


def words(tmp_path: Path, *more: str) -> list[str]:
    np.save(tmp_path / "seen.npy", SEEN)
    np.save(tmp_path / "a.npy", 255 - SEEN)
    torch.save(torch.from_numpy(SEEN).permute(0, 3, 1, 2) / 255, tmp_path / "b.pt")
    stimuli, out = f"--stimuli={tmp_path / 'seen.npy'}", f"--out={tmp_path / 'out'}"
    quick = ["--size=24", "--resamples=20", f"--weights={tmp_path}"]
    return ["evaluate", "--reconstructions", *more, stimuli, out, *quick]


def test_several_named_systems_are_scored_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = words(tmp_path, f"negative={tmp_path / 'a.npy'}", f"same={tmp_path / 'b.pt'}")
    assert main(told) == 0
    rows = {(r.system, r.metric): r for r in read_rows(tmp_path / "out" / "metrics.json")}
    assert rows["same", "PixCorr"].value == pytest.approx(1)
    assert rows["negative", "PixCorr"].value == pytest.approx(-1)
    out = capsys.readouterr().out
    assert "read as 0..1, detected" in out
    assert "negative" in out
    assert "metrics.csv is ready" in out


def test_a_range_that_begins_with_a_dash_is_a_value(tmp_path: Path) -> None:
    assert main([*words(tmp_path, str(tmp_path / "b.pt")), "--range", "-1..1"]) == 0
    content = read_json(tmp_path / "out" / "metrics.json")
    assert any("read as -1..1, as --range says" in said for said in content["conversions"])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["evaluate"], "needs the folder of a run, or --reconstructions"),
        (["evaluate", "run", "--out=x"], "leave out the folder or --out"),
        (["evaluate", "--reconstructions", "a", "--out=x"], "needs --stimuli"),
        (["evaluate", "--reconstructions", "a", "--stimuli=b"], "needs --out"),
        (["evaluate", "--reconstructions", "/no", "--stimuli=/no", "--out=x"], "/no is not there"),
        (["evaluate", "/nowhere"], "/nowhere"),
        (["evaluate", "/nowhere", "seed=3"], "seed=3"),
        (["evaluate", "--reconstructions", "a", "--stimuli=b", "--out=x", "--k=x"], "k"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    command: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error


def test_neither_decoder_nor_run_is_imported(tmp_path: Path) -> None:
    program = (
        "import json, sys\nfrom mindeye.cli import main\n"
        "code = main(json.loads(sys.argv[1]))\n"
        "print(json.dumps([code, sorted(m for m in sys.modules if m.startswith('mindeye.'))]))"
    )
    command = words(tmp_path, str(tmp_path / "b.pt"), f"x={tmp_path / 'a.npy'}")
    command += [f"--training-pictures={tmp_path / 'a.npy'}"]
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(command)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert "mindeye.external.score" in modules
    rooms = ("models", "training", "generation", "diffusion", "decoding", "runs")
    assert [m for m in modules if m.split(".")[1] in rooms] == []
