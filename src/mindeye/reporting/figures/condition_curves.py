"""Figures of controls: a score along a number, such as alternatives or trials, as curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mindeye.metrics.points import Point
from mindeye.reporting.figures.axes import Tick, clip, svg_points, tick_label
from mindeye.reporting.figures.curves import Curve, CurvePanel
from mindeye.reporting.figures.dots import at, axis
from mindeye.reporting.names import described, number

_MARKED_SIZES = (2, 10, 100, 1000)
_FEW = 5
"""Points up to which a curve shows each of them."""


@dataclass(frozen=True)
class Line:
    """Points of one system, in the order in which they stand."""

    label: str
    points: Sequence[Point]
    is_main: bool = False
    kind: str = ""


def finite(points: Sequence[Point]) -> list[Point]:
    """Keep the points that can be drawn."""
    return [p for p in points if math.isfinite(p.value)]


def condition_curve(
    title: str, lines: Sequence[Line], *, unit: str, logarithmic: bool = False
) -> CurvePanel | None:
    """Draw a score against a number, such as alternatives or trials; None below two numbers.

    The number is the first word of a point's condition; points without one are left out. Chance
    is drawn where the first line has it.
    """
    known = [(line, _numbered(line.points)) for line in lines]
    known = [(line, points) for line, points in known if len(points) > 1]
    if not known:
        return None
    xs = sorted({x for _, points in known for x in points})
    scale = described(known[0][0].points[0].metric).scale
    everything = [p for _, points in known for p in points.values()]
    ticks = axis(
        scale, [v for p in everything for v in (p.value, p.low, p.high, p.chance) if v is not None]
    )
    across = _Across(xs[0], xs[-1], logarithmic)
    curves = [_curve(line, points, across, ticks) for line, points in known]
    first = known[0][1]
    if all(p.chance is not None for p in first.values()):
        level = [at(p.chance or 0.0, ticks) for p in first.values()]
        places = [across.place(x) for x in first]
        curves.insert(0, Curve("chance", svg_points(places, level), "", False, "chance"))
    marked = [x for x in xs if x in _MARKED_SIZES or len(xs) <= _FEW]
    if marked[-1:] != xs[-1:]:
        marked = [x for x in marked if across.place(x) < 80] + xs[-1:]
    return CurvePanel(
        title=title,
        note=unit + (", log scale" if logarithmic else ""),
        x_ticks=[Tick(across.place(x), f"{x:,}") for x in marked],
        y_ticks=[
            Tick(at(t, ticks), f"{100 * t:.0f}%" if scale == "share" else tick_label(t, scale))
            for t in (ticks[::2] if scale == "share" else ticks)
        ],
        x_label=unit,
        curves=curves,
    )


@dataclass(frozen=True)
class _Across:
    """The axis from left to right."""

    first: int
    last: int
    logarithmic: bool

    def place(self, x: int) -> float:
        change = math.log if self.logarithmic else float
        low, high = change(self.first), change(self.last)
        return round(100 * clip((change(x) - low) / max(high - low, 1e-9)), 2)


def _curve(
    line: Line, points: Mapping[int, Point], across: _Across, ticks: Sequence[float]
) -> Curve:
    xs = [across.place(x) for x in points]
    ys = [at(p.value, ticks) for p in points.values()]
    band = ""
    if line.is_main and all(p.low is not None and p.high is not None for p in points.values()):
        lows = [at(p.low or 0.0, ticks) for p in points.values()]
        highs = [at(p.high or 0.0, ticks) for p in points.values()]
        band = svg_points([*xs, *xs[::-1]], [*lows, *highs[::-1]])
    name = described(next(iter(points.values())).metric)
    return Curve(
        label=line.label,
        points=svg_points(xs, ys),
        last=number(list(points.values())[-1].value, name.scale),
        is_main=line.is_main,
        kind=line.kind,
        band=band,
        marks=[(x, round(100 - y, 2)) for x, y in zip(xs, ys, strict=True)]
        if len(xs) <= _FEW and not across.logarithmic
        else (),
    )


def _numbered(points: Sequence[Point]) -> dict[int, Point]:
    found = {}
    for point in finite(points):
        word = point.condition.split(" ")[0]
        if word.isascii() and word.isdigit() and int(word) > 0:
            found[int(word)] = point
    return dict(sorted(found.items()))
