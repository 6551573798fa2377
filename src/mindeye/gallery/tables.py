"""What is known of every row of a gallery, in parquet: its id, caption, url and picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.errors import DataError, MissingDependencyError
from mindeye.files import atomic_path

COLUMNS = ["id", "caption", "url", "where"]

ROW_GROUP = 16_384
"""Rows that a reader takes at once to get at one of them."""

NAMES = {
    "id": ("id", "stimulus_id", "key", "sample_id", "image_path"),
    "caption": ("caption", "text"),
    "url": ("url",),
    "where": ("where", "image_path"),
}
"""Names of our columns in other people's tables, in any case of letters; the first there counts.

clip-retrieval writes ``image_path`` (of shards their key) and ``caption``, and beside them
whatever img2dataset knew of a picture: ``key``, ``url`` ...; LAION's own tables have ``URL``,
``TEXT`` and ``SAMPLE_ID``. From the code of both; not checked against real files here.
"""


class Tables:
    """The parquet tables of a gallery, read a few rows at a time.

    Parameters
    ----------
    paths
        Files in order.
    counts
        Number of rows that each must have.
    named
        Name in the files of each of `COLUMNS` that they have; by default the same. A column that
        is not named is empty, and an id is the number of the row.
    """

    def __init__(
        self, paths: Sequence[Path], counts: Sequence[int], *, named: dict[str, str] | None = None
    ) -> None:
        self.paths = list(paths)
        self.named = {name: name for name in COLUMNS} if named is None else named
        self.starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def take(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """Return one line a row, in order: row and `COLUMNS`; the texts of row -1 are empty.

        Raises
        ------
        DataError
            If a table is missing, damaged, or of another number of rows; or a row is too large.
        """
        rows = np.asarray(rows, dtype=np.int64).reshape(-1)
        if rows.size and rows.max() >= len(self):
            raise DataError(f"row {rows.max()} of a gallery of {len(self)}")
        found = {name: np.full(len(rows), "", dtype=object) for name in COLUMNS}
        tables = np.searchsorted(self.starts, rows, side="right") - 1
        for index in np.unique(tables[rows >= 0]):
            places = np.flatnonzero((tables == index) & (rows >= 0))
            inside = rows[places] - self.starts[index]
            for column, texts in self._read(int(index), inside).items():
                found[column][places] = texts
        if "id" not in self.named:
            found["id"] = np.array([str(r) if r >= 0 else "" for r in rows], dtype=object)
        return pd.DataFrame({"row": rows, **found})

    def ids(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (first row, ids) a table at a time."""
        for index, first in enumerate(self.starts[:-1].tolist()):
            if "id" in self.named:
                column = self.named["id"]
                yield first, texts_of(self._open(index).read(columns=[column]).column(column))
            else:
                yield first, [str(row) for row in range(first, int(self.starts[index + 1]))]

    def _read(self, index: int, inside: NDArray[np.int64]) -> dict[str, NDArray[np.object_]]:
        """Return the texts of rows (n,) of one table; only the row groups they lie in are read."""
        file = self._open(index)
        groups = range(file.metadata.num_row_groups)
        ends = np.cumsum([file.metadata.row_group(group).num_rows for group in groups])
        group_of = np.searchsorted(ends, inside, side="right")
        wanted, columns = np.unique(group_of), sorted(set(self.named.values()))
        table = file.read_row_groups(wanted.tolist(), columns=columns)
        starts = np.concatenate([[0], ends])
        sizes = np.diff(starts)[wanted]
        offsets = np.concatenate([[0], np.cumsum(sizes)])[np.searchsorted(wanted, group_of)]
        table = table.take(offsets + inside - starts[group_of])
        return {
            ours: np.array(texts_of(table.column(theirs)), dtype=object)
            for ours, theirs in self.named.items()
        }

    def _open(self, index: int) -> Any:
        file = open_table(self.paths[index])
        expected = int(self.starts[index + 1] - self.starts[index])
        missing = set(self.named.values()) - set(file.schema_arrow.names)
        if missing or file.metadata.num_rows != expected:
            raise DataError(
                f"{self.paths[index]} has {file.metadata.num_rows} rows and lacks "
                f"{sorted(missing) or 'no columns'}; it must describe {expected} vectors"
            )
        return file


def open_table(path: Path) -> Any:
    """Open a parquet file without reading its rows.

    Raises
    ------
    DataError
        If it is missing, cut off or damaged.
    MissingDependencyError
        If pyarrow is not installed.
    """
    pa, parquet = arrow()
    try:
        return parquet.ParquetFile(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        first = str(error).partition("\n")[0]
        raise DataError(
            f"{path} is missing, cut off or not a parquet table ({first}); fetch or write it again"
        ) from error


def named_columns(names: Sequence[str]) -> dict[str, str]:
    """Return one of `COLUMNS` -> the column of another's table that holds it, where one does."""
    lower = {name.lower(): name for name in reversed(names)}
    found = {}
    for ours, known in NAMES.items():
        theirs = next((lower[name] for name in known if name in lower), None)
        if theirs is not None:
            found[ours] = theirs
    return found


def texts_of(column: Any) -> list[str]:
    """Return a column as texts, empty where there is nothing."""
    return ["" if v is None or v != v else str(v) for v in column.to_pylist()]


def write_table(
    path: Path, table: pd.DataFrame, metadata: dict[bytes, bytes] | None = None
) -> None:
    """Write columns of texts atomically; the same texts give the same bytes."""
    pa, parquet = arrow()
    # Texts out of the wild may hold half a surrogate pair, which no UTF-8 file can.
    columns = {
        name: [text.encode("utf-8", "replace").decode() for text in table[name]] for name in table
    }
    schema = pa.schema([(name, pa.string()) for name in columns], metadata=metadata)
    with atomic_path(path) as temporary:
        parquet.write_table(pa.table(columns, schema=schema), temporary, row_group_size=ROW_GROUP)


def arrow() -> tuple[Any, Any]:
    """Return pyarrow and its parquet module; raises MissingDependencyError without them."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingDependencyError("pyarrow", "gallery") from error
    return pa, parquet
