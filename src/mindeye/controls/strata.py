"""Scores by how near a test picture is to training: near, middle, far, and the rank correlation.

If a system scores well only where a look-alike was trained on, its table says how well it looks
up, not how well it decodes (Shirakawa et al. 2024, arXiv 2405.10078).

Axes: S test stimuli, B resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mindeye.controls.measures import Measure, known_values, least_gain, point_of
from mindeye.controls.nearness import CONTROL
from mindeye.errors import DataError
from mindeye.metrics.points import Finding, Point
from mindeye.metrics.scoring import Scoring

NAMES = ("near", "middle", "far")
FEWEST = 10
"""Stimuli a stratum needs before a finding rests on it. Our choice."""


def strata(similarity: NDArray[np.floating]) -> dict[str, NDArray[np.int64]]:
    """Split stimuli into near, middle and far by tertiles.

    Parameters
    ----------
    similarity
        (S,) similarity of every test picture to its nearest training picture, S at least 3.

    Returns
    -------
    dict
        Rows of every stratum, in the order of `NAMES`, equally large to one stimulus whatever the
        ties.
    """
    values = np.asarray(similarity, dtype=np.float64)
    if values.ndim != 1 or len(values) < 3 or not np.isfinite(values).all():
        raise DataError(f"strata need 3 finite similarities at least, got shape {values.shape}")
    parts = np.array_split(np.argsort(-values, kind="stable"), 3)
    return {name: np.sort(rows) for name, rows in zip(NAMES, parts, strict=True)}


def stratified(
    similarity: NDArray[np.floating],
    measures: Sequence[Measure],
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
) -> tuple[list[Point], list[Finding]]:
    """Score every measure near to training and far from it.

    A system is warned of if most of its metrics that beat chance with all stimuli (i) beat it
    among the near ones, (ii) do not among the far ones (their intervals hold chance, with at least
    `FEWEST` stimuli) and (iii) rise with nearness (interval of Spearman's rho above 0).

    Parameters
    ----------
    similarity
        (S,) of every test stimulus to its nearest training stimulus.
    measures
        Measures of any systems, each of the same S stimuli.
    rng, scoring
        Generator, and settings, of the bootstrap intervals.

    Returns
    -------
    tuple
        For every measure its strata (reference: all stimuli) and ``spearman`` (chance 0; above 0
        if nearer pictures score better, whatever the metric's direction); a finding a system.
    """
    groups = strata(similarity)
    points: list[Point] = []
    fallen: list[tuple[str, bool]] = []
    for measure in measures:
        if len(measure.values) != len(similarity):
            raise DataError(
                f"{measure.metric} of {measure.system}: {len(measure.values)} scores for "
                f"{len(similarity)} similarities"
            )
        made, falls = _one(similarity, measure, groups, rng, scoring or Scoring())
        points += made
        if falls is not None:
            fallen.append((measure.system, falls))
    ordered = sorted(fallen, key=lambda pair: pair[0])
    return points, [
        _finding(system, [falls for _, falls in pairs])
        for system, pairs in groupby(ordered, key=lambda pair: pair[0])
    ]


def _one(
    similarity: NDArray[np.floating],
    measure: Measure,
    groups: dict[str, NDArray[np.int64]],
    rng: np.random.Generator,
    how: Scoring,
) -> tuple[list[Point], bool | None]:
    """Points of one measure and whether it falls to chance; None if it never beats chance."""
    whole = point_of(CONTROL, "all", measure, rng=rng, scoring=how)
    made = {}
    for name, rows in groups.items():
        part = replace(measure, values=measure.values[rows])
        if part.known.any():
            made[name] = point_of(CONTROL, name, part, rng=rng, scoring=how, reference=whole.value)
    rho = _spearman(similarity, measure, rng, how)
    points = [whole, *made.values(), rho]
    gain = least_gain(whole, measure)
    if gain is None or gain <= 0:
        return points, None
    near, far = made.get("near"), made.get("far")
    if near is None or far is None or far.n < FEWEST or rho.low is None:
        return points, False
    near_gain, far_gain = least_gain(near, measure), least_gain(far, measure)
    assert near_gain is not None
    assert far_gain is not None
    return points, near_gain > 0 >= far_gain and rho.low > 0


def _spearman(
    similarity: NDArray[np.floating], measure: Measure, rng: np.random.Generator, how: Scoring
) -> Point:
    """Spearman's rho of score and nearness, stimuli resampled in pairs (percentile bootstrap)."""
    values = known_values(measure, CONTROL) * measure.sign
    nearness = np.asarray(similarity, dtype=np.float64)[measure.known]
    n, note = len(values), "above 0: nearer pictures score better"
    if n < 3 or np.ptp(values) == 0 or np.ptp(nearness) == 0:
        note += "; undefined, all scores or similarities are equal"
        return Point(CONTROL, "spearman", measure.system, measure.metric, 0.0, None, None, n, 0.0,
                     note=note)  # fmt: skip
    value = float(stats.spearmanr(nearness, values).statistic)
    rows = rng.integers(0, n, (how.resamples, n))
    rhos = _row_correlation(
        stats.rankdata(nearness[rows], axis=1), stats.rankdata(values[rows], axis=1)
    )
    low, high = np.quantile(rhos, [(1 - how.level) / 2, (1 + how.level) / 2])
    return Point(
        CONTROL, "spearman", measure.system, measure.metric, value, float(low), float(high), n, 0.0,
        note=note,
    )  # fmt: skip


def _row_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson r of matching rows (B, S); 0 where one does not vary."""
    a = a - a.mean(axis=1, keepdims=True)
    b = b - b.mean(axis=1, keepdims=True)
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.asarray((a * b).sum(axis=1) / np.where(size == 0, 1, size))


def _finding(system: str, falls: list[bool]) -> Finding:
    fallen, known = sum(falls), len(falls)
    if 2 * fallen > known:
        text = (
            f"{fallen} of {known} metrics that beat chance fall to it on the test pictures least "
            "like any training picture: scores rest on look-alikes in training."
        )
        return Finding(CONTROL, system, False, text)
    text = (
        f"{known - fallen} of {known} metrics that beat chance do so without look-alikes in "
        "training, or do not depend on them."
    )
    return Finding(CONTROL, system, True, text)
