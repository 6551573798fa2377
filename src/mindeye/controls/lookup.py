"""Against a lookup: is a system better than the training picture nearest to what was decoded.

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
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.systems import LOOKUP
from mindeye.metrics.table import Scored

CONTROL = "training_lookup"


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
        Whose to compare.
    rng, scoring
        Of the intervals.

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
            _improvement(one, measures[LOOKUP, metric], rng, how)
            for (name, metric), one in measures.items()
            if name == system and (LOOKUP, metric) in measures
        ]
        if own:
            points += own
            findings.append(_finding(system, own))
    return points, findings


def _improvement(own: Measure, lookup: Measure, rng: np.random.Generator, how: Scoring) -> Point:
    bounds = improvement(own, lookup, rng, how)
    return Point(
        CONTROL, "less the lookup", own.system, own.metric, bounds.value, bounds.low, bounds.high,
        int((own.known & lookup.known).sum()), 0.0,
        note="paired difference of means over stimuli, positive is better",
    )  # fmt: skip


def _finding(system: str, points: Sequence[Point]) -> Finding:
    better = [p for p in points if p.low is not None and p.low > 0]
    text = (
        f"{len(better)} of {len(points)} metrics are surely better than those of the training "
        "picture nearest to what was decoded"
    )
    left = [f"{p.metric} ({p.value:+.3f})" for p in points if p not in better]
    if left:
        text += f"; not {', '.join(left[:4])}{' and others' if len(left) > 4 else ''}"
    passed = 2 * len(better) > len(points)
    if not passed:
        text += ": showing that picture would have done as well by most"
    return Finding(CONTROL, system, passed, f"{text}.")
