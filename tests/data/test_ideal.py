"""The ideal observer: exact against a dense covariance, finite where voxels have no noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mindeye.data.ideal import LEAST_DEVIATION, log_likelihood
from mindeye.data.simulate import simulate_subject
from mindeye.data.subject import Subject
from small_simulation import SMALL


def _truth(subject: Subject, name: str) -> np.ndarray:
    return np.load(subject.path / "truth" / f"{name}.npy").astype(np.float64)


def _dense(subject: Subject, ids: list[str]) -> np.ndarray:
    """The same likelihood from the whole covariance, up to a constant a row."""
    loadings, own = _truth(subject, "noise_loadings"), _truth(subject, "noise_deviation")
    covariance = loadings @ loadings.T + np.diag(np.maximum(own, LEAST_DEVIATION) ** 2)
    responses = _truth(subject, "responses")[[subject.row_of_stimulus[s] for s in ids]]
    repeats = np.array([len(subject.rows_by_stimulus[s]) for s in ids])
    rest = subject.betas_of(ids).astype(np.float64)[:, None] - responses  # (S, S, V)
    solved = np.linalg.solve(covariance, rest.reshape(-1, len(own)).T).T.reshape(rest.shape)
    return -0.5 * repeats[:, None] * (rest * solved).sum(axis=2)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A subject some of whose voxels have no noise at all."""
    config = replace(SMALL, ceiling_low=0.9, ceiling_high=0.9)
    return simulate_subject(config, 0, tmp_path_factory.mktemp("quiet") / "subject")


def test_the_likelihood_is_that_of_the_whole_covariance(small_subject: Subject) -> None:
    ids = small_subject.splits["test"]
    found, wanted = log_likelihood(small_subject, ids), _dense(small_subject, ids)
    centred = [x - x.mean(axis=1, keepdims=True) for x in (found, wanted)]
    np.testing.assert_allclose(centred[0], centred[1], rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_voxels_without_noise_leave_the_likelihood_finite_and_right(quiet: Subject) -> None:
    assert (_truth(quiet, "noise_deviation") == 0).any()
    ids = quiet.splits["test"]
    found, wanted = log_likelihood(quiet, ids), _dense(quiet, ids)
    assert np.isfinite(found).all()
    centred = [x - x.mean(axis=1, keepdims=True) for x in (found, wanted)]
    np.testing.assert_allclose(centred[0], centred[1], rtol=1e-5, atol=1e-3)
    assert (found.argmax(axis=1) == np.arange(len(ids))).all()
