"""The picture of a comparison: a dot for every difference, a line for its interval.

Ranks have a panel of their own: they are counts of pictures and would press everything else flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mindeye.files import atomic_path
from mindeye.metrics.comparison import A_BETTER, B_BETTER
from mindeye.metrics.comparison_table import Compared, Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {A_BETTER: "#0b6fa4", B_BETTER: "#c2571a"}
"""Blue and orange: told apart by most people who do not see red and green."""

GREY, INK, SOFT = "#8a8f98", "#1d2430", "#d5d9e0"
LINE_INCHES, HEAD_INCHES, FOOT_INCHES, WIDTH_INCHES = 0.24, 0.75, 0.75, 11.5
MOST_LINES = 150
"""More tests than these are not drawn: the picture would be too tall to be looked at."""


def write_picture(comparison: Comparison, path: Path) -> None:
    """Draw a comparison and write it as PNG, atomically; the same tests give the same bytes."""
    import matplotlib

    # What a user's own matplotlibrc says must not change the picture; "$" in a name is no formula.
    plain = {k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith("backend")}
    with matplotlib.rc_context({**plain, "text.parse_math": False}):
        figure = draw(comparison)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def draw(comparison: Comparison) -> Figure:
    """Return the picture as a figure, without pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = comparison.tests[:MOST_LINES]
    ranks = [test for test in shown if test.metric.endswith("median_rank")]
    scores = [test for test in shown if not test.metric.endswith("median_rank")]
    panels = [
        (scores, "A - B, in the metric's own unit"),
        (ranks, "A - B, in ranks (lower is better)"),
    ]
    panels = [(tests, label) for tests, label in panels if tests]
    # A panel takes a line for every test, and room for its axis below.
    inches = [LINE_INCHES * (len(tests) + 1) + FOOT_INCHES for tests, _ in panels]
    height = sum(inches) + HEAD_INCHES
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    _title(figure, comparison, height, len(shown))
    top = height - HEAD_INCHES
    for (tests, label), tall in zip(panels, inches, strict=True):
        bottom = top - tall + FOOT_INCHES
        axes = figure.add_axes((0.45, bottom / height, 0.46, (tall - FOOT_INCHES) / height))
        _panel(axes, tests, label)
        top -= tall
    return figure


def _title(figure: Figure, comparison: Comparison, height: float, shown: int) -> None:
    figure.text(
        0.015, 1 - 0.28 / height, f"A = {_end(comparison.a)}     B = {_end(comparison.b)}",
        size=11, weight="bold", color=INK, va="center",
    )  # fmt: skip
    what = (
        f"Differences A - B with {comparison.config.level:.4g} intervals; adjusted p at the right"
    )
    if len(comparison.subjects) > 1:
        what += f"; small dots are the {len(comparison.subjects)} subjects"
    if shown < len(comparison.tests):
        what += f"; the first {shown} of {len(comparison.tests)} tests"
    figure.text(0.015, 1 - 0.53 / height, what, size=9, color=INK, va="center")
    for x, (verdict, colour) in zip((0.72, 0.8), COLOURS.items(), strict=True):
        figure.text(x, 1 - 0.53 / height, verdict, size=9, color=colour, weight="bold", va="center")
    figure.text(0.88, 1 - 0.53 / height, "neither", size=9, color=GREY, weight="bold", va="center")


def _end(text: str, most: int = 48) -> str:
    return text if len(text) <= most else f"...{text[-most + 3 :]}"


def _panel(axes: Axes, tests: Sequence[Compared], label: str) -> None:
    from matplotlib.transforms import blended_transform_factory

    beside = blended_transform_factory(axes.transAxes, axes.transData)
    previous = ""
    for line, test in enumerate(tests):
        colour, one = COLOURS.get(test.verdict, GREY), test.difference
        axes.plot([one.low, one.high], [line, line], color=colour, linewidth=2, zorder=2)
        axes.plot(one.value, line, "o", color=colour, markersize=6, zorder=3)
        own = [each.value for each in test.subjects.values()]
        axes.plot(own, [line] * len(own), "o", color=INK, markersize=2.5, alpha=0.6, zorder=4)
        system = _system(test)
        if system != previous:
            axes.text(-0.95, line, system, size=8.5, weight="bold", color=INK, va="center",
                      transform=beside)  # fmt: skip
            if line:
                axes.axhline(line - 0.5, color=SOFT, linewidth=0.6, xmin=-0.95, clip_on=False)
            previous = system
        axes.text(1.02, line, f"{test.p_adjusted:.3g}", size=8, color=colour, va="center",
                  transform=beside)  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    axes.set_ylim(len(tests) - 0.5, -0.5)
    names = [_metric(test) for test in tests]
    axes.set_yticks(range(len(tests)), names, size=8)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", color=SOFT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(label, size=8.5)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)


def _metric(test: Compared) -> str:
    """Return the metric's name, with its direction unless the whole panel has it."""
    told = test.lower_is_better and not test.metric.endswith("median_rank")
    return test.metric + (" (lower is better)" if told else "")


def _system(test: Compared) -> str:
    same = test.system_a == test.system_b
    return _end(test.system_a if same else f"{test.system_a} - {test.system_b}", 26)
