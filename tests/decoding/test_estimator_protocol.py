"""Every estimator: fit returns it, save and load give it back, mistakes are one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from mindeye.data.subject import Subject
from mindeye.decoding.baselines import NeighbourDecoder, RidgeDecoder
from mindeye.decoding.brain import BrainDecoder
from mindeye.decoding.low_level import LowLevelDecoder
from mindeye.decoding.prediction import Prediction
from mindeye.decoding.reconstructor import Reconstructor
from mindeye.errors import CheckpointError, ConfigError, DataError

TINY_HIGH = {
    "decoder": {"width": 8, "blocks": 1, "projector_width": 8},
    "prior": {"depth": 1, "heads": 1, "dim_head": 8, "timesteps": 4, "sample_steps": 2},
    "optim": {"epochs": 1, "batch_size": 32},
}
TINY_LOW = {"width": 8, "blocks": 1, "contrastive_weight": 0, "optim": {"epochs": 1}}
SMALLEST = {
    BrainDecoder: {"config": TINY_HIGH},
    LowLevelDecoder: {"config": TINY_LOW},
    RidgeDecoder: {"centred": True},
    NeighbourDecoder: {"neighbours": 2},
}


@pytest.fixture(scope="module")
def fitted(small_subject: Subject) -> dict[type, Any]:
    return {kind: kind(**given).fit(small_subject) for kind, given in SMALLEST.items()}


def _array(found: Any) -> np.ndarray:
    return found.retrieval if isinstance(found, Prediction) else found


@pytest.mark.parametrize("kind", SMALLEST)
def test_what_is_saved_predicts_what_was_fitted(
    kind: type, fitted: dict[type, Any], small_subject: Subject, tmp_path: Path
) -> None:
    betas = small_subject.betas_of(small_subject.splits["val"])
    one = fitted[kind]
    two = kind.load(one.save(str(tmp_path / "model")))
    np.testing.assert_array_equal(_array(one.predict(betas)), _array(two.predict(betas)))
    assert two.get_params() == one.get_params()
    assert clone(one).get_params() == one.get_params()


def test_betas_measured_later_are_scaled_by_the_stored_scaler(tmp_path: Path) -> None:
    """Raw betas in any unit, saved and opened again: the training trials' own scaled betas."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    trials = pd.DataFrame(
        {"stimulus_id": np.tile(np.arange(30), 2), "session": np.repeat([1, 2], 30)}
    )
    weights = rng.normal(size=(16 * 16 * 3, 40))
    signal = pictures.reshape(30, -1) @ weights
    raw = np.tile(signal, (2, 1)) + rng.normal(0, 300, (60, 40)) + 1000
    subject = Subject.from_arrays(raw, pictures, trials, no_alignment_test=True)
    decoder = RidgeDecoder(encoder="pixels:16:8").fit(subject)
    later = RidgeDecoder.load(decoder.save(tmp_path / "model"))
    found = later.predict(raw, session=trials["session"].to_numpy()).tokens
    np.testing.assert_array_equal(found, decoder.predict(subject.betas).tokens)
    assert not np.allclose(found, later.predict(raw).tokens, atol=1e-3)
    with pytest.raises(DataError, match="session 99"):
        later.predict(raw, session=99)


@pytest.mark.parametrize("kind", SMALLEST)
def test_mistakes_are_named(
    kind: type, fitted: dict[type, Any], small_subject: Subject, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="not fitted"):
        kind().predict(small_subject)
    voxels = small_subject.betas.shape[1]
    with pytest.raises(DataError, match=f"trained on {voxels} voxels"):
        fitted[kind].predict(np.zeros((3, voxels + 1)))
    wrong = np.zeros((3, voxels))
    wrong[1, 2] = np.nan
    with pytest.raises(DataError, match="row 1, voxel 2"):
        fitted[kind].predict(wrong)
    with pytest.raises(DataError, match="2 ids"):
        fitted[kind].predict(np.zeros((3, voxels)), ids=["a", "b"])
    with pytest.raises(DataError, match="need stimuli and trials"):
        kind(**SMALLEST[kind]).fit(np.zeros((3, voxels)))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        fitted[kind].save(tmp_path / "full")
    with pytest.raises(CheckpointError, match="no saved decoder"):
        kind.load(tmp_path / "full")


def test_a_folder_of_another_estimator_says_which(fitted: dict[type, Any], tmp_path: Path) -> None:
    fitted[RidgeDecoder].save(tmp_path / "ridge")
    with pytest.raises(CheckpointError, match=r"mindeye\.RidgeDecoder\.load"):
        BrainDecoder.load(tmp_path / "ridge")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"decoder": {"widht": 8}}, "high.decoder.width"),
        ({"optim": {"epochs": "many"}}, "high.optim.epochs"),
    ],
)
def test_a_wrong_hyper_parameter_is_refused_by_its_name(
    config: dict[str, Any], said: str, small_subject: Subject
) -> None:
    with pytest.raises(ConfigError, match=said):
        BrainDecoder(config=config).fit(small_subject)


def test_a_prediction_from_nowhere_cannot_be_drawn() -> None:
    tokens = np.zeros((1, 2, 3), np.float32)
    with pytest.raises(ConfigError, match="no decoder to sample from"):
        Reconstructor().draw(Prediction(tokens, tokens, ["a"]))


def test_a_fit_that_was_cut_off_goes_on_in_its_folder(
    small_subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**TINY_HIGH, "optim": {"epochs": 2, "batch_size": 16, "checkpoint_steps": 1}}
    betas = small_subject.betas_of(small_subject.splits["test"])
    whole = BrainDecoder(config=config).fit(small_subject).predict(betas)
    from mindeye.training import loop

    save, calls = loop.save_checkpoint, []

    def stops(*given: Any, **named: Any) -> None:
        save(*given, **named)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_checkpoint", stops)
    with pytest.raises(KeyboardInterrupt):
        BrainDecoder(config=config).fit(small_subject, folder=tmp_path / "work")
    monkeypatch.setattr(loop, "save_checkpoint", save)
    again = BrainDecoder(config=config).fit(small_subject, folder=tmp_path / "work")
    np.testing.assert_array_equal(again.predict(betas).tokens, whole.tokens)
