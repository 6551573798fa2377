"""What controls are made of: scores per stimulus that know their chance, and rows of embeddings.

Axes: S stimuli, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.errors import DataError
from mindeye.metrics.points import Point
from mindeye.metrics.registry import find_metric
from mindeye.metrics.scoring import Scoring, interval
from mindeye.metrics.table import Scored
from mindeye.metrics.uncertainty import Interval, Statistic, paired_difference

Embeddings = Tensor | NDArray[Any]


@dataclass(frozen=True, eq=False)
class Measure:
    """Scores of one system on one metric, stimulus by stimulus.

    Attributes
    ----------
    system, metric
        Names, as in the table.
    values
        (S,) score of every stimulus, NaN where one was not scored.
    chance
        Score of guessing, None where there is none.
    """

    system: str
    metric: str
    values: NDArray[np.float64]
    chance: float | None = None

    @property
    def sign(self) -> int:
        """-1 where lower is better, otherwise 1."""
        known = find_metric(self.metric)
        return 1 if known is None else known.sign

    @property
    def statistic(self) -> Statistic:
        """What makes one score of the scores per stimulus."""
        known = find_metric(self.metric)
        return np.mean if known is None else known.statistic

    @property
    def best(self) -> float:
        """Best possible score: 1 where higher is better, 0 where lower is."""
        return float(self.sign > 0)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(S,) whether a stimulus was scored."""
        return ~np.isnan(self.values)


def measures_of(scored: Sequence[Scored]) -> list[Measure]:
    """Take the metrics with a score per stimulus out of rows of the table."""
    return [
        Measure(row.system, row.metric, np.asarray(values, dtype=np.float64), row.chance)
        for row, values in scored
        if values is not None
    ]


def difference(
    first: Measure, second: Measure, rng: np.random.Generator, scoring: Scoring
) -> Interval:
    """Paired interval of the difference of two measures, over the stimuli that both have.

    Raises
    ------
    DataError
        If they are not of the same stimuli, or no stimulus was scored by both.
    """
    if first.values.shape != second.values.shape:
        raise DataError(
            f"{first.metric}: {len(first.values)} and {len(second.values)} stimuli do not pair up"
        )
    both = first.known & second.known
    if not both.any():
        raise DataError(f"{first.metric}: no stimulus has both scores that are compared")
    return paired_difference(
        first.values[both], second.values[both], rng,
        level=scoring.level, resamples=scoring.resamples,
    )  # fmt: skip


def improvement(
    first: Measure, second: Measure, rng: np.random.Generator, scoring: Scoring
) -> Interval:
    """`difference`, positive where the first is better, whatever the direction."""
    better = [replace(one, values=one.sign * one.values) for one in (first, second)]
    return difference(better[0], better[1], rng, scoring)


def point_of(
    control: str,
    condition: str,
    measure: Measure,
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
    reference: float | None = None,
) -> Point:
    """Score a measure's stimuli under one condition, with a bootstrap interval over them.

    Raises
    ------
    DataError
        If no stimulus has a score.
    """
    known = known_values(measure, f"{control}, {condition}")
    bounds = interval(known, rng, scoring or Scoring(), measure.statistic)
    return Point(
        control, condition, measure.system, measure.metric, bounds.value, bounds.low, bounds.high,
        len(known), measure.chance, reference, "" if measure.sign > 0 else "lower is better",
    )  # fmt: skip


def known_values(measure: Measure, where: str) -> NDArray[np.float64]:
    """Return the scores that are there; an error says where there is none."""
    values = np.asarray(measure.values, dtype=np.float64)
    if values.ndim != 1:
        raise DataError(
            f"{where}: {measure.metric} of {measure.system} needs one score a stimulus, got shape "
            f"{values.shape}"
        )
    known = values[~np.isnan(values)]
    if not known.size:
        raise DataError(f"{where}: {measure.metric} of {measure.system} has no scored stimulus")
    return known


def least_gain(point: Point, measure: Measure) -> float | None:
    """Return by how much the worse end of a point's interval beats chance; None without one."""
    if point.chance is None or point.low is None or point.high is None:
        return None
    return point.low - point.chance if measure.sign > 0 else point.chance - point.high


def flat_rows(rows: Embeddings, name: str) -> NDArray[np.float32]:
    """Return embeddings (S, ...) as finite float32 rows (S, D).

    Raises
    ------
    DataError
        If there are no rows, or one holds NaN or infinity.
    """
    flat = torch.as_tensor(rows).detach().float().cpu()
    if flat.ndim < 2 or not flat.numel():
        raise DataError(f"{name} embeddings of shape {tuple(flat.shape)} are not rows of features")
    flat = flat.flatten(1)
    if not bool(torch.isfinite(flat).all()):
        raise DataError(f"{name} embeddings contain NaN or infinity")
    return np.asarray(flat.numpy())


def unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale rows to length 1; rows of zeros stay zero."""
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norm == 0, 1, norm), dtype=np.float32)
