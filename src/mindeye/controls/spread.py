"""Spread over candidates: how much of a score is the luck, or the choice, of a draw.

A system that draws k candidates a stimulus and shows one has a score at k = 1 (any draw, no
choice), a score of the choice, and between the two what choosing added.

Axes: n candidates, S test stimuli.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mindeye.controls.measures import Measure, improvement, point_of
from mindeye.errors import DataError
from mindeye.metrics.points import Finding, Point
from mindeye.metrics.scoring import Scoring, interval
from mindeye.metrics.uncertainty import Interval

CONTROL = "candidates"
TOO_OFTEN = 0.9
"""Share of stimuli whose best candidate by the score itself was picked, from which a choice is
suspected of having seen the answer. Our choice; asked from `FEWEST` clear cases on."""
FEWEST = 20


def candidate_spread(
    measure: Measure,
    scores: NDArray[np.floating],
    picks: NDArray[np.integer] | None = None,
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
) -> tuple[list[Point], list[Finding]]:
    """Say what single candidates score, how far they lie apart, and what choosing added.

    Parameters
    ----------
    measure
        System, metric, chance and direction; its values are not looked at.
    scores
        (n, S) of every candidate, n at least 2.
    picks
        (S,) candidate that was shown; without it nothing is said about the choice.
    rng, scoring
        Generator, and settings, of the bootstrap intervals.

    Returns
    -------
    tuple
        Points: ``candidate 1`` ... (k = 1 each); ``k = 1``, the mean over candidates;
        ``sd within stimulus``, the standard deviation over candidates (n - 1), mean over stimuli;
        and with picks ``picked``, ``gain of picking`` (paired interval of picked - mean; positive
        is better whatever the direction; chance 0) and ``best of n``, which picks by the truth
        and is no system. One finding with picks: a warning if the best candidate by the score
        itself was picked for `TOO_OFTEN` of the stimuli and more.
    """
    how, table = scoring or Scoring(), _table(scores)
    n, s = table.shape
    made = {f"candidate {i + 1}": table[i] for i in range(n)} | {"k = 1": table.mean(axis=0)}
    points = [
        point_of(CONTROL, name, replace(measure, values=row), rng=rng, scoring=how)
        for name, row in made.items()
    ]
    sd = table.std(axis=0, ddof=1)
    points.append(_bare("sd within stimulus", measure, interval(sd, rng, how), s))
    if picks is None:
        return points, []
    index = np.asarray(picks)
    if index.shape != (s,) or index.min() < 0 or index.max() >= n:
        raise DataError(f"picks must name one of {n} candidates for each of {s} stimuli")
    picked = table[index, np.arange(s)]
    best = (measure.sign * table).max(axis=0) * measure.sign
    k1 = points[n].value
    for name, row in (("picked", picked), ("best of n", best)):
        own = replace(measure, values=row)
        points.append(point_of(CONTROL, name, own, rng=rng, scoring=how, reference=k1))
    shown, any_draw = (replace(measure, values=row) for row in (picked, made["k = 1"]))
    gain = improvement(shown, any_draw, rng, how)
    points.append(_bare("gain of picking", measure, gain, s, chance=0.0))
    return points, [_choice(measure, table * measure.sign, picked * measure.sign, gain)]


def _table(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or len(table) < 2 or not table.shape[1]:
        raise DataError(f"a spread needs scores of 2 candidates at least, got shape {table.shape}")
    if not np.isfinite(table).all():
        raise DataError("scores of candidates contain NaN or infinity")
    return table


def _bare(
    condition: str,
    measure: Measure,
    bounds: Interval,
    n: int,
    *,
    chance: float | None = None,
) -> Point:
    """Return a point that is no score but a difference or a spread."""
    return Point(
        CONTROL, condition, measure.system, measure.metric, bounds.value, bounds.low, bounds.high,
        n, chance,
    )  # fmt: skip


def _choice(
    measure: Measure,
    table: NDArray[np.float64],
    picked: NDArray[np.float64],
    gain: Interval,
) -> Finding:
    """Say what choosing added, and whether it looks as if it had seen the answer."""
    ordered = np.sort(table, axis=0)
    clear = ordered[-1] > ordered[-2]
    hits = float((picked[clear] == ordered[-1][clear]).mean()) if clear.any() else 0.0
    text = (
        f"{measure.metric}: picking one of {len(table)} candidates changes the score by "
        f"{gain.value:+.3f} (from {gain.low:+.3f} to {gain.high:+.3f}; positive is better)"
    )
    if clear.sum() >= FEWEST and hits >= TOO_OFTEN:
        text += (
            f"; the best candidate by the score itself was picked for {hits:.0%} of stimuli: the "
            "choice may have seen the answer"
        )
        return Finding(CONTROL, measure.system, False, f"{text}.")
    return Finding(CONTROL, measure.system, True, f"{text}.")
