"""Paired tests: is one system better than another on the same stimuli, or on the same subjects.

Scores of both systems are paired by stimulus, so that what makes a stimulus easy for both cancels.
Beside the difference stand its bootstrap interval, the p of a sign-flip permutation test, that p
adjusted for all tests of the comparison, and the size of the effect.

Axes: S stimuli, M subjects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError, UsageError
from mindeye.metrics.registry import metric
from mindeye.metrics.uncertainty import Interval, Statistic, group_difference, paired_difference

A_BETTER, B_BETTER, NEITHER, SAME = "A better", "B better", "neither", "same"

_BATCH = 2_000_000
"""Signs that are drawn at a time, so that a test of many stimuli keeps to some 100 MB."""


@dataclass(frozen=True)
class PairedConfig:
    """How two systems are compared.

    Parameters
    ----------
    level
        Level of the intervals, between 0 and 1; a verdict takes an adjusted p below 1 - level.
    resamples
        Bootstrap resamples, and permutations where not all can be counted out.
    seed
        Seed of both; every metric of every system has a random stream of its own.

    Raises
    ------
    UsageError
        If the level, the resamples or the seed make no sense.
    """

    level: float = 0.95
    resamples: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise UsageError(f"--level must lie between 0 and 1, like 0.95, not {self.level}")
        if self.resamples < 100:
            raise UsageError(f"--resamples must be at least 100, not {self.resamples}")
        if self.seed < 0:
            raise UsageError(f"--seed must not be negative, got {self.seed}")


class Difference(NamedTuple):
    """What system A scores more than system B.

    Attributes
    ----------
    a, b
        Score of either on the stimuli that both have.
    difference, low, high
        A - B and the ends of its bootstrap interval.
    p
        p of the sign-flip permutation test, two-sided.
    effect
        Mean of the differences over their standard deviation (Cohen's d_z; Lakens 2013, Frontiers
        in Psychology 4:863, equation 6); None where there is none.
    n
        Number of stimuli.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    effect: float | None
    n: int


def sign_flip_p(
    first: NDArray[Any],
    second: NDArray[Any],
    rng: np.random.Generator,
    *,
    resamples: int = 10_000,
    statistic: Statistic = np.mean,
) -> float:
    """Two-sided p of a paired permutation test: which of the two scored what is exchanged.

    If the systems do not differ, a stimulus could as well have had its two scores the other way
    round, which flips the sign of its difference (Good 2005, Permutation, Parametric and Bootstrap
    Tests of Hypotheses, section 3.2; `scipy.stats.permutation_test` with ``"samples"``).

    Parameters
    ----------
    first, second : array (S,)
        Finite scores of two systems in the same order of stimuli.
    rng : numpy.random.Generator
        Draws the permutations.
    resamples : int
        Permutations drawn; if there are no more than these, all are counted and p is exact.
    statistic : callable
        What makes a score of either system, with ``axis``; tested is the difference of the two.

    Returns
    -------
    float
        In (0, 1]; at least 2 / 2^S where exact and 2 / (resamples + 1) where drawn (Phipson &
        Smyth 2010: the observed order counts as one). 1 if all pairs are equal.

    Raises
    ------
    DataError
        If the scores do not pair up.
    """
    from scipy.stats import permutation_test

    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise DataError(f"a paired test needs pairs, got shapes {first.shape} and {second.shape}")
    unequal = first != second
    if unequal.sum() < 2:
        # One pair the other way round is as far from 0: 2 / 2^1. SciPy wants two.
        return 1.0
    if statistic is np.mean:
        # Ties add 0 whatever their sign: without them few pairs can be counted out exactly.
        data: tuple[NDArray[np.float64], ...] = ((first - second)[unequal],)

    else:
        data = (first, second)

    def tested(*scores: NDArray[np.float64], axis: int) -> Any:
        each = [statistic(one, axis=axis) for one in scores]
        return each[0] if len(each) == 1 else each[0] - each[1]

    result = permutation_test(
        data,
        tested,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _BATCH // data[0].size),
        rng=rng,
    )
    return float(result.pvalue)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Adjust p for the number of tests: false discovery rate by Benjamini & Hochberg (1995).

    Calling all tests with an adjusted p below q different makes, on average, at most a share q of
    the calls wrong, if tests are independent or positively dependent, as metrics of the same
    pictures are.
    """
    from scipy.stats import false_discovery_control

    if not p_values:
        return []
    return [float(p) for p in false_discovery_control(np.asarray(p_values), method="bh")]


def difference_of(
    first: NDArray[Any],
    second: NDArray[Any],
    rng: np.random.Generator,
    config: PairedConfig,
    *,
    statistic: Statistic = np.mean,
) -> Difference:
    """Compare two systems on the same stimuli of one subject.

    Parameters
    ----------
    first, second : array (S,)
        Finite scores of A and of B in the same order of stimuli.
    rng : numpy.random.Generator
        Draws resamples and permutations.
    config : PairedConfig
        Level and resamples.
    statistic : callable
        What makes a score of the scores per stimulus, with ``axis``.

    Raises
    ------
    DataError
        If the scores do not pair up or are not finite.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    bounds = paired_difference(
        first, second, rng, level=config.level, resamples=config.resamples, statistic=statistic
    )
    p = sign_flip_p(first, second, rng, resamples=config.resamples, statistic=statistic)
    a, b = (float(statistic(values, axis=-1)) for values in (first, second))
    return _difference(a, b, bounds, p, first - second, first.size)


def group_difference_of(
    pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]],
    rng: np.random.Generator,
    config: PairedConfig,
    *,
    statistic: Statistic = np.mean,
) -> Difference:
    """Compare two systems over subjects, each a random draw from many.

    The interval is `group_difference`'s. Signs are flipped for whole subjects, since it is
    subjects that are independent: with M of them p is at least 2 / 2^M, and fewer than six cannot
    reach .05 however clear they are. The effect is over subjects too.

    Parameters
    ----------
    pairs : sequence of M pairs of arrays (S_m,)
        Scores of A and B for every subject.
    rng, config, statistic
        Generator, settings and statistic, as `difference_of` takes them for one subject.
    """
    if len(pairs) == 1:
        return difference_of(*pairs[0], rng, config, statistic=statistic)
    bounds = group_difference(
        pairs, rng, level=config.level, resamples=config.resamples, statistic=statistic
    )
    scores = np.array([[float(statistic(x, axis=-1)) for x in pair] for pair in pairs])  # (M, 2)
    p = sign_flip_p(scores[:, 0], scores[:, 1], rng, resamples=config.resamples)
    a, b = (float(x) for x in scores.mean(axis=0))
    units = scores[:, 0] - scores[:, 1]
    return _difference(a, b, bounds, p, units, sum(first.size for first, _ in pairs))


def _difference(
    a: float, b: float, bounds: Interval, p: float, units: NDArray[np.float64], n: int
) -> Difference:
    """Put a difference together; `units` (stimuli or subjects) give the size of the effect."""
    spread = float(units.std(ddof=1)) if units.size > 1 else 0.0
    effect = float(units.mean()) / spread if spread > 0 else None
    return Difference(a, b, bounds.value, bounds.low, bounds.high, p, effect, n)


def verdict(difference: Difference, p_adjusted: float, name: str, level: float) -> str:
    """Say which system is better, if the interval leaves out 0 and the adjusted p is small.

    Parameters
    ----------
    difference
        Difference of A and B.
    p_adjusted
        p-value of the difference, adjusted for all tests.
    name
        Name of the metric, which has a direction.
    level
        Level of the intervals; an adjusted p must be below 1 - level.

    Returns
    -------
    str
        ``A better``, ``B better``, ``neither`` (not shown, which is not the same as equal), or
        ``same`` where no stimulus is scored differently.
    """
    if difference.difference == 0 and difference.effect is None:
        return SAME
    if difference.low <= 0 <= difference.high or p_adjusted >= 1 - level:
        return NEITHER
    return A_BETTER if metric(name).sign * difference.difference > 0 else B_BETTER
