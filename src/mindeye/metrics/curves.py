"""N-way curves: how identification falls as the number of alternatives grows.

A truth that r of the N - 1 others beat wins against n - 1 of them, drawn without replacement, with
probability C(N - 1 - r, n - 1) / C(N - 1, n - 1) (`retrieval.expected_nway_success`): exact, so
that nothing is drawn but the resamples of the interval. Ranks are in the table already, behind the
scores per stimulus of the metrics that say how (`Metric.ranks`).

Axes: N stimuli.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.metrics.points import Point
from mindeye.metrics.registry import find_metric
from mindeye.metrics.scoring import Scoring, interval
from mindeye.metrics.table import Scored
from mindeye.retrieval import expected_nway_success

CONTROL = "nway"
SIZES = (2, 5, 10, 20, 50, 100, 200, 300, 500, 1000)
"""Alternatives, the truth included, as far as there are stimuli."""


def nway_curves(
    rows: Sequence[Scored],
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
    sizes: Sequence[int] = SIZES,
) -> list[Point]:
    """Curves of all rows that hold ranks, such as ``two_way_...`` and ``..._median_rank``.

    Parameters
    ----------
    rows : sequence of Scored
        Rows of one or several systems, as `picture_rows` and `retrieval_rows` give them.
    rng : numpy.random.Generator
        Resamples of the intervals.
    scoring : Scoring
        Resamples and level.
    sizes : sequence of int
        Numbers of candidates n, as `nway_points` takes them.

    Returns
    -------
    list of Point
        Those of a network under its row's name, whose value is the point at 2; those of retrieval
        under ``brain_to_image_top1`` and ``image_to_brain_top1``.
    """
    points: list[Point] = []
    for one in rows:
        known = find_metric(one.row.metric)
        if one.values is not None and known is not None and known.ranks is not None:
            points += nway_points(
                one.row.system, known.curve, known.ranks(one.values),
                rng=rng, scoring=scoring, sizes=sizes,
            )  # fmt: skip
    return points


def nway_points(
    system: str,
    metric: str,
    ranks: NDArray[Any],
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
    sizes: Sequence[int] = SIZES,
) -> list[Point]:
    """Top-1 identification among n, for several n.

    Parameters
    ----------
    system, metric : str
        Names that the points get.
    ranks : array (N,)
        0-based rank of every truth among all N, ties half.
    rng : numpy.random.Generator
        Resamples of the intervals.
    scoring : Scoring
        Resamples and level.
    sizes : sequence of int
        Numbers of alternatives n, the truth included; those beyond N are left out.

    Returns
    -------
    list of Point
        ``control`` nway, ``condition`` n, ``chance`` 1 / n; the interval is over stimuli.

    Raises
    ------
    DataError
        If a rank is not finite or lies outside 0 to N - 1.
    """
    checked = np.asarray(ranks, dtype=np.float64)
    n = len(checked)
    if checked.ndim != 1 or not ((checked >= 0) & (checked <= n - 1)).all():
        raise DataError(f"{metric} of {system}: ranks must lie between 0 and {n - 1}")
    how = scoring or Scoring()
    points = []
    for size in sizes:
        if not 2 <= size <= n:
            continue
        success = expected_nway_success(torch.from_numpy(checked), n, size).numpy()
        bounds = interval(success, rng, how)
        points.append(
            Point(
                CONTROL, str(size), system, metric, bounds.value, bounds.low, bounds.high, n,
                chance=1 / size,
            )
        )  # fmt: skip
    return points
