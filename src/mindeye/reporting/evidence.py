"""The figures of the checks: one for every control, and what to expect of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mindeye.metrics.points import Point
from mindeye.metrics.systems import LOOKUP, SYSTEMS
from mindeye.metrics.table import Row
from mindeye.reporting.control_figures import EMBEDDING_METRICS, Figures, embedding_rows
from mindeye.reporting.control_texts import control_of, in_order, text_of
from mindeye.reporting.figures.condition_curves import finite
from mindeye.reporting.figures.dots import by_metric
from mindeye.reporting.names import described, number, system_name


@dataclass(frozen=True)
class Evidence:
    """The figures of one control, with its question and what to expect of them."""

    control: str
    question: str
    expected: str
    figures: Figures


def evidence(points: Sequence[Point], rows: Sequence[Row]) -> list[Evidence]:
    """Draw what the run has; a control without points has no figure."""
    drawn = finite(points)
    has_rows = any(row.metric in EMBEDDING_METRICS for row in rows)
    findings = []
    for control in in_order([p.control for p in drawn] + ["collapse"] * has_rows):
        text = text_of(control)
        if text.draw is None:
            continue
        selected = [p for p in drawn if control_of(p.control) == control]
        figures = embedding_rows(rows) if control == "collapse" else text.draw(selected)
        if control == "nearest_training":
            figures = figures._replace(notes=[*lookups(rows), *figures.notes])
        if figures.curves or figures.panels:
            findings.append(Evidence(control, text.question, text.expected, figures))
    return findings


def lookups(rows: Sequence[Row]) -> list[str]:
    """Say where the run's own systems score no more than their nearest training picture."""
    lines = []
    for system in [s.name for s in SYSTEMS.values() if s.is_main]:
        total, worse = 0, []
        for row in [r for r in by_metric(rows) if r.system == system]:
            name, lookup = described(row.metric, row.note), row.references.get(LOOKUP)
            if lookup is None or name.group not in ("retrieval", "pictures"):
                continue
            total += 1
            if name.sign * (row.value - lookup) <= 0:
                score, other = (number(v, name.scale) for v in (row.value, lookup))
                worse.append(f"{name.title} ({score}, lookup {other})")
        if total:
            lines.append(
                f"{system_name(system)} scores better than the training picture nearest to the "
                f"prediction on {total - len(worse)} of {total} metrics"
                f"{'; not on ' + '; '.join(worse) if worse else ''}."
            )
    return lines
