"""N-way curves: how identification falls as the number of alternatives grows.

A truth that r of the N - 1 others beat wins against n - 1 of them, drawn without replacement, with
probability C(N - 1 - r, n - 1) / C(N - 1, n - 1) (`retrieval.expected_nway_success`): exact, so
that nothing is drawn but the resamples of the interval. Ranks are in the table already: they are
the scores per stimulus of ``..._median_rank``, and follow from those of ``two_way_...``, the share
of others that the truth beats.

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
from mindeye.metrics.scoring import Scoring, interval
from mindeye.metrics.table import Scored
from mindeye.retrieval import expected_nway_success

CONTROL = "nway"
SIZES = (2, 5, 10, 20, 50, 100, 200, 300, 500, 1000)
"""Alternatives, the truth included, as far as there are stimuli."""

_MEDIAN = "_median_rank"


def nway_curves(
    rows: Sequence[Scored],
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
    sizes: Sequence[int] = SIZES,
) -> list[Point]:
    """Curves of all rows that hold ranks: ``two_way_...`` and ``..._median_rank``.

    Parameters
    ----------
    rows : sequence of Scored
        Of one or several systems, as `picture_rows` and `retrieval_rows` give them.
    rng : numpy.random.Generator
        Resamples of the intervals.
    scoring : Scoring
        Resamples and level.
    sizes : sequence of int
        As in `nway_points`.

    Returns
    -------
    list of Point
        Those of a network under its row's name, whose value is the point at 2; those of retrieval
        under ``brain_to_image_top1`` and ``image_to_brain_top1``.
    """
    points: list[Point] = []
    for one in rows:
        metric, ranks = _ranks(one)
        if ranks is not None:
            points += nway_points(
                one.row.system, metric, ranks, rng=rng, scoring=scoring, sizes=sizes
            )
    return points


def _ranks(one: Scored) -> tuple[str, NDArray[np.float64] | None]:
    """Return the curve's metric and the ranks (N,) behind a row, None where it has none."""
    metric, values = one.row.metric, one.values
    if values is None or not (metric.startswith("two_way_") or metric.endswith(_MEDIAN)):
        return metric, None
    if metric.endswith(_MEDIAN):
        return f"{metric.removesuffix(_MEDIAN)}_top1", values
    # Ranks are multiples of a half; the share was rounded to float64.
    return metric, np.round(2 * (1 - values) * (len(values) - 1)) / 2


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
        Names of the points.
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
    found = np.asarray(ranks, dtype=np.float64)
    n = len(found)
    if found.ndim != 1 or not ((found >= 0) & (found <= n - 1)).all():
        raise DataError(f"{metric} of {system}: ranks must lie between 0 and {n - 1}")
    how = scoring or Scoring()
    points = []
    for size in sizes:
        if not 2 <= size <= n:
            continue
        success = expected_nway_success(torch.from_numpy(found), n, size).numpy()
        bounds = interval(success, rng, how)
        points.append(
            Point(
                CONTROL, str(size), system, metric, bounds.value, bounds.low, bounds.high, n,
                chance=1 / size,
            )
        )  # fmt: skip
    return points
