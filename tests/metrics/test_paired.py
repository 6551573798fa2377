"""Claims about paired tests: hand values, uniform p without a difference, verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, kstest, wilcoxon

from mindeye.errors import DataError
from mindeye.metrics.paired import (
    Difference,
    PairedConfig,
    adjusted,
    difference_of,
    group_difference_of,
    sign_flip_p,
    verdict,
)
from mindeye.metrics.registry import metric
from mindeye.metrics.uncertainty import Statistic
from mindeye.seeds import named_rng

CONFIG = PairedConfig(resamples=500)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        # Sums of signed |d|; those at least as far out as the observed one, over 2^n.
        ((1, 2, 3), 2 / 8),
        ((-1, -2, -3), 2 / 8),
        ((3, 2, -1), 4 / 8),  # 6 and 4 above, -6 and -4 below
        ((3, -2, -1), 1.0),  # 0: all of them
        ((1, 0, 2), 2 / 4),  # a tie flips nothing
        ((0, 0, 0), 1.0),
        ((0, 5, 0), 1.0),  # one pair: 5 and -5
        ((5,), 1.0),
    ],
)
def test_p_of_few_stimuli_is_the_share_counted_by_hand(
    differences: tuple[float, ...], p: float
) -> None:
    first = np.array(differences, dtype=float)
    assert sign_flip_p(first + 5, np.full(first.size, 5.0), rng()) == pytest.approx(p)


def test_p_of_medians_exchanges_pairs_not_signs() -> None:
    # (1, 5) and (0, 2): medians differ by 2; exchanged by 1, -1 and -2.
    p = sign_flip_p(np.array([1.0, 5.0]), np.array([0.0, 2.0]), rng(), statistic=np.median)
    assert p == pytest.approx(2 / 4)


def test_p_of_hits_is_the_exact_binomial_one_of_mcnemars_table() -> None:
    first = np.array([1] * 8 + [0] * 2 + [1] * 200 + [0] * 90, dtype=float)
    second = np.array([0] * 8 + [1] * 2 + [1] * 200 + [0] * 90, dtype=float)
    assert sign_flip_p(first, second, rng()) == pytest.approx(binomtest(8, 10).pvalue)


def test_p_on_ranks_of_differences_is_wilcoxons() -> None:
    signed = np.array([9, 7, -3, 8, 6, 5, -1, 4, 2, 10], dtype=float)  # their own ranks
    p = sign_flip_p(signed, np.zeros(10), rng())
    assert p == pytest.approx(wilcoxon(signed, method="exact").pvalue)


def p_without_difference(statistic: Statistic) -> np.ndarray:
    draw = rng(3)
    found = []
    for _ in range(300):
        hard = draw.normal(size=25)  # what makes stimuli hard for both
        first, second = (hard + draw.gumbel(size=25) for _ in range(2))
        found.append(sign_flip_p(first, second, draw, resamples=399, statistic=statistic))
    return np.array(found)


def test_p_is_uniform_where_systems_do_not_differ() -> None:
    found = p_without_difference(np.mean)
    assert kstest(found, "uniform").pvalue > 0.01
    assert 0.02 <= np.mean(found <= 0.05) <= 0.09


def test_p_of_medians_is_never_too_small_where_systems_do_not_differ() -> None:
    """Medians tie in many orders, which makes p large at times and small never too often."""
    found = p_without_difference(np.median)
    assert kstest(found, "uniform", alternative="greater").pvalue > 0.01
    assert np.mean(found <= 0.05) <= 0.09


def test_p_of_a_difference_that_is_there_is_small_but_never_zero() -> None:
    first = rng().normal(size=100) + 1
    assert sign_flip_p(first, np.zeros(100), rng(), resamples=999) == pytest.approx(2 / 1000)


def test_scores_that_do_not_pair_up_are_refused() -> None:
    for first, second in ((np.ones(3), np.ones(4)), (np.ones(0), np.ones(0))):
        with pytest.raises(DataError, match="needs pairs"):
            sign_flip_p(first, second, rng())


def test_benjamini_hochberg_by_hand() -> None:
    assert adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert adjusted([]) == []


def test_adjusted_p_keeps_false_calls_rare_among_many_tests() -> None:
    draw, wrong = rng(1), 0
    for _ in range(100):
        p = [
            sign_flip_p(draw.normal(size=20), np.zeros(20), draw, resamples=999) for _ in range(10)
        ]
        wrong += min(adjusted(p)) < 0.05
    assert wrong <= 12  # plain p would be below .05 somewhere in about 40


def test_effect_and_scores_by_hand() -> None:
    found = difference_of(np.array([3.0, 5, 7]), np.array([2.0, 3, 4]), rng(), CONFIG)
    assert (found.a, found.b, found.difference, found.n) == (5, 3, 2, 3)
    assert found.effect == pytest.approx(2.0)  # differences 1, 2, 3
    assert found.p == pytest.approx(0.25)
    assert difference_of(np.ones(3), np.zeros(3), rng(), CONFIG).effect is None


def test_ranks_are_compared_by_their_medians() -> None:
    first, second = np.array([0.0, 0, 50]), np.array([1.0, 1, 1])
    found = difference_of(
        first, second, rng(), CONFIG, statistic=metric("brain_to_image_median_rank").statistic
    )
    assert (found.a, found.b, found.difference) == (0, 1, -1)
    assert metric("PixCorr").statistic is np.mean


def test_a_group_of_one_subject_is_that_subject() -> None:
    pair = (rng(1).normal(size=40), rng(2).normal(size=40))
    assert group_difference_of([pair], rng(), CONFIG) == difference_of(*pair, rng(), CONFIG)


def test_subjects_are_what_is_exchanged_in_a_group() -> None:
    """However many stimuli: three subjects of one mind give 2 / 2^3."""
    pairs = [(rng(m).normal(size=500) + 9, rng(9 + m).normal(size=500)) for m in range(3)]
    found = group_difference_of(pairs, rng(), CONFIG)
    assert found.p == pytest.approx(2 / 8)
    assert found.n == 1500
    assert found.low > 0


def test_subjects_count_alike_however_many_stimuli_they_saw() -> None:
    pairs = [(np.full(2, 4.0), np.zeros(2)), (np.full(100, 1.0), np.zeros(100))]
    found = group_difference_of(pairs, rng(), CONFIG)
    assert (found.a, found.b, found.difference) == (2.5, 0, 2.5)
    assert found.effect == pytest.approx(1.5 / np.std([1.5, -1.5], ddof=1) * 2.5 / 1.5)


def made(value: float, low: float, high: float, effect: float | None = 1.0) -> Difference:
    return Difference(value, 0, value, low, high, 0.01, effect, 9)


def test_a_verdict_needs_interval_and_adjusted_p_and_knows_the_direction() -> None:
    assert verdict(made(1, 0.5, 2), 0.01, "PixCorr", 0.95) == "A better"
    assert verdict(made(1, 0.5, 2), 0.01, "distance_swav", 0.95) == "B better"
    assert verdict(made(-1, -2, -0.5), 0.01, "image_to_brain_median_rank", 0.95) == "A better"
    assert verdict(made(-1, -2, -0.5), 0.01, "two_way_x", 0.95) == "B better"
    assert verdict(made(1, 0.5, 2), 0.06, "PixCorr", 0.95) == "neither"
    assert verdict(made(1, 0.5, 2), 0.06, "PixCorr", 0.90) == "A better"
    assert verdict(made(1, -0.5, 2), 0.01, "PixCorr", 0.95) == "neither"
    assert verdict(made(0, 0, 0, None), 1.0, "PixCorr", 0.95) == "same"
    # Medians may agree where stimuli do not.
    assert verdict(made(0, 0, 0, 0.1), 1.0, "brain_to_image_median_rank", 0.95) == "neither"


def test_directions_are_known() -> None:
    assert metric("distance_efficientnet_b1").lower_is_better
    assert metric("brain_to_image_median_rank").lower_is_better
    for name in ("PixCorr", "SSIM", "two_way_x", "brain_to_image_full_top5"):
        assert metric(name).direction == "higher"
    assert metric("effective_rank").direction is None


def test_every_test_has_random_numbers_of_its_own() -> None:
    one, other = (named_rng(0, "both", name).random() for name in ("PixCorr", "SSIM"))
    assert one != other
    assert one == named_rng(0, "both", "PixCorr").random()
    assert one != named_rng(1, "both", "PixCorr").random()
