from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mindeye.cli import STAGE_HELP, main
from mindeye.runs import STAGES

Write = Callable[..., dict[str, Path]]


def prepare_words(paths: dict[str, Path], out: Path) -> list[str]:
    flags = [f"--{name}={path}" for name, path in paths.items()]
    # The arrays are noise, which the alignment self-test is there to refuse.
    return ["prepare", "arrays", *flags, f"--out={out}", "--no-alignment-test"]


def test_prepare_info_and_check_work_together(
    arrays: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "subject"
    assert main(prepare_words(arrays(), out)) == 0
    assert main(["check", str(out)]) == 0
    assert main(["info", str(out)]) == 0
    told = capsys.readouterr().out
    assert "voxels              12" in told
    assert "test stimuli        2" in told


def test_bad_data_is_one_line_and_exit_code_2(
    arrays: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    betas = np.random.default_rng(0).standard_normal((40, 3))
    betas[4, 1] = np.nan
    assert main(prepare_words(arrays(betas=betas), tmp_path / "s")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "voxel 1 holds NaN" in error


@pytest.mark.parametrize(
    "words",
    [
        ["info", "/nowhere"],
        ["report", "/nowhere"],
        ["run", "demo", "--subject-dir=/nowhere", "--out=/nowhere/else"],
        ["run", "nosuch", "--subject-dir=/nowhere", "--out=/nowhere/else"],
        ["run", "demo"],
        ["prepare", "arrays", "--betas=/nowhere.npy", "--stimuli=x", "--trials=y", "--out=z"],
        ["info", "/nowhere", "seed=3"],
        ["no-such-verb"],
        [],
    ],
)
def test_mistakes_exit_with_2_and_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("mindeye: ")
    assert error.count("\n") == 1


def test_ctrl_c_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mindeye.cli.entry._dispatch", stop)
    assert main(["info", "x"]) == 130
    assert "finished stages are kept" in capsys.readouterr().err


def test_every_stage_is_a_verb() -> None:
    assert list(STAGE_HELP) == list(STAGES)


def test_help_lists_every_field_with_its_doc(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "high.prior.loss_weight=30.0" in text
    assert "Weight of the prior's loss" in text
