"""Whole runs, small: through the same doors as a user's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mindeye.cli import main
from mindeye.config.settings import run_config
from mindeye.data.subject import Subject
from mindeye.errors import ConfigError
from mindeye.files import read_json, write_json
from mindeye.runs import STAGES, run_all, start_run

PIXELS = [
    "targets.encoder=pixels:16:4",
    "targets.vae=pixels:16",
    "targets.generator=pixels",
    "high.decoder.width=32",
    "high.decoder.blocks=1",
    "high.decoder.projector_width=16",
    "high.prior.depth=1",
    "high.prior.heads=1",
    "high.prior.dim_head=8",
    "high.prior.timesteps=10",
    "high.prior.sample_steps=4",
    "high.optim.epochs=6",
    "high.optim.checkpoint_steps=2",
    "low.width=32",
    "low.blocks=1",
    "low.seed_channels=16",
    "low.channels=8",
    "low.contrastive_weight=0",
    "low.optim.epochs=3",
    "reconstruct.candidates=2",
    "evaluate.picture_size=0",
    "evaluate.nway=10",
    "evaluate.resamples=200",
]
ZOO = [w for w in PIXELS if not w.startswith(("targets.", "low.contrastive"))]


def scores(folder: Path) -> str:
    return (folder / "metrics.json").read_text()


@pytest.fixture(scope="module")
def finished(small_subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in pixel space."""
    folder = tmp_path_factory.mktemp("runs") / "pixels"
    run_all(start_run(run_config({}, PIXELS), small_subject.path, folder))
    return folder


def command(subject: Subject, out: Path, *more: str) -> list[str]:
    flags = [f"--subject-dir={subject.path}", f"--out={out}"]
    return ["run", "demo", *flags, *more, *PIXELS]


def test_a_run_leaves_every_stage_a_table_and_a_page(finished: Path) -> None:
    for name in STAGES:
        assert (finished / name / "stage.json").is_file(), name
    rows = read_json(finished / "metrics.json")["rows"]
    found = {(r["metric"], r["system"]) for r in rows}
    for system in ("mindeye", "ridge", "ideal_observer"):
        assert ("brain_to_image_top1", system) in found
        assert ("image_to_brain_top1", system) in found
    for system in ("low", "high", "ridge"):
        assert ("PixCorr", system) in found
    for row in rows:
        if row["low"] is not None:
            assert row["low"] <= row["value"] <= row["high"], row
    assert (finished / "report.html").read_text().lower().startswith("<!doctype html>")


def test_a_second_call_does_nothing(small_subject: Subject, finished: Path) -> None:
    work = start_run(run_config({}, PIXELS), small_subject.path, finished)
    assert not any(run_all(work).values())


def test_the_same_seed_gives_the_same_table_to_the_last_digit(
    small_subject: Subject, finished: Path, tmp_path: Path
) -> None:
    run_all(start_run(run_config({}, PIXELS), small_subject.path, tmp_path / "again"))
    assert scores(tmp_path / "again") == scores(finished)


def test_a_changed_field_is_refused_by_name(
    small_subject: Subject, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = scores(finished)
    words = [*command(small_subject, finished), "high.optim.epochs=7"]
    assert main(words) == 2
    assert "high.optim.epochs" in capsys.readouterr().err
    assert scores(finished) == before


def test_a_run_of_an_older_version_goes_on_and_so_does_one_whose_weights_were_moved(
    small_subject: Subject, finished: Path, tmp_path: Path
) -> None:
    older = shutil.copytree(finished, tmp_path / "older")
    known = read_json(older / "run.json")
    del known["config"]["reconstruct"]["guidance"]
    known["config"]["weights"] = "/somewhere/else"
    write_json(older / "run.json", known)
    start_run(run_config({}, PIXELS), small_subject.path, older)
    with pytest.raises(ConfigError, match=r"reconstruct\.guidance"):
        start_run(run_config({}, [*PIXELS, "reconstruct.guidance=9"]), small_subject.path, older)


def test_a_lost_stage_is_done_again_and_only_what_hangs_on_it(
    small_subject: Subject, finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "reconstruct")
    done = run_all(start_run(run_config({}, PIXELS), small_subject.path, folder))
    assert done["reconstruct"]
    assert not done["high"]
    assert scores(folder) == scores(finished)


def test_test_stimuli_do_not_touch_training(
    small_subject: Subject, finished: Path, tmp_path: Path
) -> None:
    """Wreck the test betas: the trained weights must come out the same to the last bit."""
    from dataclasses import replace

    betas = np.array(small_subject.betas)
    test = small_subject.trials["stimulus_id"].isin(small_subject.splits["test"]).to_numpy()
    betas[test] = 123.0
    work = start_run(run_config({}, PIXELS), small_subject.path, tmp_path / "run")
    run_all(replace(work, subject=replace(small_subject, betas=betas)), until="low")
    for stage in ("high", "low"):
        name = Path(stage) / "model.safetensors"
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes()


def test_shuffled_pairs_teach_nothing(small_subject: Subject, tmp_path: Path) -> None:
    """With betas and stimuli paired at random, retrieval falls to chance (1 of 10)."""
    from dataclasses import replace

    rng = np.random.default_rng(5)
    shuffled = replace(small_subject, betas=rng.permutation(np.array(small_subject.betas)))
    work = start_run(run_config({}, PIXELS), small_subject.path, tmp_path / "run")
    run_all(replace(work, subject=shuffled), until="evaluate")
    rows = read_json(tmp_path / "run" / "metrics.json")["rows"]
    top1 = next(
        r for r in rows if r["metric"] == "brain_to_image_top1" and r["system"] == "mindeye"
    )
    assert top1["value"] < 0.35
    assert top1["floor_low"] <= top1["chance"] <= top1["floor_high"]


def _start(words: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "MINDEYE_PROGRESS": "0", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "mindeye", *words], env=environment, stderr=subprocess.PIPE
    )


def _wait_for(folder: Path, pattern: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_stopped_in_the_middle_of_training_ends_like_an_unbroken_one(
    how: signal.Signals, small_subject: Subject, tmp_path: Path
) -> None:
    more = ["high.optim.epochs=60"]  # long enough to be caught
    whole = tmp_path / "whole"
    assert main([*command(small_subject, whole), *more]) == 0
    out = tmp_path / "stopped"
    words = [*command(small_subject, out), *more]
    process = _start(words)
    _wait_for(out / "high", "checkpoint-*", process)
    process.send_signal(how)
    _, error = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    if how == signal.SIGINT:
        assert b"the same command goes on" in error
    assert not (out / "high" / "stage.json").exists()
    assert (out / "embed" / "stage.json").exists()
    assert main([*command(small_subject, out, "--resume")[: -len(PIXELS)]]) == 0
    assert scores(out) == scores(whole)
    log = "high/log.jsonl"
    assert (out / log).read_text() == (whole / log).read_text()


def test_the_zoo_draws_low_high_and_both(small_subject: Subject, tmp_path: Path) -> None:
    config = run_config({}, [*ZOO, "reconstruct.steps=4", "low.optim.epochs=2"])
    run_all(start_run(config, small_subject.path, tmp_path / "run"))
    rows = read_json(tmp_path / "run" / "metrics.json")["rows"]
    found = {r["system"] for r in rows if r["metric"] == "two_way_zoo_clip"}
    assert {"low", "high", "both", "ridge", "ceiling_generator", "ceiling_vae"} <= found
    missing = json.loads(scores(tmp_path / "run"))["missing"]
    named = {m["metric"] for m in missing} | {r["metric"] for r in rows}
    assert "two_way_alexnet_2" in named or any("alex" in n for n in named)


def test_a_foreign_folder_is_not_taken_for_a_run(
    small_subject: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(command(small_subject, tmp_path)) == 2
    assert "not empty and not a run" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["thesis.tex"]
