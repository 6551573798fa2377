"""What it takes to believe the table: a figure for every control, and what to expect of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mindeye.metrics.points import Point
from mindeye.metrics.systems import LOOKUP, SYSTEMS
from mindeye.metrics.table import Row
from mindeye.reporting.checklist import control_of, controls_in_order, question_of
from mindeye.reporting.control_figures import MAKERS, Made, anything, collapse
from mindeye.reporting.figures.conditions import finite
from mindeye.reporting.figures.curves import CurvePanel
from mindeye.reporting.figures.dots import DotPanel, by_metric
from mindeye.reporting.names import described, number, system_name

EXPECTED = {
    "nway": "An honest decoder falls slowly, far above the dashed line of chance. One that knows "
    "only the kind of picture is high on the left and falls to chance on the right, where "
    "alternatives of the same kind turn up.",
    "nearest_training": "Test pictures are split into thirds by how much the nearest training "
    "picture looks like them. Some loss towards the far third is honest; a score that is gone "
    "there came from look-alikes. A system beats a lookup only where it beats marks D and S in "
    "the panels above.",
    "same_cluster": "Pictures of one cluster are of one kind. An honest decoder loses some of its "
    "score among them and stays above the dashed line; one that only classifies falls onto it.",
    "trials_averaged": "Averaging trials takes noise away and nothing else. A score that comes "
    "from the signal rises from left to right, unless one trial already reaches the limit; one "
    "that comes from a leak stays level.",
    "regions": "Nothing is trained again: voxels outside the set named are held at their mean. A "
    "region that carries the picture scores alone more than as many voxels drawn at random from "
    "everywhere, and the score falls without it.",
    "collapse": "The upright bar is what the embeddings of the pictures seen do. Honest "
    "predictions from noisy data use fewer dimensions; a decoder with few prototypes uses a "
    "handful. What lies outside the span of training is new: a linear map cannot go there.",
    "candidates": "A draw without a choice is k = 1. Picking may help a little by what the brain "
    "says; a pick that comes near to the best by the truth has seen the answer.",
    "permutation": "With pairs permuted before training nothing can be learnt: the real score "
    "must lie outside what permuted pipelines reach.",
    "held_out_clusters": "No test picture is of a trained kind. Predictions of a classifier stay "
    "in trained clusters; those of a decoder reach the new one.",
    "seeds": "Runs that differ in nothing but their seed differ by less than systems that are "
    "said to differ.",
}


@dataclass(frozen=True)
class Evidence:
    """The figures of one control."""

    control: str
    question: str
    expected: str
    curves: Sequence[CurvePanel] = ()
    panels: Sequence[DotPanel] = ()
    notes: Sequence[str] = field(default=())


TOLD = ("training_lookup",)
"""Controls whose points are differences that the checklist tells with their figures."""


def evidence(points: Sequence[Point], rows: Sequence[Row]) -> list[Evidence]:
    """Draw what the run has; a control without points has no figure."""
    drawn = [p for p in finite(points) if p.control not in TOLD]
    has_rank = any(row.metric in ("effective_rank", "out_of_span") for row in rows)
    names = [p.control for p in drawn] + ["collapse"] * has_rank
    found = []
    for control in controls_in_order(names):
        own = [p for p in drawn if control_of(p.control) == control]
        made: Made
        made = collapse(rows) if control == "collapse" else MAKERS.get(control, anything)(own)
        curves, panels, notes = made
        notes = [*(lookups(rows) if control == "nearest_training" else []), *notes]
        if curves or panels:
            found.append(
                Evidence(
                    control, question_of(control), EXPECTED.get(control, ""), curves, panels, notes
                )
            )
    return found


def lookups(rows: Sequence[Row]) -> list[str]:
    """Say where the run's own systems score no more than their nearest training picture."""
    lines = []
    for system in [s.name for s in SYSTEMS.values() if s.is_main]:
        better, total, worse = 0, 0, []
        for row in [r for r in by_metric(rows) if r.system == system]:
            name, lookup = described(row.metric, row.note), row.references.get(LOOKUP)
            if lookup is None or name.group not in ("retrieval", "pictures"):
                continue
            total += 1
            if name.sign * (row.value - lookup) > 0:
                better += 1
            else:
                own, other = (number(v, name.scale) for v in (row.value, lookup))
                worse.append(f"{name.title} ({own}, lookup {other})")
        if total:
            text = (
                f"{system_name(system)} scores better than the training picture nearest to what "
                f"was decoded on {better} of {total} metrics"
            )
            lines.append(f"{text}{'; not on ' + '; '.join(worse) if worse else ''}.")
    return lines
