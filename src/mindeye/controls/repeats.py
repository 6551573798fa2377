"""Trials averaged: whether a score rises when the brain signal gets cleaner.

Averaging r trials divides the noise variance by r, so that scores that come from the signal rise
with r, unless they are at their limit. Scores that come from what all trials of a stimulus share
otherwise (their order, a leak) do not.

Axes: S test stimuli.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mindeye.controls.measures import Measure, improvement, least_gain, point_of
from mindeye.errors import DataError
from mindeye.metrics.points import Finding, Point
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.uncertainty import Interval

CONTROL = "trials_averaged"
SMALL_RISE = 0.1
"""A curve counts as flat if even the upper end of its rise is under this share of the gain over
chance with most trials. Our choice."""
NEAR_LIMIT = 0.05
"""No rise is asked for if one trial reaches the limit to within this share of limit - chance."""


def trials_curve(
    by_trials: Mapping[int, Sequence[Measure]],
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
) -> tuple[list[Point], list[Finding]]:
    """Score predictions from one trial, the mean of two, and so on.

    Parameters
    ----------
    by_trials
        Number of trials averaged to the measures of the predictions from them: the same metrics of
        the same systems and the same S stimuli everywhere.
    rng, scoring
        Generator, and settings, of the bootstrap intervals.

    Returns
    -------
    tuple
        Points ``1 trial``, ``2 trials`` ... of each metric in rising order (reference: with most
        trials), and a finding for each metric that has a chance level. It is a warning only where
        the curve is flat: the score with most trials beats chance, one trial is not at the limit,
        and the paired interval of the rise ends below `SMALL_RISE` of the gain over chance.
    """
    counts = sorted(by_trials)
    if not counts or counts[0] < 1:
        raise DataError(f"numbers of trials must be 1 and up, got {counts}")
    how = scoring or Scoring()
    points: list[Point] = []
    findings: list[Finding] = []
    keys = [(m.system, m.metric) for m in by_trials[counts[0]]]
    for count in counts:
        if [(m.system, m.metric) for m in by_trials[count]] != keys:
            raise DataError(f"predictions from {count} trials have other metrics than {counts[0]}")
    for row in range(len(keys)):
        measures = {count: by_trials[count][row] for count in counts}
        last = measures[counts[-1]]
        reference = float(last.statistic(last.values[last.known], axis=-1))
        curve = [
            point_of(
                CONTROL, f"{n} trial" + "s" * (n > 1), m, rng=rng, scoring=how, reference=reference
            )
            for n, m in measures.items()
        ]
        points += curve
        if len(counts) > 1 and last.chance is not None:
            rise = improvement(last, measures[counts[0]], rng, how)
            findings.append(_finding(curve, rise, last))
    return points, findings


def _finding(curve: list[Point], rise: Interval, measure: Measure) -> Finding:
    start, end, limit = curve[0], curve[-1], measure.best
    figures = (
        f"{measure.metric} goes from {start.value:.3f} ({start.condition}) to {end.value:.3f} "
        f"({end.condition}); mean change for the better {rise.value:+.3f}, from {rise.low:+.3f} to "
        f"{rise.high:+.3f}"
    )
    gain = least_gain(end, measure)
    assert measure.chance is not None
    reached = measure.sign * (end.value - measure.chance)
    if gain is None or gain <= 0:
        return Finding(CONTROL, end.system, True, f"Even averaged, at chance: {figures}.")
    room, whole = measure.sign * (limit - start.value), abs(limit - measure.chance)
    if room <= NEAR_LIMIT * whole:
        text = f"One trial is at the limit {limit:.3f}: {figures}."
        return Finding(CONTROL, end.system, True, text)
    if rise.low > 0:
        return Finding(CONTROL, end.system, True, f"Rises with trials averaged: {figures}.")
    if rise.high < SMALL_RISE * reached:
        text = (
            f"Does not rise with trials averaged, as a score from noisy signals would: {figures}."
        )
        return Finding(CONTROL, end.system, False, text)
    return Finding(CONTROL, end.system, True, f"Too few stimuli to see a rise: {figures}.")
