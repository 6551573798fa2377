"""Curves: training, the cumulative match, and scores along a control's conditions."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.reporting.figures.axes import Tick, clip, log_ticks, nice_ticks, svg_points

_MOST_POINTS = 400
_LOG_RANGE = 50.0


@dataclass(frozen=True)
class Curve:
    """One line: SVG points in a 100 x 100 frame, and its last value.

    `kind` is ``chance``, ``ceiling`` or empty; `band` the outline of its interval; `marks` are
    places of points that were measured where the line is no curve.
    """

    label: str
    points: str
    last: str
    is_main: bool
    kind: str = ""
    band: str = ""
    marks: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class CurvePanel:
    """Curves that share a frame."""

    title: str
    note: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    x_label: str
    curves: Sequence[Curve]


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
            Curve("chance", svg_points(xs, [100 * c for c in chance]), "", False, "chance"),
            Curve("this run", svg_points(xs, [100 * s for s in shares]), "", True),
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
    marks = log_ticks(low, high) if logarithmic else nice_ticks(low, high, 3)
    scale = math.log10 if logarithmic else float
    bottom, top = scale(marks[0]), scale(marks[-1])
    left, right = min(steps), max(max(steps), min(steps) + 1e-9)

    def y_place(value: float) -> float:
        return 100 * clip((scale(value) - bottom) / (top - bottom))

    curves = []
    for label in sorted(lines):
        line = _thinned(sorted(lines[label]))
        xs = [100 * (x - left) / (right - left) for x, _ in line]
        last = f"{line[-1][1]:.3g}" if line else "none finite"
        curves.append(
            Curve(label, svg_points(xs, [y_place(y) for _, y in line]), last, label != "train")
        )
    return CurvePanel(
        title=title,
        note=", ".join(notes),
        x_ticks=[Tick(0, f"{left:,.0f}"), Tick(100, f"{right:,.0f}")],
        y_ticks=[Tick(y_place(m), f"{m:g}") for m in marks],
        x_label=unit,
        curves=curves,
    )


def _thinned(line: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep at most `_MOST_POINTS` points: the mean of each block of neighbours."""
    if len(line) <= _MOST_POINTS:
        return line
    blocks = np.array_split(np.asarray(line), _MOST_POINTS)
    return [(float(b[:, 0].mean()), float(b[:, 1].mean())) for b in blocks]
