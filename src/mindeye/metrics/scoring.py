"""How results are scored: pools, resamples, shuffles; and the interval that all rows share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.metrics.uncertainty import Interval, Statistic, bootstrap_interval


@dataclass(frozen=True)
class Scoring:
    """How results are scored.

    Parameters
    ----------
    candidates
        Pool size of the n-way retrieval (300 in the paper).
    draws
        Random pools (30 in the paper).
    resamples
        Bootstrap resamples over stimuli.
    level
        Level of every interval.
    shuffles
        Random pairings behind every floor.
    slow_shuffles, slow_stimuli
        The same for pixel metrics, which are too slow for a table of all pairs: few pairings,
        of at most that many stimuli.
    as_published
        Add to the note of a row the name under which the authors' tables print it.
    """

    candidates: int = 300
    draws: int = 30
    resamples: int = 2000
    level: float = 0.95
    shuffles: int = 200
    slow_shuffles: int = 3
    slow_stimuli: int = 100
    as_published: bool = False


def interval(
    values: NDArray[Any], rng: np.random.Generator, how: Scoring, statistic: Statistic = np.mean
) -> Interval:
    """Bootstrap interval of a statistic under the given settings."""
    return bootstrap_interval(
        values, rng, level=how.level, resamples=how.resamples, statistic=statistic
    )
