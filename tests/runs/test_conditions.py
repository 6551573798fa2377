"""The stage conditions: the same decoder sees fewer trials, or other voxels, and nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mindeye.config.settings import run_config
from mindeye.data.subject import Subject
from mindeye.errors import DataError
from mindeye.files import read_json
from mindeye.models.pipelines import describe_model, save_model
from mindeye.runs import conditions as stage
from mindeye.runs import run_all, start_run
from mindeye.runs.conditions import (
    conditions,
    region_predictions,
    training_mean,
    trial_predictions,
    trial_stimuli,
)
from mindeye.runs.workspace import Workspace
from test_pipeline import PIXELS


@pytest.fixture(scope="module")
def finished(small_subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run up to the stage conditions."""
    folder = tmp_path_factory.mktemp("conditions") / "run"
    config = run_config({}, [*PIXELS, "low_enabled=false", "high.optim.epochs=2"])
    work = start_run(config, small_subject.path, folder)
    run_all(work, until="conditions")
    return work


def _says(work: Workspace, betas: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        tokens = work.decoder.model_(torch.from_numpy(betas.astype(np.float32))).contrastive
    return np.asarray(tokens.float().numpy())


def _copied(work: Workspace, folder: Path) -> Workspace:
    shutil.copytree(work.folder, folder)
    return replace(work, folder=folder)


def test_the_curve_is_of_the_first_trials_of_every_stimulus(finished: Workspace) -> None:
    ids, curve = trial_predictions(finished)
    assert ids == finished.test_ids
    assert list(curve) == [1, 2, 3]
    rows, betas = finished.subject.rows_by_stimulus, finished.subject.betas
    for count, predicted in curve.items():
        mean = np.stack([betas[rows[s][:count]].mean(axis=0) for s in ids])
        np.testing.assert_allclose(predicted, _says(finished, mean), atol=1e-6)
    repeats = finished.subject.trials["repeat"].to_numpy()
    assert all(repeats[rows[s][0]] == 0 for s in ids)


def test_all_trials_give_what_the_stage_predict_gives(
    small_subject: Subject, finished: Workspace
) -> None:
    run_all(finished, until="predict")
    whole = np.load(finished.folder / "predict" / "contrastive.npy")
    assert np.array_equal(trial_predictions(finished)[1][3], whole)


def _shown(subject: Subject, numbers: list[int]) -> Subject:
    """Leave the first test stimuli so many repeats; the rest have three."""
    rows = subject.rows_by_stimulus
    lost = [r for s, n in zip(subject.splits["test"], numbers, strict=False) for r in rows[s][n:]]
    kept = np.setdiff1d(np.arange(len(subject.betas)), lost)
    return replace(
        subject,
        betas=np.asarray(subject.betas[kept]),
        trials=subject.trials.iloc[kept].reset_index(drop=True),
    )


def test_all_points_of_the_curve_are_of_the_stimuli_shown_most_often(finished: Workspace) -> None:
    ids = finished.test_ids
    some = replace(finished, subject=_shown(finished.subject, [1, 2, 2]))
    assert trial_stimuli(some) == (ids[3:], [1, 2, 3])
    twice = replace(finished, subject=_shown(finished.subject, [1] + [2] * (len(ids) - 1)))
    assert trial_stimuli(twice) == (ids[1:], [1, 2])
    once = replace(finished, subject=_shown(finished.subject, [1] * len(ids)))
    assert trial_stimuli(once) == ([], [])


def test_voxels_outside_a_region_say_nothing_with_it_alone(finished: Workspace) -> None:
    mean = finished.test_betas
    train = finished.subject.splits["train"]
    rows = np.concatenate([finished.subject.rows_by_stimulus[s] for s in train])
    usual = finished.subject.betas[rows].mean(axis=0)
    np.testing.assert_allclose(training_mean(finished), usual, atol=1e-6)
    labels = finished.subject.voxels["roi"].to_numpy()
    found = list(region_predictions(finished))
    assert {r.label: r.voxels for r in found} == {
        name: int((labels == name).sum()) for name in ("early", "higher")
    }
    for region in found:
        inside = labels == region.label
        only = _says(finished, np.where(inside, mean, usual))
        without = _says(finished, np.where(inside, usual, mean))
        np.testing.assert_allclose(region.only, only, atol=1e-5)
        np.testing.assert_allclose(region.without, without, atol=1e-5)


def test_a_decoder_that_reads_one_region_is_found_out(finished: Workspace, tmp_path: Path) -> None:
    """With no weight on `higher`, it loses nothing without it and says one thing from it alone."""
    work = _copied(finished, tmp_path / "run")
    model = work.decoder.model_
    blind = torch.tensor((work.subject.voxels["roi"] == "higher").to_list())
    with torch.no_grad():
        layers = [p for p in model.parameters() if p.ndim == 2 and p.shape[1] == len(blind)]
        assert len(layers) == 1
        layers[0][:, blind] = 0
    save_model(model, work.folder / "high", describe_model("high", work.sizes, work.config.high))
    conditions(work)
    whole = trial_predictions(work)[1][3]
    regions = {r.label: r for r in region_predictions(work)}
    np.testing.assert_allclose(regions["early"].only, whole, atol=1e-5)
    np.testing.assert_allclose(regions["higher"].without, whole, atol=1e-5)
    for alone in (regions["higher"].only, regions["early"].without):
        assert np.ptp(alone, axis=0).max() < 1e-5
    # As many random voxels are neither all nor nothing.
    assert np.ptp(regions["higher"].random_only, axis=0).max() > 1e-2
    assert np.abs(regions["higher"].random_without - whole).max() > 1e-2


def test_labels_out_of_a_file_are_no_paths_and_only_the_largest_are_looked_at(
    finished: Workspace, tmp_path: Path
) -> None:
    work = _copied(finished, tmp_path / "run")
    shutil.rmtree(work.folder / "conditions")
    voxels = work.subject.voxels.copy()
    names = ["../../escape", "/root/x", *(f"area {i}" for i in range(10))]
    voxels["roi"] = [names[min(i // 8, len(names) - 1)] for i in range(len(voxels))]
    conditions(replace(work, subject=replace(work.subject, voxels=voxels)))
    content = read_json(work.folder / "conditions" / "regions.json")
    assert len(content["regions"]) == 8
    assert len(content["left_out"]) == 4
    assert content["regions"][0]["voxels"] == max(r["voxels"] for r in content["regions"])
    assert "../../escape" in [r["label"] for r in content["regions"]]
    written = sorted(p.name for p in (work.folder / "conditions" / "regions").iterdir())
    assert len(written) == 8 * 4
    assert {name[:3] for name in written} == {f"{i:03d}" for i in range(8)}
    assert not list(tmp_path.rglob("*escape*"))


def test_large_predictions_are_kept_in_half_precision(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trial_predictions(finished)[1]
    work = _copied(finished, tmp_path / "run")
    monkeypatch.setattr(stage, "SINGLE_PRECISION_BYTES", 100)
    conditions(work)
    for count, halves in trial_predictions(work)[1].items():
        assert halves.dtype == np.float16
        np.testing.assert_allclose(halves, whole[count], rtol=1e-3, atol=1e-6)


def test_without_controls_or_a_high_level_there_is_nothing(
    small_subject: Subject, tmp_path: Path
) -> None:
    for words in (["evaluate.controls=false"], ["high_enabled=false"]):
        work = start_run(run_config({}, [*PIXELS, *words]), small_subject.path, tmp_path / words[0])
        conditions(work)
        assert not (work.folder / "conditions").exists()
        assert trial_predictions(work) == ([], {})
        assert list(region_predictions(work)) == []


def test_a_damaged_prediction_is_named(finished: Workspace, tmp_path: Path) -> None:
    work = _copied(finished, tmp_path / "run")
    (work.folder / "conditions" / "trials_2.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"trials_2\.npy.*delete .*conditions"):
        trial_predictions(work)
