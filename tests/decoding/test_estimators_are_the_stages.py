"""The notebook path and the command line's path are one: equal arrays, to the last bit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from mindeye.config.settings import run_config
from mindeye.data.subject import Subject
from mindeye.decoding.baselines import NeighbourDecoder, RidgeDecoder
from mindeye.decoding.brain import BrainDecoder
from mindeye.decoding.low_level import LowLevelDecoder
from mindeye.decoding.prediction import Prediction
from mindeye.decoding.reconstructor import Reconstructor
from mindeye.errors import CheckpointError
from mindeye.runs import run_all, start_run
from mindeye.runs.workspace import Workspace
from small_zoo_run import WORDS


@pytest.fixture(scope="module")
def run(small_subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A small run in the zoo's spaces, images drawn."""
    config = run_config({}, [*WORDS, "reconstruct.stimuli=0", "reconstruct.candidates=2"])
    work = start_run(config, small_subject.path, tmp_path_factory.mktemp("stages") / "run")
    run_all(work, until="reconstruct")
    return work


@pytest.fixture(scope="module")
def decoder(run: Workspace, small_subject: Subject) -> BrainDecoder:
    return BrainDecoder(config=asdict(run.config.high)).fit(small_subject)


@pytest.fixture(scope="module")
def predicted(decoder: BrainDecoder, small_subject: Subject) -> Prediction:
    return decoder.predict(small_subject.betas_of(small_subject.splits["test"]))


def _saved(run: Workspace, name: str) -> np.ndarray:
    return np.load(run.folder / f"{name}.npy")


def test_the_decoder_predicts_what_the_run_predicts(run: Workspace, predicted: Prediction) -> None:
    np.testing.assert_array_equal(predicted.tokens, _saved(run, "predict/backbone"))
    np.testing.assert_array_equal(predicted.retrieval, _saved(run, "predict/contrastive"))


def test_images_are_those_of_the_run_with_and_without_a_start(
    run: Workspace, predicted: Prediction, small_subject: Subject
) -> None:
    low = LowLevelDecoder(config=asdict(run.config.low)).fit(small_subject)
    betas = small_subject.betas_of(small_subject.splits["test"])
    np.testing.assert_array_equal(low.predict(betas), _saved(run, "predict/latents"))
    np.testing.assert_array_equal(low.draw(betas), _saved(run, "reconstruct/low"))
    options = asdict(run.config.reconstruct)
    both = Reconstructor(low_level=low, config=options).draw(predicted)
    np.testing.assert_array_equal(both, _saved(run, "reconstruct/both"))
    high = Reconstructor(config=options).draw(predicted)
    np.testing.assert_array_equal(high, _saved(run, "reconstruct/high"))
    assert not np.array_equal(high, both)


def test_baselines_predict_what_the_run_predicts(run: Workspace, small_subject: Subject) -> None:
    betas = small_subject.betas_of(small_subject.splits["test"])
    for target in ("tokens", "latents"):
        found = RidgeDecoder(target=target).fit(small_subject).predict(betas).tokens
        np.testing.assert_array_equal(found, _saved(run, f"ridge/{target}"))
    alike = NeighbourDecoder().fit(small_subject).predict(betas)
    np.testing.assert_array_equal(alike.tokens, _saved(run, "ridge/knn_tokens"))
    drawn = _saved(run, "reconstruct/knn")
    np.testing.assert_array_equal(small_subject.pictures_of(alike.nearest), drawn)


def test_the_trained_state_of_a_run_is_an_estimator(
    run: Workspace, predicted: Prediction, tmp_path: Path
) -> None:
    opened = BrainDecoder.load(run.folder)
    np.testing.assert_array_equal(opened.predict(predicted.betas).tokens, predicted.tokens)
    again = BrainDecoder.load(opened.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict(predicted.betas).tokens, predicted.tokens)
    low = LowLevelDecoder.load(str(run.folder))
    np.testing.assert_array_equal(low.predict(predicted.betas), _saved(run, "predict/latents"))
    with pytest.raises(CheckpointError, match=r"mindeye\.RidgeDecoder\(\)\.fit"):
        RidgeDecoder.load(run.folder)


def test_score_is_the_first_rank_of_the_run(
    run: Workspace, decoder: BrainDecoder, small_subject: Subject
) -> None:
    run_all(run, until="retrieve")
    first = _saved(run, "retrieve/brain_to_image_ranks") == 0
    assert decoder.score(small_subject) == pytest.approx(first.mean())
