"""Figures of the page as geometry: dot plots and curves in percent of their frame.

Templates draw them with HTML and inline SVG, so that text keeps its size on a phone and
colours follow the light or dark theme.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.evaluation.table import Row
from mindeye.report.names import MAIN_SYSTEMS, Scale, metric_name, number, system_name, system_order

_MOST_POINTS = 400
_LOG_RANGE = 50.0


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in percent, and its label."""

    at: float
    label: str


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


@dataclass(frozen=True)
class Curve:
    """One line: SVG points in a 100 x 100 frame, and its last value."""

    label: str
    points: str
    last: str
    is_main: bool


@dataclass(frozen=True)
class CurvePanel:
    """Curves that share a frame."""

    title: str
    note: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    x_label: str
    curves: Sequence[Curve]


def dot_panels(rows: Sequence[Row]) -> list[DotPanel]:
    """One panel per metric that has an axis; the two directions of retrieval side by side."""
    panels: dict[str, list[Row]] = defaultdict(list)
    for row in by_metric(rows):
        panels[row.metric].append(row)
    return [
        _dot_panel(metric, group)
        for metric, group in panels.items()
        if metric_name(metric).group != "other"
    ]


def by_metric(rows: Sequence[Row]) -> list[Row]:
    """Sort rows by metric, the two directions together, and by system within a metric."""
    kinds = list(dict.fromkeys(_kind(row.metric) for row in rows))
    return sorted(
        rows, key=lambda r: (kinds.index(_kind(r.metric)), r.metric, system_order(r.system))
    )


def single_dot(row: Row) -> DotPanel:
    """One row as a panel of its own, for the headline."""
    return _dot_panel(row.metric, [row])


def summary(row: Row) -> str:
    """All that is known about a row in one line of text."""
    scale = metric_name(row.metric).scale
    parts = [f"{system_name(row.system)}: {number(row.value, scale)}"]
    if row.low is not None and row.high is not None:
        parts.append(f"interval {number(row.low, scale, unit=False)} to {number(row.high, scale)}")
    for name in ("chance", "floor", "ceiling"):
        value = getattr(row, name)
        if value is not None:
            parts.append(f"{name} {number(value, scale)}")
    return "; ".join([*parts, f"n = {row.n}"])


def cumulative_match(ranks: NDArray[Any], gallery_size: int) -> CurvePanel:
    """Share of stimuli whose truth is among the first k, for every k, beside chance."""
    ranks = np.asarray(ranks, dtype=np.float64)
    ks = np.unique(np.geomspace(1, max(gallery_size, 2), 120).round().astype(int))
    ks = ks[ks <= max(gallery_size, 1)]
    top = max(math.log10(max(gallery_size, 2)), 1e-9)
    xs = [100 * math.log10(k) / top for k in ks]
    shares = [float((ranks <= k - 1).mean()) for k in ks]
    chance = [k / gallery_size for k in ks]
    marks = [10**e for e in range(int(top) + 1)]
    if gallery_size > 1.5 * marks[-1]:
        marks.append(gallery_size)
    return CurvePanel(
        title="Found among the first k",
        note="",
        x_ticks=[Tick(100 * math.log10(m) / top, f"{m:,}") for m in marks],
        y_ticks=[Tick(100 * y, f"{100 * y:.0f}%") for y in (0, 0.5, 1)],
        x_label=f"k of {gallery_size:,} pictures (log)",
        curves=[
            Curve("chance", _points(xs, [100 * c for c in chance]), "", False),
            Curve("this run", _points(xs, [100 * s for s in shares]), "", True),
        ],
    )


def curve_panels(points: Sequence[Mapping[str, Any]]) -> list[CurvePanel]:
    """Training curves; names that differ in train and val only share a panel.

    Values that are not finite are left out and counted in the panel's note.
    """
    panels: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    lost: dict[str, int] = defaultdict(int)
    by_epoch = all("epoch" in point for point in points)
    for point in points:
        title, label = _split(str(point["name"]))
        x = float(point["epoch"] if by_epoch else point.get("step", point.get("epoch", 0)))
        y = float(point["value"])
        if math.isfinite(y):
            panels[title][label].append((x, y))
        else:
            lost[title] += 1
            panels[title].setdefault(label, [])
    unit = "epoch" if by_epoch else "step"
    return [_curve_panel(title, lines, unit, lost[title]) for title, lines in panels.items()]


def _kind(metric: str) -> str:
    """Name of a metric without the direction of retrieval."""
    return re.sub(r"^(brain_to_image|image_to_brain)_", "", metric)


def _dot_panel(metric: str, rows: Sequence[Row]) -> DotPanel:
    name = metric_name(metric, rows[0].note)
    ticks = _axis(name.scale, rows)
    low, high = ticks[0], ticks[-1]

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * _clip((value - low) / (high - low)), 2)

    chances = {row.chance for row in rows}
    chance = chances.pop() if len(chances) == 1 else None
    return DotPanel(
        title=name.title,
        metric=metric,
        group=name.group,
        lower_is_better=name.lower_is_better,
        ticks=[Tick(place(t) or 0.0, _tick_label(t, name.scale)) for t in ticks],
        chance=place(chance),
        chance_label=number(chance, name.scale),
        dots=[
            Dot(
                label=system_name(row.system),
                value=number(row.value, name.scale, unit=False),
                summary=summary(row),
                at=place(row.value) or 0.0,
                low=place(row.low),
                high=place(row.high),
                floor=place(row.floor),
                ceiling=place(row.ceiling),
                is_main=row.system in MAIN_SYSTEMS,
            )
            for row in rows
        ],
    )


def _axis(scale: Scale, rows: Sequence[Row]) -> list[float]:
    """Ticks that hold every mark; shares always run from 0 to 1."""
    if scale == "share":
        return [0.0, 0.25, 0.5, 0.75, 1.0]
    marks = [
        value
        for row in rows
        for value in (row.value, row.low, row.high, row.floor, row.ceiling, row.chance)
        if value is not None
    ]
    return _nice_ticks(min(0.0, *marks), max(marks))


def _nice_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    span = max(high - low, 1e-9)
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def _tick_label(value: float, scale: Scale) -> str:
    text = f"{100 * value:.0f}" if scale == "share" else f"{value:g}"
    return text.replace("-", "−")


def _split(name: str) -> tuple[str, str]:
    """``high/train/loss`` to (``High loss``, ``train``)."""
    words = [word for word in re.split(r"[/._\s]+", name) if word]
    label = next((w for w in words if w.lower() in ("train", "val", "valid", "validation")), "")
    title = " ".join(w for w in words if w != label) or name
    title = title[:1].upper() + title[1:]
    return title, "validation" if label.lower().startswith("val") else label.lower() or "value"


def _curve_panel(
    title: str, lines: Mapping[str, list[tuple[float, float]]], unit: str, lost: int
) -> CurvePanel:
    values = [y for line in lines.values() for _, y in line] or [0.0]
    steps = [x for line in lines.values() for x, _ in line] or [0.0]
    notes = []
    is_score = re.search(r"top\d|rank|acc|corr", title.lower()) is not None
    logarithmic = not is_score and min(values) > 0 and max(values) / min(values) > _LOG_RANGE
    if logarithmic:
        notes.append("log scale")
    if lost:
        notes.append(f"{lost} value{'s' if lost > 1 else ''} not finite")
    low, high = min(values), max(values)
    marks = _log_ticks(low, high) if logarithmic else _nice_ticks(low, high, 3)
    scale = math.log10 if logarithmic else float
    bottom, top = scale(marks[0]), scale(marks[-1])
    left, right = min(steps), max(max(steps), min(steps) + 1e-9)

    def y_place(value: float) -> float:
        return 100 * _clip((scale(value) - bottom) / (top - bottom))

    curves = []
    for label in sorted(lines):
        line = _thinned(sorted(lines[label]))
        xs = [100 * (x - left) / (right - left) for x, _ in line]
        last = f"{line[-1][1]:.3g}" if line else "none finite"
        curves.append(
            Curve(label, _points(xs, [y_place(y) for _, y in line]), last, label != "train")
        )
    return CurvePanel(
        title=title,
        note=", ".join(notes),
        x_ticks=[Tick(0, f"{left:,.0f}"), Tick(100, f"{right:,.0f}")],
        y_ticks=[Tick(y_place(m), f"{m:g}") for m in marks],
        x_label=unit,
        curves=curves,
    )


def _log_ticks(low: float, high: float) -> list[float]:
    return [10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def _thinned(line: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep at most `_MOST_POINTS` points: the mean of each block of neighbours."""
    if len(line) <= _MOST_POINTS:
        return line
    blocks = np.array_split(np.asarray(line), _MOST_POINTS)
    return [(float(b[:, 0].mean()), float(b[:, 1].mean())) for b in blocks]


def _points(xs: Sequence[float], ys: Sequence[float]) -> str:
    if len(xs) == 1:  # a single value still shows, as a level line
        xs, ys = [0.0, 100.0], [ys[0], ys[0]]
    return " ".join(f"{x:.2f},{100 - y:.2f}" for x, y in zip(xs, ys, strict=True))


def _clip(share: float) -> float:
    return min(1.0, max(0.0, share))
