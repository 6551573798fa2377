"""The one reader of tables in text: nothing is shifted, doubled or renamed in silence."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from mindeye.errors import DataError


def read_table(source: Path | StringIO, *, name: str = "", **options: Any) -> pd.DataFrame:
    r"""Read a CSV, or with other options of `pandas.read_csv` another table in text.

    Parameters
    ----------
    source
        Path of the file, UTF-8 with or without a byte order mark, or its text.
    name
        Name of the table in messages; the path by default.
    **options
        Options of `pandas.read_csv`, such as ``sep`` and ``dtype``.

    Raises
    ------
    DataError
        If it is missing or unreadable, a column has no name or that of another one, or a line has
        more cells than there are columns. Empty cells after the last column are passed over.

    Examples
    --------
    >>> read_table(StringIO("stimulus_id,session,\n7,1,\n"))["stimulus_id"].tolist()
    [7]
    """
    name = name or str(source)
    try:
        text = source.getvalue() if isinstance(source, StringIO) else _text(source)
        rows = list(csv.reader(StringIO(text), delimiter=options.get("sep", ",")))
        columns = _columns(rows, name)
        for number, row in enumerate(rows[1:], start=2):
            if any(cell.strip() for cell in row[len(columns) :]):
                raise DataError(
                    f"{name} line {number} has {len(row)} cells, but there are {len(columns)} "
                    "columns; quote cells that hold the separator"
                )
        # index_col=False: else pandas takes the first column for an index where lines are longer.
        given = {"index_col": False, "usecols": range(len(columns)), **options}
        table: pd.DataFrame = pd.read_csv(StringIO(text), **given)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{name} is not a readable table: {error}") from error
    table.columns = pd.Index(columns)
    return table


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig")


def _columns(rows: list[list[str]], name: str) -> list[str]:
    """Return the names of the columns, less empty ones at the end of the line."""
    columns = [cell.strip() for cell in rows[0]] if rows else []
    while columns and not columns[-1]:
        columns.pop()
    if not columns:
        raise DataError(f"{name} has no line of column names")
    if "" in columns:
        raise DataError(f"{name}: column {columns.index('') + 1} has no name")
    twice = [column for column in columns if columns.count(column) > 1]
    if twice:
        raise DataError(f"{name} has two columns {twice[0]!r}; rename or leave out one")
    return columns
