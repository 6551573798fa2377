"""Held against references: a system's own shuffled pairs, and a lookup among training pictures.

Whoever decodes an embedding can show the training picture that lies nearest to it, without a
generator. A system that scores no better has added nothing to that lookup, however good its
pictures look (compare Shirakawa et al. 2024, arXiv 2405.10078).

Axes: S test stimuli.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mindeye.controls.measures import Measure, improvement, measures_of
from mindeye.metrics.points import Finding, Point
from mindeye.metrics.registry import metric
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.systems import LOOKUP
from mindeye.metrics.table import Scored

SHUFFLED, TRAINING_LOOKUP = "shuffled_pairs", "training_lookup"
MOST_NAMED = 4


def floor_findings(scored: Sequence[Scored]) -> list[Finding]:
    """Warn of systems that do no better than their shuffled floor.

    A metric beats its floor if its value lies beyond the better end of the interval over random
    pairings. One metric in forty does so by chance at level 0.95, so a system is warned of if no
    more than half of its metrics do.

    Parameters
    ----------
    scored
        Rows with floors, of any systems; rows without are not looked at.

    Returns
    -------
    list of Finding
        One a system, in the order in which they come.
    """
    beaten: dict[str, dict[str, bool]] = {}
    for row, values in scored:
        if values is None or row.floor_low is None or row.floor_high is None:
            continue
        better = row.value < row.floor_low
        if not metric(row.metric).lower_is_better:
            better = row.value > row.floor_high
        beaten.setdefault(row.system, {})[row.metric] = better
    return [
        _finding(
            SHUFFLED, system, len(beats), [name for name, better in beats.items() if not better],
            "are better than with shuffled pairs",
            "by most, the picture seen might have been any other",
        )
        for system, beats in beaten.items()
    ]  # fmt: skip


def against_lookup(
    scored: Sequence[Scored],
    systems: Sequence[str],
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
) -> tuple[list[Point], list[Finding]]:
    """Compare systems with the lookup, stimulus by stimulus.

    Parameters
    ----------
    scored
        Rows of one set of stimuli, in one order, the lookup's among them.
    systems
        Names of the systems to compare.
    rng, scoring
        Resamples of the intervals, and how they are drawn.

    Returns
    -------
    tuple
        For every metric that both have the paired difference to the lookup (positive is better,
        chance 0: no difference), and a finding a system: a warning if it is surely better on no
        more than half of its metrics. Nothing where there is no lookup.
    """
    how = scoring or Scoring()
    measures = {(m.system, m.metric): m for m in measures_of(scored)}
    points: list[Point] = []
    findings: list[Finding] = []
    for system in systems:
        own = [
            _improvement(one, measures[LOOKUP, name], rng, how)
            for (other, name), one in measures.items()
            if other == system and (LOOKUP, name) in measures
        ]
        worse = [f"{p.metric} ({p.value:+.3f})" for p in own if p.low is None or p.low <= 0]
        if own:
            points += own
            findings.append(
                _finding(
                    TRAINING_LOOKUP, system, len(own), worse,
                    "are surely better than those of the training picture nearest to what was "
                    "decoded",
                    "showing that picture would have done as well by most",
                )
            )  # fmt: skip
    return points, findings


def _improvement(own: Measure, lookup: Measure, rng: np.random.Generator, how: Scoring) -> Point:
    bounds = improvement(own, lookup, rng, how)
    return Point(
        TRAINING_LOOKUP, "less the lookup", own.system, own.metric, bounds.value, bounds.low,
        bounds.high, int((own.known & lookup.known).sum()), 0.0,
        note="paired difference of means over stimuli, positive is better",
    )  # fmt: skip


def _finding(
    control: str, system: str, count: int, worse: Sequence[str], what: str, otherwise: str
) -> Finding:
    """Say on how many metrics a system is better; a warning if on no more than half."""
    better = count - len(worse)
    text = f"{better} of {count} metrics {what}"
    if worse:
        more = " and others" if len(worse) > MOST_NAMED else ""
        text += f"; not {', '.join(worse[:MOST_NAMED])}{more}"
    passed = 2 * better > count
    return Finding(control, system, passed, f"{text}." if passed else f"{text}: {otherwise}.")
