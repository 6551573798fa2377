"""Axes of figures: ticks, and places in percent of the frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mindeye.metrics.registry import Scale


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in percent, and its label."""

    at: float
    label: str


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return round, evenly spaced values from at most `low` to at least `high`."""
    span = max(high - low, 1e-9)
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return the powers of ten from at most `low` to at least `high`, both positive."""
    return [10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def tick_label(value: float, scale: Scale) -> str:
    """Write a tick: percent for shares, otherwise the number."""
    text = f"{100 * value:.0f}" if scale == "share" else f"{value:g}"
    return text.replace("-", "−")


def clip(share: float) -> float:
    """Keep a place inside the frame."""
    return min(1.0, max(0.0, share))


def svg_points(xs: Sequence[float], ys: Sequence[float]) -> str:
    """Join places in percent, y upwards, to the points of an SVG line."""
    if len(xs) == 1:  # a single value still shows, as a level line
        xs, ys = [0.0, 100.0], [ys[0], ys[0]]
    return " ".join(f"{x:.2f},{100 - y:.2f}" for x, y in zip(xs, ys, strict=True))


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move labels apart so that none lies nearer than `gap` to its neighbour.

    Labels that would overlap form a block centred on the mean of their places; blocks that touch
    merge. All stay within 0 and 100 where they fit.

    Parameters
    ----------
    places
        Places of the labels in percent, in any order.
    gap
        Least distance, in percent.

    Returns
    -------
    list of float
        New places, in the order given.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    blocks: list[tuple[list[int], float]] = []
    for i in order:
        members, centre = [i], float(places[i])
        while True:
            half = gap * (len(members) - 1) / 2
            centre = min(max(centre, half), max(100 - half, half))
            if not blocks:
                break
            before, middle = blocks[-1]
            if centre - half - (middle + gap * (len(before) - 1) / 2) >= gap - 1e-9:
                break
            blocks.pop()
            members = before + members
            centre = sum(places[j] for j in members) / len(members)
        blocks.append((members, centre))
    found = [0.0] * len(places)
    for members, centre in blocks:
        for k, i in enumerate(members):
            found[i] = round(centre + gap * (k - (len(members) - 1) / 2), 2)
    return found
