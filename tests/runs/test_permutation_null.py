"""A permutation null does everything anew but the embedding, and finds nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mindeye.commands.ablation_plan import read_plan
from mindeye.config.fingerprints import config_hash
from mindeye.config.settings import run_config
from mindeye.data.simulate import simulate_subject
from mindeye.data.subject import Subject
from mindeye.errors import ConfigError
from mindeye.files import read_json, write_json
from mindeye.runs import run_all, start_run
from mindeye.runs.pipeline import BASELINES, STAGES, stage_keys
from mindeye.runs.report import report_data
from small_simulation import SMALL

WORDS = [
    "targets.encoder=pixels:8:4",
    "targets.vae=pixels:8",
    "targets.generator=pixels",
    "low.width=32",
    "low.blocks=1",
    "low.seed_channels=16",
    "low.channels=8",
    "low.contrastive_weight=0",
    "low.optim.epochs=2",
    "high.decoder.width=128",
    "high.decoder.blocks=0",
    "high.decoder.projector_width=64",
    "high.prior.kind=none",
    "high.contrastive.mixing=none",
    "high.contrastive.soft=infonce",
    "high.contrastive.soft_temperature_start=0.05",
    "high.contrastive.soft_temperature_end=0.05",
    "high.optim.epochs=60",
    "high.optim.precision=fp32",
    "reconstruct.stimuli=2",
    "evaluate.picture_size=0",
    "evaluate.nway=10",
    "evaluate.resamples=50",
    "evaluate.controls=false",
]
"""A decoder in pixels that learns within two seconds what there is to learn."""


@pytest.fixture(scope="module")
def clear_subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A subject with little noise, so that a small decoder is well above chance."""
    config = replace(SMALL, train=200, test=40, ceiling_low=0.6, ceiling_high=0.6)
    return simulate_subject(config, 0, tmp_path_factory.mktemp("clear") / "subject")


@pytest.fixture(scope="module")
def runs(clear_subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The recorded run and two nulls."""
    out = tmp_path_factory.mktemp("nulls")
    for number in range(3):
        config = run_config({}, [*WORDS, f"permutation={number}"])
        run_all(start_run(config, clear_subject.path, out / str(number)), until="evaluate")
    return [out / str(number) for number in range(3)]


def _scores(run: Path, system: str) -> dict[str, float]:
    rows = read_json(run / "metrics.json")["rows"]
    return {r["metric"]: r["value"] for r in rows if r["system"] == system}


@pytest.mark.parametrize("system", ["mindeye", "ridge_centred"])
def test_nulls_are_at_chance_and_the_recorded_pairs_above(runs: list[Path], system: str) -> None:
    recorded, *nulls = (_scores(run, system)["brain_to_image_top1"] for run in runs)
    assert recorded > 0.4
    assert max(nulls) < 0.25  # chance is 0.1
    assert abs(np.mean(nulls) - 0.1) < 0.1


def test_what_knows_nothing_of_the_pairs_in_training_is_unchanged(runs: list[Path]) -> None:
    observers = [_scores(run, "ideal_observer") for run in runs]
    assert observers[0]["brain_to_image_full_top1"] > 0.9
    for own in observers[1:]:
        assert own == observers[0]
    for name in ("embed/tokens.npy", "reconstruct/ceiling_generator.npy"):
        assert len({(run / name).read_bytes() for run in runs}) == 1


def test_everything_that_reads_pairs_is_another(runs: list[Path]) -> None:
    """Ridge, both pipelines, and what they are validated on while they are trained."""
    for name in (
        "ridge/tokens.npy",
        "ridge/latents.npy",
        "high/model.safetensors",
        "high/log.jsonl",
        "low/model.safetensors",
        "low/log.jsonl",
        "predict/contrastive.npy",
    ):
        assert len({(run / name).read_bytes() for run in runs}) == len(runs), name


def test_only_the_embedding_is_shared(clear_subject: Subject, tmp_path: Path) -> None:
    keys = [
        stage_keys(
            start_run(
                run_config({}, [*WORDS, f"permutation={n}"]), clear_subject.path, tmp_path / str(n)
            )
        )
        for n in range(3)
    ]
    for name in STAGES:
        assert len({own[name] for own in keys}) == (1 if name == "embed" else 3), name
    # Recorded pairs have no word of nulls in their keys.
    told = config_hash("ridge", [BASELINES, 0], [keys[0]["embed"]], clear_subject.fingerprint)
    assert keys[0]["ridge"] == told


def test_a_run_from_before_there_were_nulls_goes_on_and_is_none(
    clear_subject: Subject, tmp_path: Path
) -> None:
    start_run(run_config({}, WORDS), clear_subject.path, tmp_path)
    known = read_json(tmp_path / "run.json")
    del known["config"]["permutation"]
    del known["config"]["reconstruct"]["keep_candidates"]
    for name in ("weights", "controls", "as_published", "clusters"):
        del known["config"]["evaluate"][name]
    write_json(tmp_path / "run.json", known)
    usual = [word for word in WORDS if word != "evaluate.controls=false"]
    work = start_run(run_config({}, usual), clear_subject.path, tmp_path)
    assert work.null == ""
    with pytest.raises(ConfigError, match="permutation"):
        start_run(run_config({}, [*usual, "permutation=1"]), clear_subject.path, tmp_path)


def test_the_page_says_that_it_is_a_null(clear_subject: Subject, runs: list[Path]) -> None:
    for number in (0, 2):
        config = run_config({}, [*WORDS, f"permutation={number}"])
        problems = report_data(start_run(config, clear_subject.path, runs[number])).problems
        assert any(p.startswith("Permutation null 2") for p in problems) == (number == 2)


def test_weights_that_were_trained_elsewhere_are_no_null() -> None:
    with pytest.raises(ConfigError, match=r"low\.weights"):
        run_config({}, ["permutation=1", "low.weights=/somewhere"])
    run_config({}, ["permutation=1", "low.weights=/somewhere", "low_enabled=false"])
    with pytest.raises(ConfigError, match="permutation is -1"):
        run_config({}, ["permutation=-1"])


def test_the_shipped_plan_reaches_one_in_twenty() -> None:
    plan = read_plan("null")
    assert [row.changes for row in plan.rows] == [{}] + [{"permutation": n} for n in range(1, 20)]
    assert plan.full == plan.rows[0].name
