"""The table as a terminal shows it: beside a number what it takes to believe it."""

from __future__ import annotations

from collections.abc import Sequence

from mindeye.metrics.features import Missing
from mindeye.metrics.table import Row

HEADINGS = ("system", "metric", "value", "interval", "floor", "chance")
_REFERENCES = {"random_training": "random train", "nearest_training_true": "nearest train"}


def missing_lines(missing: Sequence[Missing]) -> list[str]:
    """One line per metric that cannot be computed here, then what brings them."""
    remedies = dict.fromkeys(one.how for one in missing)
    return [f"{one.metric}: {one.why}" for one in missing] + [f"-> {how}" for how in remedies]


def table_lines(rows: Sequence[Row]) -> list[str]:
    """Align rows under headings; columns without a single entry are left out.

    Parameters
    ----------
    rows
        Of the table, in order.

    Returns
    -------
    list of str
        Heading, a rule, and a line a row.
    """
    headings = [*HEADINGS, *_REFERENCES.values(), "n", "k"]
    cells = [_cells(row) for row in rows]
    kept = [c for c in range(len(headings)) if any(line[c] for line in cells)]
    lines = [[line[c] for c in kept] for line in (headings, *cells)]
    widths = [max(len(line[c]) for line in lines) for c in range(len(kept))]
    # Names to the left, numbers to the right.
    text = [
        "  ".join(
            cell.ljust(width) if c < 2 else cell.rjust(width)
            for c, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return [text[0], "-" * max(map(len, text)), *text[1:]]


def _cells(row: Row) -> list[str]:
    interval = "" if row.low is None else f"[{_number(row.low)}, {_number(row.high)}]"
    return [
        row.system,
        row.metric,
        _number(row.value),
        interval,
        _number(row.floor),
        _number(row.chance),
        *(_number(row.references.get(name)) for name in _REFERENCES),
        str(row.n),
        "" if row.k is None else str(row.k),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
