from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from mindeye.errors import DataError
from mindeye.models.columns import Columns
from mindeye.models.ridge import (
    LAMBDAS,
    Lambdas,
    choose_lambdas,
    linear_kernel,
    predict_ridge,
    restore,
)

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def problem(noise: float, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    betas = rng.standard_normal((160, 40)).astype(np.float32) + 3
    weights = rng.standard_normal((40, 6)) / 40**0.5
    targets = betas @ weights + noise * rng.standard_normal((160, 6)) + 7
    return betas[:120], targets[:120].astype(np.float32), betas[120:]


def columns(targets: np.ndarray, block: int = 4096) -> Columns:
    return Columns(targets, np.arange(len(targets)), block=block)


def shared(value: float) -> Lambdas:
    return Lambdas(np.array([value], np.float32), 0.0, 1)


def chosen(betas: np.ndarray, targets: np.ndarray) -> float:
    kernel = linear_kernel(betas, betas[:1])
    return float(choose_lambdas(kernel, targets, each=False, seed=0).values[0])


def test_ridge_is_scikit_learns_at_its_lambda() -> None:
    betas, targets, test = problem(0.5)
    expected = Ridge(alpha=30.0).fit(betas, targets).predict(test)
    kernel = linear_kernel(betas, test)
    found = predict_ridge(kernel, shared(30.0), columns(targets), "t")
    np.testing.assert_allclose(found.plain, expected, atol=1e-4)
    np.testing.assert_allclose(found.mean, targets.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.deviation, targets.std(axis=0), rtol=1e-5)


def test_blocks_are_the_whole_and_repeat_bit_for_bit() -> None:
    betas, targets, test = problem(0.5)
    stored = np.concatenate([np.full_like(targets[:7], np.nan), targets]).astype(np.float16)
    rows = np.arange(7, len(stored))  # stimuli of another split lie before them
    kernel = linear_kernel(betas, test)
    lambdas = Lambdas(np.array([1, 10, 1, 100, 10, 1], np.float32), 0.0, 6)
    whole, parts, again = (
        predict_ridge(kernel, lambdas, Columns(stored.reshape(-1, 2, 3), rows, block=b), "t").plain
        for b in (6, 4, 4)
    )
    np.testing.assert_allclose(parts, whole, rtol=1e-6)
    assert (parts == again).all()


def test_every_target_has_its_own_lambda_as_if_it_were_alone() -> None:
    clean, noisy = problem(0.05), problem(20.0, seed=1)
    both = np.concatenate([clean[1], noisy[1]], axis=1)
    kernel = linear_kernel(clean[0], clean[2])
    together = choose_lambdas(kernel, both, each=True, seed=0).values
    assert together[:6].max() < together[6:].min()
    for target in (0, 3, 7):
        alone = choose_lambdas(kernel, both[:, [target]], each=False, seed=0).values
        assert alone[0] == together[target]
    found = predict_ridge(kernel, Lambdas(together, 0.0, 12), columns(both), "t").plain
    for target in range(12):
        model = Ridge(alpha=together[target]).fit(clean[0], both[:, target])
        np.testing.assert_allclose(found[:, target], model.predict(clean[2]), atol=2e-3)


def test_a_constant_target_spoils_no_choice() -> None:
    betas, targets, test = problem(0.5)
    more = np.concatenate([targets, np.full((120, 1), 2, np.float32)], axis=1)
    assert chosen(betas, more) == chosen(betas, targets)
    found = predict_ridge(linear_kernel(betas, test), shared(10), columns(more), "t")
    restored = restore(found.plain, found.mean, found.deviation)
    np.testing.assert_allclose(restored[:, 6], 2, atol=1e-5)


def test_a_pixel_that_hardly_varies_does_not_choose_for_all() -> None:
    betas, targets, _ = problem(0.5)
    pixel = np.zeros((len(targets), 1), np.float32)
    pixel[3] = 1e-3  # one faint stroke: no variance but in one fold, where R2 explodes
    assert chosen(betas, np.hstack([targets, pixel])) == chosen(betas, targets)
    kernel = linear_kernel(betas, betas[:1])
    score = choose_lambdas(kernel, np.hstack([targets, pixel]), each=False, seed=0).score
    assert 0.5 < score < 1


def test_noise_is_shrunk_to_almost_nothing_and_not_predicted() -> None:
    little, much = chosen(*problem(0.05)[:2]), chosen(*problem(5.0)[:2])
    assert LAMBDAS[0] <= little < much <= LAMBDAS[-1]
    rng = np.random.default_rng(1)
    betas = rng.standard_normal((300, 60)).astype(np.float32)
    targets = rng.standard_normal((300, 400)).astype(np.float32)
    lam = chosen(betas[:200], targets[:200])
    assert lam > 1e4  # the largest eigenvalue of the kernel is about 500
    kernel = linear_kernel(betas[:200], betas[200:])
    found = predict_ridge(kernel, shared(lam), columns(targets[:200]), "t").plain
    assert found.std() < 0.1 * targets.std() + targets[:200].mean(axis=0).std()
    true = targets[200:] - targets[:200].mean(axis=0)
    scores = (found - targets[:200].mean(axis=0)) @ true.T
    assert (scores.argmax(axis=1) == np.arange(100)).mean() < 0.06  # chance is 0.01


def test_restored_predictions_have_the_spread_of_the_targets() -> None:
    betas, targets, test = problem(2.0)
    found = predict_ridge(linear_kernel(betas, test), shared(50), columns(targets), "t")
    restored = restore(found.plain, found.mean, found.deviation)
    assert (found.plain.std(axis=0) < targets.std(axis=0)).all()
    np.testing.assert_allclose(restored.std(axis=0), targets.std(axis=0), rtol=1e-3)
    np.testing.assert_allclose(restored.mean(axis=0), targets.mean(axis=0), atol=1e-3)
    for k in range(6):
        assert np.corrcoef(found.plain[:, k], restored[:, k])[0, 1] == pytest.approx(1, abs=1e-4)


def test_restoring_by_hand() -> None:
    plain = np.array([[1, 5], [3, 5]], np.float32)  # mean 2, spread 1; and one without a spread
    restored = restore(plain, np.array([10, 4], np.float32), np.array([2, 3], np.float32))
    np.testing.assert_allclose(restored, [[8, 5], [12, 5]])


def test_one_stimulus_alone_keeps_its_prediction() -> None:
    plain = np.array([[0.5, -2.0]], np.float32)
    assert (restore(plain, np.ones(2, np.float32), np.ones(2, np.float32)) == plain).all()


def test_one_training_stimulus_and_other_voxels_are_refused() -> None:
    with pytest.raises(DataError, match="needs two"):
        linear_kernel(np.ones((1, 3), np.float32), np.ones((1, 3), np.float32))
    with pytest.raises(DataError, match="3 voxels in training, 4 in test"):
        linear_kernel(np.ones((5, 3), np.float32), np.ones((1, 4), np.float32))


def test_the_callers_back_end_of_himalaya_stays_as_it_was() -> None:
    from himalaya.backend import get_backend, set_backend

    before = get_backend().name
    rng = np.random.default_rng(0)
    betas = rng.standard_normal((12, 4), dtype=np.float32)
    try:
        set_backend("torch")
        choose_lambdas(linear_kernel(betas, betas), betas, each=False, seed=0)
        assert get_backend().name == "torch"
    finally:
        set_backend(before)
