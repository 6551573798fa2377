"""The baselines of a run: what they write, what it is made of, and where they are left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mindeye.config.settings import run_config
from mindeye.data.images import to_pictures
from mindeye.data.subject import Subject
from mindeye.generation.generators import LatentGenerator
from mindeye.runs.baselines import ridge
from mindeye.runs.drawing_baselines import draw_baselines
from mindeye.runs.learning import embed
from mindeye.runs.workspace import Workspace, start_run
from small_zoo_run import WORDS

ZOO = ["high_enabled=false", "reconstruct.stimuli=3", "reconstruct.steps=3"]
PIXELS = ["targets.encoder=pixels:16:4", "targets.vae=pixels:16", "high_enabled=false"]


def _begun(subject: Subject, folder: Path, words: list[str]) -> Workspace:
    work = start_run(run_config({}, [*WORDS, *words]), subject.path, folder)
    embed(work)
    ridge(work)
    return work


@pytest.fixture(scope="module")
def work(small_subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return _begun(small_subject, tmp_path_factory.mktemp("runs") / "run", ZOO)


def _files(folder: Path) -> dict[str, Any]:
    return {path.name: np.load(path) for path in folder.glob("*.npy")}


def test_tokens_share_a_lambda_and_latents_have_their_own(work: Workspace) -> None:
    chosen = json.loads((work.folder / "ridge" / "chosen.json").read_text())
    assert chosen["tokens"]["lambda"] > 0
    assert chosen["tokens"]["targets"] == 512
    assert sum(chosen["latents"]["lambdas"].values()) == np.prod(work.vae.shape)
    assert chosen["latents"]["targets"] == np.prod(work.vae.shape)
    assert str(chosen["knn"]["k"]) in chosen["knn"]["held_out_cosine"]
    assert "transductive" in chosen["restored_by"]


def test_ridge_of_a_run_is_scikit_learns(work: Workspace) -> None:
    from sklearn.linear_model import Ridge

    chosen = json.loads((work.folder / "ridge" / "chosen.json").read_text())
    train = work.subject.splits["train"]
    tokens = work.embeddings("tokens")[work.rows(train)].reshape(len(train), -1)
    betas = work.subject.betas_of(train)
    model = Ridge(alpha=chosen["tokens"]["lambda"]).fit(betas, tokens)
    expected = model.predict(work.test_betas)
    found = np.load(work.folder / "ridge" / "tokens.npy").reshape(len(expected), -1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_baselines_repeat_bit_for_bit(work: Workspace) -> None:
    first = _files(work.folder / "ridge")
    ridge(work)
    again = _files(work.folder / "ridge")
    assert first.keys() == again.keys()
    assert len(first) == 7
    assert all((first[name] == again[name]).all() for name in first)


def test_knn_shows_the_picture_of_the_brain_that_correlates_most(work: Workspace) -> None:
    draw_baselines(work, None)
    train = work.subject.splits["train"]
    betas = np.concatenate([work.subject.betas_of(ids) for ids in (work.drawn_ids, train)])
    best = np.corrcoef(betas)[:3, 3:].argmax(axis=1)
    found = json.loads((work.folder / "ridge" / "knn_nearest.json").read_text())
    assert found["nearest"][:3] == [train[row] for row in best]
    drawn = np.load(work.folder / "reconstruct" / "knn.npy")
    assert (drawn == work.subject.pictures_of([train[row] for row in best])).all()
    assert "no generator" in _notes(work)["ridge_latents"]


def _notes(work: Workspace) -> dict[str, str]:
    notes: dict[str, str] = json.loads((work.folder / "reconstruct/baselines.json").read_text())
    return notes


def test_planted_latents_come_back_out_without_a_condition(work: Workspace) -> None:
    generator = work.generator
    assert isinstance(generator, LatentGenerator)
    planted = np.array(work.embeddings("latents")[work.rows(work.drawn_ids)])
    path = work.folder / "ridge" / "latents.npy"
    before = np.load(path)
    np.save(path, planted)
    try:
        draw_baselines(work, generator)
        drawn = np.load(work.folder / "reconstruct" / "ridge_latents.npy")
        draw_baselines(work, generator)
        again = np.load(work.folder / "reconstruct" / "ridge_latents.npy")
    finally:
        np.save(path, before)
    assert (drawn == again).all()
    assert "without a condition" in _notes(work)["ridge_latents"]
    wanted = to_pictures(work.spaces.decode(torch.from_numpy(planted)))
    weak = generator.unconditional(1e-9)  # one step, from the least noise there is
    tokens = torch.zeros(len(planted), *generator_shape(work))
    near = to_pictures(weak.generate(tokens, seeds=[1, 2, 3], start=torch.from_numpy(planted)))
    for picture, own in zip(near, wanted, strict=True):
        assert np.corrcoef(picture.ravel(), own.ravel())[0, 1] > 0.7


def generator_shape(work: Workspace) -> tuple[int, int]:
    return work.encoder.tokens, work.encoder.width


def test_no_token_reaches_a_picture_drawn_without_a_condition(work: Workspace) -> None:
    generator = work.generator
    assert isinstance(generator, LatentGenerator)
    start = torch.from_numpy(np.load(work.folder / "ridge" / "latents.npy")[:2])
    shape = (2, *generator_shape(work))
    ones, others = torch.ones(shape) / 8, torch.randn(shape, generator=torch.manual_seed(0)) / 8
    free = generator.unconditional(0.8)
    drawn = [free.generate(t, seeds=[1, 2], start=start) for t in (ones, others)]
    assert torch.equal(*drawn)
    told = [generator.generate(t, seeds=[1, 2], start=start) for t in (ones, others)]
    assert not torch.equal(*told)
    assert generator.plan.guidance != 0  # the run's own generator is left as it was


def test_a_generator_that_takes_no_start_leaves_ridge_latents_out_and_says_so(
    small_subject: Subject, tmp_path: Path
) -> None:
    work = _begun(small_subject, tmp_path / "run", [*PIXELS, "targets.generator=pixels"])
    draw_baselines(work, work.generator)
    assert "takes no start" in _notes(work)["ridge_latents"]
    assert not (work.folder / "reconstruct" / "ridge_latents.npy").exists()
    assert (work.folder / "reconstruct" / "ridge.npy").exists()
