"""Claims about intervals, floors and the effective rank."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mindeye.controls import collapse
from mindeye.errors import DataError
from mindeye.metrics import floors, identification
from mindeye.metrics.uncertainty import (
    Interval,
    bootstrap_interval,
    expanded_level,
    group_difference,
    paired_difference,
)


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
    monkeypatch.setattr("mindeye.metrics.uncertainty._CELLS_AT_ONCE", 500)
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
    table = identification.two_way_from_scores(identification.similarity_table(features, features))
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


def group_interval(values: list[np.ndarray], rng: np.random.Generator, **how: Any) -> Interval:
    """The interval over subjects of what is compared with nothing."""
    return group_difference([(own, np.zeros_like(own)) for own in values], rng, **how)


def coverage(subjects: int, repeats: int = 200) -> tuple[float, float]:
    """How often 95 % intervals hold the true mean: over subjects, and with stimuli pooled."""
    rng = np.random.default_rng([7, subjects])
    held = np.zeros(2)
    for _ in range(repeats):
        own = rng.normal(size=subjects)
        sizes = rng.integers(15, 45, subjects)
        values = [mean + rng.normal(size=n) for mean, n in zip(own, sizes, strict=True)]
        found = (
            group_interval(values, rng, resamples=600),
            bootstrap_interval(np.concatenate(values), rng, resamples=200),
        )
        held += [interval.low <= 0 <= interval.high for interval in found]
    return float(held[0] / repeats), float(held[1] / repeats)


@pytest.mark.parametrize("subjects", [5, 8, 16])
def test_the_group_interval_covers_the_truth_where_subjects_differ(subjects: int) -> None:
    over_subjects, pooled = coverage(subjects)
    assert 0.90 <= over_subjects <= 0.99
    assert pooled < 0.5


def test_the_group_interval_does_not_cover_less_where_subjects_hardly_differ() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(150):
        values = [0.05 * rng.normal() + rng.normal(size=30) for _ in range(6)]
        found = group_interval(values, rng, resamples=500)
        held += found.low <= 0 <= found.high
    assert held / 150 >= 0.93


def test_a_group_of_one_is_the_plain_bootstrap() -> None:
    values, other = np.random.default_rng(0).random((2, 40))
    for statistic in (np.mean, np.median):
        assert group_difference(
            [(values, other)], np.random.default_rng(1), statistic=statistic
        ) == paired_difference(values, other, np.random.default_rng(1), statistic=statistic)


def test_subjects_count_alike_whatever_their_number_of_stimuli() -> None:
    values = [np.zeros(1000), np.ones(3)]
    assert group_interval(values, np.random.default_rng(0)).value == 0.5


def test_subjects_without_spread_give_their_own_resampling_by_hand() -> None:
    """Constant subjects 0 and 1: a resample is 0, 1/2 or 1, so a 95 % interval is all of it."""
    found = group_interval([np.zeros(9), np.ones(4)], np.random.default_rng(0), resamples=999)
    assert (found.low, found.value, found.high) == (0.0, 0.5, 1.0)


def test_the_expanded_level_is_hesterbergs() -> None:
    # M = 4: t.975 with 3 degrees of freedom is 3.18245 (any table); sqrt(4/3) 3.18245 = 3.67478.
    from statistics import NormalDist

    assert expanded_level(0.95, 4) == pytest.approx(NormalDist().cdf(-3.67478), rel=1e-4)
    assert expanded_level(0.95, 100_000) == pytest.approx(0.025, rel=1e-3)


def test_the_interval_of_a_difference_of_subjects_ignores_what_they_share() -> None:
    rng = np.random.default_rng(0)
    pairs = []
    for easy in rng.normal(size=6) * 10:  # subjects differ a lot, but for both systems alike
        second = easy + rng.normal(size=50)
        pairs.append((second + 0.5 + 0.1 * rng.normal(size=50), second))
    found = group_difference(pairs, np.random.default_rng(1))
    assert 0.4 < found.low < found.value < found.high < 0.6
    alone = group_interval([first for first, _ in pairs], np.random.default_rng(1))
    assert alone.high - alone.low > 5


def test_a_difference_of_medians_is_not_the_median_of_differences() -> None:
    first, second = np.array([0.0, 1, 10]), np.array([3.0, 0, 1])
    found = paired_difference(first, second, np.random.default_rng(0), statistic=np.median)
    assert found.value == 0.0  # medians 1 and 1; the median difference would be 1


def test_a_group_without_sound_values_is_refused() -> None:
    rng = np.random.default_rng(0)
    for values, message in (
        ([], "at least one subject"),
        ([np.ones(2), np.empty(0)], "one value per stimulus"),
        ([np.ones(2), np.array([np.nan])], "1 of 1 values not finite"),
    ):
        with pytest.raises(DataError, match=message):
            group_interval(values, rng)
