"""Intervals: how far a mean over stimuli could be from where it is.

Percentile bootstrap over stimuli (Efron & Tibshirani 1993, chapter 13): stimuli are drawn with
replacement, the statistic is recomputed, and the interval runs between the outer quantiles.
Chosen over BCa because scores near 0 or 1 (a decoder that always hits) make BCa undefined.
The interval speaks for other stimuli of the same kind seen by the same decoder; it does not
contain the variation between training seeds or subjects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError

Statistic = Callable[..., Any]
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float


def bootstrap_interval(
    values: NDArray[Any],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    statistic: Statistic = np.mean,
) -> Interval:
    """Percentile bootstrap interval of a statistic over stimuli.

    Parameters
    ----------
    values : array (n,)
        One finite value per stimulus.
    rng : numpy.random.Generator
        Draws the resamples; the same state gives the same interval.
    level : float
        Coverage aimed at, between 0 and 1.
    resamples : int
        Bootstrap samples.
    statistic : callable
        Takes ``(array, axis=-1)``, as `numpy.mean` and `numpy.median` do.

    Returns
    -------
    Interval
        The statistic of ``values`` and the quantiles (1 - level) / 2 and (1 + level) / 2 of
        its resampled values. If all values are equal the interval has no width, which is a
        statement about the sample: read it together with n.

    Raises
    ------
    DataError
        If there is no value, or one is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise DataError(f"an interval needs one value per stimulus, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise DataError(f"{int((~np.isfinite(values)).sum())} of {values.size} values not finite")
    if not 0 < level < 1:
        raise DataError(f"level must lie between 0 and 1, got {level}")
    n = values.size
    step = max(1, _CELLS_AT_ONCE // n)
    drawn = [
        statistic(values[rng.integers(0, n, (min(step, resamples - start), n))], axis=-1)
        for start in range(0, resamples, step)
    ]
    low, high = np.quantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(values, axis=-1)), float(low), float(high))


def paired_difference(
    first: NDArray[Any],
    second: NDArray[Any],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Bootstrap interval of the mean difference ``first - second`` over the same stimuli.

    Both systems are resampled together, so what makes a stimulus easy for both cancels: the
    interval is narrower than two separate ones suggest. It excludes 0 if the systems differ.

    Parameters
    ----------
    first, second : array (n,)
        Scores of two systems, in the same stimulus order.
    rng : numpy.random.Generator
        Draws the resamples.
    level, resamples
        As in `bootstrap_interval`.

    Raises
    ------
    DataError
        If the two do not have one value for every stimulus.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape:
        raise DataError(f"paired scores must match: {first.shape} and {second.shape}")
    return bootstrap_interval(first - second, rng, level=level, resamples=resamples)
