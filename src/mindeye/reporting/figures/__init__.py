"""Figures of the page as geometry: dot plots and curves in percent of their frame.

Templates draw them with HTML and inline SVG, so that text keeps its size on a phone and
colours follow the light or dark theme.
"""

from mindeye.reporting.figures.axes import Tick
from mindeye.reporting.figures.curves import Curve, CurvePanel, cumulative_match, curve_panels
from mindeye.reporting.figures.dots import (
    Dot,
    DotPanel,
    by_metric,
    dot_panels,
    single_dot,
    summary,
)

__all__ = [
    "Curve",
    "CurvePanel",
    "Dot",
    "DotPanel",
    "Tick",
    "by_metric",
    "cumulative_match",
    "curve_panels",
    "dot_panels",
    "single_dot",
    "summary",
]
