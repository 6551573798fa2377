"""Claims about intervals, floors and the effective rank."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mindeye.errors import DataError
from mindeye.evaluation import identification
from mindeye.evaluation.controls import collapse, floors
from mindeye.evaluation.uncertainty import bootstrap_interval, paired_difference


def test_the_interval_matches_scipys_percentile_bootstrap() -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(0).beta(2, 3, size=150)
    found = bootstrap_interval(values, np.random.default_rng(1), resamples=20_000)
    expected = bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert found.value == values.mean()
    assert found.low == pytest.approx(expected.low, abs=2e-3)
    assert found.high == pytest.approx(expected.high, abs=2e-3)


def test_the_95_interval_covers_the_truth_about_95_times_of_100() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        found = bootstrap_interval(rng.normal(size=60), rng, resamples=400)
        covered += found.low <= 0.0 <= found.high
    assert 0.90 <= covered / 300 <= 0.985


def test_same_generator_state_same_interval() -> None:
    values = np.random.default_rng(0).random(50)
    assert bootstrap_interval(values, np.random.default_rng(5)) == bootstrap_interval(
        values, np.random.default_rng(5)
    )


def test_resampling_in_blocks_draws_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(50)
    whole = bootstrap_interval(values, np.random.default_rng(5), resamples=101)
    monkeypatch.setattr("mindeye.evaluation.uncertainty._CELLS_AT_ONCE", 500)
    assert bootstrap_interval(values, np.random.default_rng(5), resamples=101) == whole


def test_pairing_narrows_the_interval_of_a_difference() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(size=200)
    first, second = hard + 0.1 + 0.05 * rng.normal(size=200), hard
    found = paired_difference(first, second, rng)
    alone = bootstrap_interval(first, rng)
    assert found.low > 0
    assert found.high - found.low < (alone.high - alone.low) / 5


def test_an_interval_of_nan_is_refused() -> None:
    with pytest.raises(DataError, match="1 of 3 values not finite"):
        bootstrap_interval(np.array([1.0, np.nan, 2.0]), np.random.default_rng(0))


def test_the_shuffled_floor_of_perfect_predictions_is_chance() -> None:
    features = np.random.default_rng(0).normal(size=(60, 10))
    table = identification.two_way_table(features, features)
    assert np.diagonal(table).mean() == 1.0
    floor = floors.shuffled_floor(table, np.random.default_rng(1), shuffles=500)
    assert floor.low < 0.5 < floor.high
    assert floor.value == pytest.approx(0.5, abs=0.01)


def test_the_slow_floor_agrees_with_the_table_floor() -> None:
    table = np.random.default_rng(0).random((40, 40))
    fast = floors.shuffled_floor(table, np.random.default_rng(1), shuffles=2000)
    slow = floors.shuffled_floor_of(
        lambda left, right: float(table[left, right].mean()),
        40,
        np.random.default_rng(2),
        shuffles=2000,
    )
    assert slow.value == pytest.approx(fast.value, abs=0.005)
    assert slow.low == pytest.approx(fast.low, abs=0.01)


def test_the_nearest_training_picture_is_found_by_angle_not_length() -> None:
    training = torch.tensor([[100.0, 0.0], [0.1, 0.1], [0.0, 1.0]])
    predicted = torch.tensor([[3.0, 2.9], [0.0, 7.0]])
    assert floors.nearest_training_picture(predicted, training).tolist() == [1, 2]


def test_effective_rank_counts_the_dimensions_used() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(50, 50)))[0]
    spread = rng.normal(size=(4000, 5)) @ basis[:5]
    line = rng.normal(size=(4000, 1)) @ basis[:1]
    assert collapse.effective_rank(spread + 7) == pytest.approx(5, abs=0.05)
    assert collapse.effective_rank(line) == pytest.approx(1)
    assert collapse.effective_rank(np.ones((10, 3))) == 0.0


def test_effective_rank_is_the_same_from_either_side() -> None:
    x = np.random.default_rng(0).normal(size=(30, 12))
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T))
    expected = eigenvalues.sum() ** 2 / np.square(eigenvalues).sum()
    assert collapse.effective_rank(x) == pytest.approx(expected)
    wide = np.hstack([x, np.zeros((30, 100))])
    assert collapse.effective_rank(wide) == pytest.approx(expected)


def test_a_system_does_not_differ_from_itself() -> None:
    hits = (np.random.default_rng(0).random(40) < 0.5).astype(float)
    found = paired_difference(hits, hits, np.random.default_rng(1))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_a_difference_changes_its_sign_with_the_order_of_the_systems() -> None:
    rng = np.random.default_rng(0)
    good, poor = (rng.random(80) < 0.8).astype(float), (rng.random(80) < 0.2).astype(float)
    up = paired_difference(good, poor, np.random.default_rng(1))
    down = paired_difference(poor, good, np.random.default_rng(1))
    assert up.low > 0 > down.high
    assert (down.value, down.low, down.high) == pytest.approx((-up.value, -up.high, -up.low))


def test_systems_of_different_stimuli_are_not_paired() -> None:
    with pytest.raises(DataError, match="paired scores must match"):
        paired_difference(np.ones(3), np.ones(4), np.random.default_rng(0))
