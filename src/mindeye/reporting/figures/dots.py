"""Dot plots: systems, or conditions of a control, on one metric."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mindeye.metrics.points import Point
from mindeye.metrics.registry import Metric, Scale
from mindeye.metrics.systems import marked_references, reference_name, system, system_order
from mindeye.metrics.table import Row
from mindeye.reporting.figures.axes import Tick, clip, nice_ticks, spread, tick_label
from mindeye.reporting.names import described, number, system_name

LETTER_GAP = 6.0
"""Least distance of the letters of references, in percent of the track: 14 px on a phone."""

_LONGEST = 44
"""Letters of a row's label; the whole of it is in the row's summary."""


@dataclass(frozen=True)
class Entry:
    """A score with the label of its row in a dot plot.

    Attributes
    ----------
    label
        System or condition.
    score
        Row of the table, or point of a control.
    is_main
        Whether it is drawn in the accent colour.
    starts_group
        Whether a gap goes before it.
    """

    label: str
    score: Row | Point
    is_main: bool = False
    starts_group: bool = False


@dataclass(frozen=True)
class Dot:
    """One row of a dot plot; places in percent of the axis, None where there is no mark."""

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
    """A reference score: its letter, its place, and where the letter has room."""

    letter: str
    label: str
    value: str
    at: float
    letter_at: float
    is_floor: bool


@dataclass(frozen=True)
class DotPanel:
    """All rows of one metric."""

    title: str
    metric: str
    group: str
    lower_is_better: bool
    ticks: Sequence[Tick]
    chance: float | None
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
        dot_panel([r for r in group if system(r.system).decodes] or group, group)
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


def references_of(rows: Sequence[Row]) -> dict[str, float]:
    """Collect the reference scores on the metric of these rows, floors first."""
    found = {name: value for row in rows for name, value in row.references.items()}
    found |= {name: r.value for r in rows if (name := reference_name(r.system))}
    return {name: found[name] for name in marked_references() if name in found}


def dot_panel(rows: Sequence[Row], beside: Sequence[Row] = ()) -> DotPanel:
    """Draw rows of one metric, with the references among `beside`."""
    name = described(rows[0].metric, rows[0].note)
    entries = [Entry(system_name(r.system), r, system(r.system).is_main) for r in rows]
    return _panel(name.title, name, name.group, entries, references_of(beside))


def condition_panel(title: str, entries: Sequence[Entry]) -> DotPanel | None:
    """Draw a row a condition, all of one metric; None without a point that can be drawn."""
    kept = [entry for entry in entries if math.isfinite(entry.score.value)]
    if not kept:
        return None
    return _panel(title, described(kept[0].score.metric), "control", kept, {})


def _panel(
    title: str,
    metric: Metric,
    group: str,
    entries: Sequence[Entry],
    references: Mapping[str, float],
) -> DotPanel:
    scores = [entry.score for entry in entries]
    marks = [value for one in scores for value in (one.value, one.low, one.high, one.chance)]
    marks += [value for one in scores for value in _bounds(one)]
    known = [value for value in (*marks, *references.values()) if value is not None]
    ticks = axis(metric.scale, known)

    def place(value: float | None) -> float | None:
        return None if value is None or not math.isfinite(value) else at(value, ticks)

    chances = {one.chance for one in scores}
    return DotPanel(
        title=title,
        metric=metric.name,
        group=group,
        lower_is_better=metric.lower_is_better,
        ticks=[Tick(at(t, ticks), tick_label(t, metric.scale)) for t in ticks],
        chance=place(chances.pop()) if len(chances) == 1 else None,
        dots=[
            Dot(
                label=_shortened(entry.label),
                value=number(one.value, metric.scale, unit=False),
                summary=_summary(entry, metric.scale),
                at=at(one.value, ticks),
                low=place(one.low),
                high=place(one.high),
                floor=place(_bounds(one)[0]),
                ceiling=place(_bounds(one)[1]),
                is_main=entry.is_main,
                starts_group=entry.starts_group,
            )
            for entry in entries
            for one in [entry.score]
        ],
        references=_reference_marks(references, metric.scale, ticks),
    )


def _bounds(score: Row | Point) -> tuple[float | None, float | None]:
    """Floor and ceiling; points of controls have none."""
    return (score.floor, score.ceiling) if isinstance(score, Row) else (None, None)


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"


def _summary(entry: Entry, scale: Scale) -> str:
    """All that is known about a score in one line of text."""
    score = entry.score
    parts = [f"{entry.label}: {number(score.value, scale)}"]
    if score.low is not None and score.high is not None:
        low, high = number(score.low, scale, unit=False), number(score.high, scale)
        parts.append(f"interval {low} to {high}")
    bounds = zip(("chance", "floor", "ceiling"), (score.chance, *_bounds(score)), strict=True)
    parts += [f"{name} {number(value, scale)}" for name, value in bounds if value is not None]
    return "; ".join([*parts, f"n = {score.n}"])


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
    known: Mapping[str, float], scale: Scale, ticks: Sequence[float]
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
