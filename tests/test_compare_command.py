"""The verb compare, as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mindeye.cli import main
from scored_folders import group, scored


def test_compare_prints_a_table_and_writes_three_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = scored(tmp_path / "a", 0, shift=1), scored(tmp_path / "b", 1)
    words = ["compare", str(a), str(b), "--system", "both", f"--out={tmp_path / 'out'}"]
    assert main([*words, "--resamples=500", "--level=0.9", "--seed=3"]) == 0
    said = capsys.readouterr().out
    assert said.count("A better") == 1
    assert said.count("B better") == 2
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "compare.json", "compare.csv", "compare.png",
    }  # fmt: skip
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert (content["level"], content["resamples"], content["seed"]) == (0.9, 500, 3)
    assert {test["system_a"] for test in content["tests"]} == {"both"}


def test_the_same_command_gives_the_same_bytes_and_writes_nothing_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = scored(tmp_path / "a", 0), scored(tmp_path / "b", 1)
    before = sorted(tmp_path.rglob("*"))
    texts = []
    for _ in range(2):
        assert main(["compare", str(a), str(b), "--systems", "both=low", "--resamples=200"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert "both - low" in texts[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_subjects_are_compared_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = group(tmp_path / "a", [0.5, 0.2], seed=0), group(tmp_path / "b", [0, 0], seed=9)
    assert main(["compare", str(a), str(b), "--resamples=200"]) == 0
    assert "2 subjects: intervals are wide" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["A", "A"], "the same folder"),
        (["A", "none"], "is not a folder"),
        (["A", "B", "--system=x"], "no scores of a system 'x'"),
        (["A", "B", "--level=95"], "--level must lie between 0 and 1"),
        (["A", "B", "--resamples=1"], "--resamples must be at least 100"),
        (["A", "B", "seed=1"], "takes no fields of a run"),
        (["A"], "run_b"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {"A": scored(tmp_path / "a", 0), "B": scored(tmp_path / "b", 1)}
    given = [str(folders.get(w, tmp_path / w if w == "none" else w)) for w in words]
    assert main(["compare", *given]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_the_verb_costs_the_command_line_no_torch() -> None:
    code = "import sys, mindeye.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
