"""Words of the page: what metrics and systems are called, how numbers are written."""

from __future__ import annotations

import dataclasses

from mindeye.metrics.registry import POOL, Metric, Scale, find_metric
from mindeye.metrics.systems import system


def described(name: str, note: str = "") -> Metric:
    """Describe a metric for the page; one that is not known is shown under its own name.

    Parameters
    ----------
    name
        Name of the metric.
    note
        Note of its row, which begins with the size of the pool where there is one.
    """
    description = find_metric(name)
    if description is None:
        title = name.replace("_", " ").capitalize()
        return Metric(name, None, title=title, scale="count", group="other")
    size = note.split(" ")[0]
    if description.has_pool and size.isdigit():
        return dataclasses.replace(
            description, title=f"{description.title.removesuffix(POOL)} of {size}"
        )
    return description


def system_name(name: str) -> str:
    """Label of a system."""
    return system(name).label


def number(value: float | None, scale: Scale, *, unit: bool = True) -> str:
    """Write a value on its scale; None becomes a dash."""
    if value is None:
        return "–"
    if scale == "share":
        return f"{100 * value:.1f}".replace("-", "−") + ("%" if unit else "")
    digits = 3 if scale != "count" else 0 if value == int(value) else 1
    return f"{value:,.{digits}f}".replace("-", "−")


def duration(seconds: float) -> str:
    """Write seconds as a person would: 0.4 s, 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
