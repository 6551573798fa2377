from __future__ import annotations

import numpy as np
import pytest

from mindeye.models.ridge import LAMBDAS, fit_ridge


def problem(noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    betas = rng.standard_normal((120, 40)).astype(np.float32) + 3
    weights = rng.standard_normal((40, 6)) / 40**0.5
    targets = betas @ weights + noise * rng.standard_normal((120, 6)) + 7
    return betas, targets.astype(np.float32), weights


def test_ridge_is_the_closed_form_at_its_lambda() -> None:
    betas, targets, _ = problem(0.5)
    model = fit_ridge(betas, targets, seed=0)
    x, y = betas - betas.mean(axis=0), targets - targets.mean(axis=0)
    weights = np.linalg.solve(x.T @ x + model.regularisation * np.eye(40), x.T @ y)
    np.testing.assert_allclose(model.weights, weights, atol=1e-3)
    expected = (betas - betas.mean(axis=0)) @ weights + targets.mean(axis=0)
    np.testing.assert_allclose(model.predict(betas), expected, atol=1e-2)


def test_more_noise_asks_for_more_regularisation() -> None:
    little = fit_ridge(*problem(0.05)[:2], seed=0).regularisation
    much = fit_ridge(*problem(5.0)[:2], seed=0).regularisation
    assert LAMBDAS[0] <= little < much <= LAMBDAS[-1]


def test_restored_predictions_have_the_spread_of_the_targets() -> None:
    betas, targets, _ = problem(2.0)
    model = fit_ridge(betas, targets, seed=0)
    test = np.random.default_rng(9).standard_normal((50, 40)).astype(np.float32) + 3
    plain, restored = model.predict(test), model.predict_restored(test)
    assert (plain.std(axis=0) < targets.std(axis=0)).all()
    np.testing.assert_allclose(restored.std(axis=0), targets.std(axis=0), rtol=1e-3)
    np.testing.assert_allclose(restored.mean(axis=0), targets.mean(axis=0), atol=1e-3)
    for k in range(6):
        assert np.corrcoef(plain[:, k], restored[:, k])[0, 1] == pytest.approx(1, abs=1e-4)


def test_random_targets_are_not_predicted() -> None:
    rng = np.random.default_rng(1)
    betas = rng.standard_normal((150, 60)).astype(np.float32)
    targets = rng.standard_normal((150, 5)).astype(np.float32)
    model = fit_ridge(betas[:100], targets[:100], seed=0)
    predicted = model.predict(betas[100:])
    explained = 1 - ((targets[100:] - predicted) ** 2).sum() / (targets[100:] ** 2).sum()
    assert explained < 0.1
