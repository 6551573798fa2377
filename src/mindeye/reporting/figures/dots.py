"""Dot plots: systems, or conditions of a control, on one metric."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mindeye.metrics.registry import Scale
from mindeye.metrics.systems import marked_references, reference_name, system, system_order
from mindeye.metrics.table import Row
from mindeye.reporting.figures.axes import Tick, clip, nice_ticks, spread, tick_label
from mindeye.reporting.names import described, number, system_name

LETTER_GAP = 6.0
"""Least distance of the letters of references, in percent of the track: 14 px on a phone."""


@dataclass(frozen=True)
class Dot:
    """One system in a dot plot; places in percent of the axis, None where there is no mark."""

    label: str
    value: str
    summary: str
    at: float
    low: float | None
    high: float | None
    floor: float | None
    ceiling: float | None
    is_main: bool
    starts_group: bool = False


@dataclass(frozen=True)
class ReferenceMark:
    """What else would score: its letter, its place, and where the letter has room."""

    letter: str
    label: str
    value: str
    at: float
    letter_at: float
    is_floor: bool


@dataclass(frozen=True)
class DotPanel:
    """All systems on one metric."""

    title: str
    metric: str
    group: str
    lower_is_better: bool
    ticks: Sequence[Tick]
    chance: float | None
    chance_label: str
    dots: Sequence[Dot]
    references: Sequence[ReferenceMark] = ()


def dot_panels(rows: Sequence[Row]) -> list[DotPanel]:
    """One panel per metric that has an axis; the two directions of retrieval side by side.

    References and ceilings are marks beside the systems, not systems among them, unless a metric
    has nothing else. Top 1 of all is folded where the pool of top 1 already is all.
    """
    panels: dict[str, list[Row]] = defaultdict(list)
    for row in by_metric(rows):
        panels[row.metric].append(row)
    drawn = [
        dot_panel(metric, [r for r in group if system(r.system).decodes] or group, group)
        for metric, group in panels.items()
        if described(metric).group != "other"
    ]
    scores = {panel.metric: [dot.at for dot in panel.dots] for panel in drawn}
    return [
        replace(panel, group="more_retrieval")
        if scores[panel.metric] == scores.get(described(panel.metric).pool)
        else panel
        for panel in drawn
    ]


def by_metric(rows: Sequence[Row]) -> list[Row]:
    """Sort rows by metric, the two directions together, and by system within a metric."""
    kind = {row.metric: described(row.metric).kind for row in rows}
    kinds = list(dict.fromkeys(kind.values()))
    return sorted(
        rows, key=lambda r: (kinds.index(kind[r.metric]), r.metric, system_order(r.system))
    )


def single_dot(row: Row) -> DotPanel:
    """One row as a panel of its own, for the headline."""
    return dot_panel(row.metric, [row])


def references_of(rows: Sequence[Row]) -> dict[str, float]:
    """Collect what else scores on the metric of these rows, floors first."""
    found = {name: value for row in rows for name, value in row.references.items()}
    found |= {name: r.value for r in rows if (name := reference_name(r.system))}
    return {name: found[name] for name in marked_references() if name in found}


def summary(row: Row) -> str:
    """All that is known about a row in one line of text."""
    scale = described(row.metric).scale
    parts = [f"{system_name(row.system)}: {number(row.value, scale)}"]
    if row.low is not None and row.high is not None:
        parts.append(f"interval {number(row.low, scale, unit=False)} to {number(row.high, scale)}")
    for name in ("chance", "floor", "ceiling"):
        value = getattr(row, name)
        if value is not None:
            parts.append(f"{name} {number(value, scale)}")
    return "; ".join([*parts, f"n = {row.n}"])


def dot_panel(metric: str, rows: Sequence[Row], beside: Sequence[Row] = ()) -> DotPanel:
    """Draw rows of one metric, with the references among `beside`."""
    name = described(metric, rows[0].note)
    known = references_of(beside)
    marks = [
        value
        for row in rows
        for value in (row.value, row.low, row.high, row.floor, row.ceiling, row.chance)
        if value is not None
    ]
    ticks = axis(name.scale, [*marks, *known.values()])

    def place(value: float | None) -> float | None:
        return None if value is None else at(value, ticks)

    chances = {row.chance for row in rows}
    chance = chances.pop() if len(chances) == 1 else None
    return DotPanel(
        title=name.title,
        metric=metric,
        group=name.group,
        lower_is_better=name.lower_is_better,
        ticks=[Tick(at(t, ticks), tick_label(t, name.scale)) for t in ticks],
        chance=place(chance),
        chance_label=number(chance, name.scale),
        dots=[
            Dot(
                label=system_name(row.system),
                value=number(row.value, name.scale, unit=False),
                summary=summary(row),
                at=at(row.value, ticks),
                low=place(row.low),
                high=place(row.high),
                floor=place(row.floor),
                ceiling=place(row.ceiling),
                is_main=system(row.system).is_main,
            )
            for row in rows
        ],
        references=_reference_marks(known, name.scale, ticks),
    )


def at(value: float, ticks: Sequence[float]) -> float:
    """Return the place of a value on the axis of these ticks, in percent."""
    return round(100 * clip((value - ticks[0]) / (ticks[-1] - ticks[0])), 2)


def axis(scale: Scale, marks: Sequence[float]) -> list[float]:
    """Ticks that hold every mark; shares always run from 0 to 1."""
    if scale == "share":
        return [0.0, 0.25, 0.5, 0.75, 1.0]
    finite = [mark for mark in marks if math.isfinite(mark)]
    return nice_ticks(min([0.0, *finite]), max(finite, default=1.0))


def _reference_marks(
    known: dict[str, float], scale: Scale, ticks: Sequence[float]
) -> list[ReferenceMark]:
    places = [at(value, ticks) for value in known.values()]
    letters, marks = spread(places, LETTER_GAP), marked_references()
    return [
        ReferenceMark(
            marks[name].letter, marks[name].label, number(value, scale), place, letter_at,
            marks[name].is_floor,
        )
        for (name, value), place, letter_at in zip(known.items(), places, letters, strict=True)
    ]  # fmt: skip
