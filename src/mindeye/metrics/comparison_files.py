"""A comparison as text for a terminal, as ``compare.json``, ``compare.csv`` and ``compare.png``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mindeye import files
from mindeye.metrics.comparison import Difference
from mindeye.metrics.comparison_picture import write_picture
from mindeye.metrics.comparison_table import Compared, Comparison

HEADINGS = ("system", "metric", "n", "A", "B", "A - B", "interval", "p", "adj. p", "d", "verdict")


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write ``compare.json``, ``compare.csv`` and ``compare.png`` atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "compare.json", content_of(comparison))
    files.write_text(folder / "compare.csv", _csv(comparison))
    write_picture(comparison, folder / "compare.png")


def content_of(comparison: Comparison) -> dict[str, Any]:
    """Return the content of ``compare.json``."""
    return {
        "a": comparison.a,
        "b": comparison.b,
        **dataclasses.asdict(comparison.config),
        "subjects": list(comparison.subjects),
        "notes": list(comparison.notes),
        "left_out": list(comparison.left_out),
        "tests": [_record(test) for test in comparison.tests],
    }


def _record(test: Compared) -> dict[str, Any]:
    return {
        "metric": test.metric,
        "system_a": test.system_a,
        "system_b": test.system_b,
        "lower_is_better": test.lower_is_better,
        **_named(test.difference),
        "p_adjusted": test.p_adjusted,
        "verdict": test.verdict,
        "note": test.note,
        "subjects": {name: _named(one) for name, one in test.subjects.items()},
    }


def _named(difference: Difference) -> dict[str, Any]:
    content = dataclasses.asdict(difference)
    return {"difference" if name == "value" else name: v for name, v in content.items()}


def _csv(comparison: Comparison) -> str:
    """One line a test, then one a subject; the column `subject` is empty for all together."""
    lines = []
    for test in comparison.tests:
        record = _record(test)
        each = record.pop("subjects")
        lines.append({"subject": "", **record})
        known = {k: record[k] for k in ("metric", "system_a", "system_b", "lower_is_better")}
        lines += [{"subject": name, **known, **one} for name, one in each.items()]
    return pd.DataFrame.from_records(lines).to_csv(index=False)


def text_of(comparison: Comparison) -> str:
    """Return the aligned table that a terminal shows, with what must be known around it."""
    level, tests = comparison.config.level, comparison.tests
    lines = [f"A = {comparison.a}", f"B = {comparison.b}", ""]
    rows: list[Sequence[str]] = [HEADINGS]
    for test in tests:
        rows.append(_cells(test))
        rows += [_subject_cells(name, one) for name, one in test.subjects.items()]
    lines += _aligned(rows)
    count = len(comparison.subjects)
    over = "subjects, then stimuli" if count > 1 else "stimuli"
    lines += [
        "",
        f"interval: {level:.4g} of {comparison.config.resamples} paired bootstrap resamples over "
        f"{over}; p: sign-flip permutation of {'subjects' if count > 1 else 'stimuli'}, two-sided; "
        f"adj. p: Benjamini-Hochberg over these {len(tests)} tests; d: mean difference / its SD.",
        f"better: adj. p below {1 - level:.4g} and an interval without 0. neither: not shown, "
        "which is not the same as equal.",
    ]
    notes = [f"note: {note}" for note in comparison.notes]
    notes += [f"note: {note}" for note in _shared_notes(tests)]
    notes += [f"not compared: {reason}" for reason in comparison.left_out]
    return "\n".join([*lines, *notes])


def _shared_notes(tests: Sequence[Compared]) -> list[str]:
    """Return every note once, with how many tests it is about."""
    noted: dict[str, int] = {}
    for test in tests:
        if test.note:
            noted[test.note] = noted.get(test.note, 0) + 1
    return [f"{note} ({count} of {len(tests)} tests)" for note, count in noted.items()]


def _cells(test: Compared) -> list[str]:
    same = test.system_a == test.system_b
    system = test.system_a if same else f"{test.system_a} - {test.system_b}"
    metric = test.metric + (" (lower is better)" if test.lower_is_better else "")
    return [system, metric, *_numbers(test.difference, _p(test.p_adjusted)), test.verdict]


def _subject_cells(name: str, one: Difference) -> list[str]:
    return ["", f"  {name}", *_numbers(one, ""), ""]


def _numbers(one: Difference, p_adjusted: str) -> list[str]:
    return [
        str(one.n),
        f"{one.a:.3f}",
        f"{one.b:.3f}",
        f"{one.value:+.3f}",
        f"[{one.low:+.3f}, {one.high:+.3f}]",
        _p(one.p),
        p_adjusted,
        "-" if one.effect is None else f"{one.effect:+.2f}",
    ]


def _p(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else f"{p:.0e}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Pad columns to one width: words to the left, numbers to the right."""
    widths = [max(len(row[c]) for row in rows) for c in range(len(HEADINGS))]
    words = (0, 1, len(HEADINGS) - 1)
    return [
        "  ".join(
            cell.ljust(width) if column in words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
