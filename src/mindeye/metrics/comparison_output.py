"""A comparison as text for a terminal, as ``compare.json``, ``compare.csv`` and ``compare.png``."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mindeye import files
from mindeye.metrics.paired import A_BETTER, B_BETTER
from mindeye.metrics.registry import metric
from mindeye.metrics.table import text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 150
"""More tests than these are not drawn: the picture would be too tall to be looked at."""

COLOURS = {A_BETTER: "#0b6fa4", B_BETTER: "#c2571a"}
"""Blue and orange: told apart by most people who do not see red and green."""

_GREY, _INK, _SOFT = "#8a8f98", "#1d2430", "#d5d9e0"
_LINE, _FRAME, _HEAD, _WIDTH = 0.24, 0.6, 0.6, 11.5
"""Inches of a line, of the frame of a panel, of the title, and of the width."""


def write_comparison(table: pd.DataFrame, folder: Path) -> None:
    """Write ``compare.json``, ``compare.csv`` and ``compare.png`` atomically.

    Parameters
    ----------
    table
        What `mindeye.metrics.comparison.compare` returned.
    folder
        Folder to write to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "compare.json", {**table.attrs, "tests": _nested(table)})
    files.write_text(folder / "compare.csv", table.to_csv(index=False))
    write_picture(table, folder / "compare.png")


def _nested(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a record a test, with the differences of its subjects by name."""
    tests: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    for row in records:
        plain = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
        subject = plain.pop("subject")
        if subject:
            fields = ("a", "b", "difference", "low", "high", "p", "effect", "n")
            tests[-1]["subjects"][subject] = {name: plain[name] for name in fields}
        else:
            tests.append({**plain, "subjects": {}})
    return tests


def text_of_comparison(table: pd.DataFrame) -> str:
    """Write the aligned table that a terminal shows, with what must be known around it."""
    facts = table.attrs
    level, tests = facts["level"], table[table["subject"] == ""]
    several = len(facts["subjects"]) > 1
    lines = [f"A = {facts['a']}", f"B = {facts['b']}", ""]
    cells = pd.DataFrame([_cells(row) for row in table.itertuples()])
    lines.append(text_of(cells, words=("system", "metric", "verdict")))
    lines += [
        "",
        f"interval: {level:.4g} of {facts['resamples']} paired bootstrap resamples over "
        f"{'subjects, then stimuli' if several else 'stimuli'}; p: sign-flip permutation of "
        f"{'subjects' if several else 'stimuli'}, two-sided; adj. p: Benjamini-Hochberg over these "
        f"{len(tests)} tests; d: mean difference / its SD.",
        f"better: adj. p below {1 - level:.4g} and an interval without 0. neither: not shown, "
        "which is not the same as equal.",
    ]
    shared = Counter(note for note in tests["note"] if note)
    notes = [
        *facts["notes"],
        *(f"{note} ({n} of {len(tests)} tests)" for note, n in shared.items()),
    ]
    lines += [f"note: {note}" for note in notes]
    return "\n".join([*lines, *(f"not compared: {reason}" for reason in facts["left_out"])])


def _cells(row: Any) -> dict[str, str]:
    of_subject = row.subject != ""
    return {
        "system": "" if of_subject else _system(row),
        "metric": f"  {row.subject}" if of_subject else _metric(row),
        "n": str(row.n),
        "A": f"{row.a:.3f}",
        "B": f"{row.b:.3f}",
        "A - B": f"{row.difference:+.3f}",
        "interval": f"[{row.low:+.3f}, {row.high:+.3f}]",
        "p": _p(row.p),
        "adj. p": "" if of_subject else _p(row.p_adjusted),
        "d": "-" if math.isnan(row.effect) else f"{row.effect:+.2f}",
        "verdict": row.verdict,
    }


def _p(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else f"{p:.0e}"


def _system(row: Any) -> str:
    same = row.system_a == row.system_b
    return f"{row.system_a}" if same else f"{row.system_a} - {row.system_b}"


def _metric(row: Any) -> str:
    return f"{row.metric} (lower is better)" if row.lower_is_better else f"{row.metric}"


def _is_count(name: str) -> bool:
    return metric(name).scale == "count"


def write_picture(table: pd.DataFrame, path: Path) -> None:
    """Draw a comparison and write it as PNG, atomically; the same tests give the same bytes."""
    import matplotlib

    # What a user's own matplotlibrc says must not change the picture; "$" in a name is no formula.
    plain = {k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith("backend")}
    with matplotlib.rc_context({**plain, "text.parse_math": False}):
        figure = draw(table)
        with files.atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def draw(table: pd.DataFrame) -> Figure:
    """Draw a dot for every difference and a line for its interval, without pyplot.

    Counts have a panel of their own: they would press everything else flat.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    facts, tests = table.attrs, table["subject"] == ""
    shown = table[tests.cumsum() <= MOST_LINES]
    counts = shown["metric"].map(lambda name: metric(name).scale == "count")
    panels = [
        (shown[~counts], "A - B, in the metric's own unit"),
        (shown[counts], "A - B, in ranks (lower is better)"),
    ]
    panels = [(rows, label) for rows, label in panels if len(rows)]
    lines = [int((rows["subject"] == "").sum()) for rows, _ in panels]
    height = _LINE * sum(lines) + _FRAME * len(panels) + _HEAD
    figure = Figure(figsize=(_WIDTH, height), dpi=110)
    figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.1)
    FigureCanvasAgg(figure)
    text = f"A = {_end(facts['a'])}     B = {_end(facts['b'])}\n"
    text += f"A - B with {facts['level']:.4g} intervals; adjusted p and verdict at the right"
    if len(facts["subjects"]) > 1:
        text += f"; small dots are the {len(facts['subjects'])} subjects"
    if tests.sum() > MOST_LINES:
        text += f"; the first {MOST_LINES} of {tests.sum()} tests"
    figure.suptitle(text, size=10, color=_INK)
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[n + 3 for n in lines])
    for axes, (rows, label) in zip(grid[:, 0], panels, strict=True):
        _panel(axes, rows, label)
    return figure


def _end(text: str, most: int = 48) -> str:
    return text if len(text) <= most else f"...{text[-most + 3 :]}"


def _panel(axes: Axes, rows: pd.DataFrame, label: str) -> None:
    line, names, verdicts = -1, [], []
    row: Any
    for row in rows.itertuples():
        if row.subject:
            axes.plot(row.difference, line, "o", color=_INK, markersize=2.5, alpha=0.6, zorder=4)
            continue
        line, colour = line + 1, COLOURS.get(row.verdict, _GREY)
        axes.plot([row.low, row.high], [line, line], color=colour, linewidth=2, zorder=2)
        axes.plot(row.difference, line, "o", color=colour, markersize=6, zorder=3)
        names.append(f"{_end(_system(row), 26)}   {_metric(row)}")
        verdicts.append((f"{row.p_adjusted:.3g}  {row.verdict}", colour))
    axes.axvline(0, color=_INK, linewidth=0.8, zorder=1)
    axes.set_ylim(line + 0.5, -0.5)
    axes.set_yticks(range(line + 1), names, size=8)
    axes.tick_params(axis="both", length=0, labelsize=8)
    axes.grid(axis="x", color=_SOFT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(label, size=8.5)
    axes.spines[["top", "left", "right"]].set_visible(False)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(line + 1), [text for text, _ in verdicts])
    right.tick_params(length=0, labelsize=8)
    right.spines["right"].set_visible(False)
    for tick, (_, colour) in zip(right.get_yticklabels(), verdicts, strict=True):
        tick.set_color(colour)
