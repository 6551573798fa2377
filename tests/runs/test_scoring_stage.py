"""Claims about what a run's table and controls say of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mindeye.config.settings import run_config
from mindeye.data.subject import Subject
from mindeye.metrics.points import read_controls
from mindeye.metrics.systems import references
from mindeye.metrics.table import Row, read_rows, read_scores
from mindeye.runs.pipeline import run_all
from mindeye.runs.scoring.predictions import retrieval_systems
from mindeye.runs.scoring.references import reference_systems
from mindeye.runs.workspace import Workspace, start_run
from small_zoo_run import WORDS

PIXELS = ["targets.encoder=pixels:16:4", "targets.vae=pixels:16", "targets.generator=pixels"]


@pytest.fixture(scope="module")
def work(small_subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    config = run_config({}, [*WORDS, *PIXELS, "reconstruct.stimuli=0"])
    work = start_run(config, small_subject.path, tmp_path_factory.mktemp("scored") / "run")
    run_all(work, until="evaluate")
    return work


@pytest.fixture(scope="module")
def rows(work: Workspace) -> dict[tuple[str, str], Row]:
    return {(r.metric, r.system): r for r in read_rows(work.folder / "metrics.json")}


def test_what_stands_beside_a_row_is_the_row_of_the_reference(
    rows: dict[tuple[str, str], Row],
) -> None:
    named = {"generator_from_truth": "ceiling_generator"}
    for (metric, system), row in rows.items():
        for name, value in row.references.items():
            assert named.get(name, name) != system
            assert value == rows[metric, named.get(name, name)].value
    assert set(rows["PixCorr", "ridge"].references) == set(references())
    beside = rows["brain_to_image_top1", "mindeye"].references
    assert set(beside) == set(references()) - {"generator_from_truth"}


def test_the_ideal_observer_is_the_ceiling_of_retrieval(rows: dict[tuple[str, str], Row]) -> None:
    row = rows["image_to_brain_full_top1", "ridge"]
    assert row.ceiling == row.references["ideal_observer"]


def test_reference_systems_are_chosen_by_a_search_of_everything(work: Workspace) -> None:
    beside = reference_systems(work)
    tokens = np.asarray(work.embeddings("tokens"), np.float64).reshape(
        len(work.subject.stimuli), -1
    )
    unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    train, test = work.subject.splits["train"], work.test_ids
    nearest = (unit[work.rows(test)] @ unit[work.rows(train)].T).argmax(axis=1)
    assert beside.training["nearest_training_true"] == [train[i] for i in nearest]
    decoded = np.load(work.folder / "predict" / "contrastive.npy").reshape(len(test), -1)
    found = (decoded @ unit[work.rows(train)].T).argmax(axis=1)
    assert beside.training["nearest_training_predicted"] == [train[i] for i in found]
    assert not set(beside.training["random_training"]) - set(train)
    for observer in beside.observers.values():
        assert observer.shown == [observer.ids[int(i)] for i in observer.scores.argmax(dim=1)]


def test_centred_scores_take_the_training_mean_from_both_sides(work: Workspace) -> None:
    systems = retrieval_systems(work)
    mean = np.asarray(work.embeddings("tokens"))[work.rows(work.subject.splits["train"])].mean(0)
    for name in ("ridge", "knn"):
        plain, true = systems[name]
        for part, centred in zip((plain, true), systems[f"{name}_centred"], strict=True):
            moved = torch.as_tensor(np.asarray(part[: len(part)]) - mean)
            torch.testing.assert_close(
                torch.as_tensor(np.asarray(centred[:])), moved, atol=1e-5, rtol=0
            )


def test_what_is_drawn_says_how_often(rows: dict[tuple[str, str], Row]) -> None:
    drawn = {system: row.k for (metric, system), row in rows.items() if metric == "PixCorr"}
    assert (drawn["high"], drawn["ridge"], drawn["ceiling_generator"]) == (3, 1, 1)
    assert drawn["random_training"] is None
    assert rows["brain_to_image_top1", "mindeye"].k is None


def test_the_mean_of_the_written_scores_is_the_row(
    work: Workspace, rows: dict[tuple[str, str], Row]
) -> None:
    means = read_scores(work.folder).groupby(["metric", "system"])["value"].mean()
    for metric, system in (("PixCorr", "high"), ("SSIM", "knn"), ("image_to_brain_top1", "ridge")):
        assert means[metric, system] == pytest.approx(rows[metric, system].value, abs=1e-12)


def test_every_control_speaks_that_has_something_to_say(work: Workspace) -> None:
    points, findings = read_controls(work.folder / "controls.json")
    spoken = {p.control for p in points} | {f.control for f in findings}
    assert {"nway", "trials_averaged", "regions", "candidates"} <= spoken
    assert len(spoken) >= 8
    whole = np.mean(np.load(work.folder / "retrieve" / "brain_to_image_ranks.npy") <= 0)
    last = [
        p for p in points
        if p.control == "trials_averaged" and p.metric == "brain_to_image_full_top1"
    ][-1]  # fmt: skip
    assert last.value == pytest.approx(whole)  # every test picture was shown as often


def test_scoring_again_gives_the_same_bytes_and_without_controls_none(
    work: Workspace, tmp_path: Path
) -> None:
    again = tmp_path / "run"
    shutil.copytree(work.folder, again)
    shutil.rmtree(again / "evaluate")
    run_all(start_run(work.config, work.subject.path, again), until="evaluate")
    for name in ("metrics.json", "scores.csv", "controls.json"):
        assert (again / name).read_bytes() == (work.folder / name).read_bytes()
    config = run_config({}, [*WORDS, *PIXELS, "reconstruct.stimuli=0", "evaluate.controls=false"])
    bare = tmp_path / "bare"
    run_all(start_run(config, work.subject.path, bare), until="evaluate")
    assert read_controls(bare / "controls.json") == ([], [])
