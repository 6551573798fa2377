"""What is known of every row of a gallery: id, caption, url, and where its picture is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.errors import DataError, MissingDependencyError
from mindeye.files import atomic_path

COLUMNS = ("id", "caption", "url", "where")

ROW_GROUP = 16_384
"""Rows that a reader takes at once to get at one of them."""


class Rows:
    """The tables of a gallery, read a few rows at a time.

    Parameters
    ----------
    paths
        Parquet tables in order.
    counts
        Rows that each must have.
    named
        One of `COLUMNS` -> what the tables call it; by default the same. What is not named is
        empty, and an id the number of the row.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        counts: Sequence[int],
        *,
        named: dict[str, str] | None = None,
    ) -> None:
        self.paths = list(paths)
        self.named = {name: name for name in COLUMNS} if named is None else named
        self.starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def take(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """Return one line a row, in order: row, id, caption, url, where; -1 has empty texts.

        Raises
        ------
        DataError
            If a table is missing, damaged, or of another number of rows; or a row too large.
        """
        wanted = np.asarray(rows, dtype=np.int64).reshape(-1)
        if wanted.size and wanted.max() >= len(self):
            raise DataError(f"row {wanted.max()} of a gallery of {len(self)}")
        found = {name: np.full(len(wanted), "", dtype=object) for name in COLUMNS}
        where = np.searchsorted(self.starts, wanted, side="right") - 1
        for index in np.unique(where[wanted >= 0]):
            mine = np.flatnonzero((where == index) & (wanted >= 0))
            self._fill(found, int(index), wanted[mine] - self.starts[index], mine)
        if "id" not in self.named:
            found["id"] = np.array([str(r) if r >= 0 else "" for r in wanted], dtype=object)
        return pd.DataFrame({"row": wanted, **found})

    def ids(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (first row, ids) a table at a time."""
        for index, first in enumerate(self.starts[:-1].tolist()):
            if "id" not in self.named:
                yield first, [str(row) for row in range(first, int(self.starts[index + 1]))]
                continue
            column = self.named["id"]
            table = self._open(index).read(columns=[column])
            yield first, texts(table.column(column))

    def _fill(
        self,
        found: dict[str, NDArray[Any]],
        index: int,
        inside: NDArray[np.int64],
        places: NDArray[np.int64],
    ) -> None:
        """Write the texts of rows `inside` a table to `places`."""
        file = self._open(index)
        groups = file.metadata
        sizes = [groups.row_group(i).num_rows for i in range(groups.num_row_groups)]
        ends = np.cumsum(sizes)
        which = np.searchsorted(ends, inside, side="right")
        for group in np.unique(which):
            mine = which == group
            table = file.read_row_group(int(group), columns=sorted(set(self.named.values())))
            table = table.take(inside[mine] - (int(ends[group]) - sizes[int(group)]))
            for ours, theirs in self.named.items():
                found[ours][places[mine]] = texts(table.column(theirs))

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
    pa, parquet = _arrow()
    try:
        return parquet.ParquetFile(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        first = str(error).partition("\n")[0]
        raise DataError(
            f"{path} is missing, cut off or not a parquet table ({first}); fetch or write it again"
        ) from error


NAMES = {
    "id": ("id", "stimulus_id", "key", "sample_id", "image_path"),
    "caption": ("caption", "text"),
    "url": ("url",),
    "where": ("where", "image_path"),
}
"""What tables of others call our columns, in any case of letters; the first there is counts.

clip-retrieval writes ``image_path`` (of shards their key) and ``caption``, and beside them
whatever img2dataset knew of a picture: ``key``, ``url`` ...; LAION's own tables have ``URL``,
``TEXT`` and ``SAMPLE_ID``. From the code of both; not checked against real files here.
"""


def named_columns(names: Sequence[str]) -> dict[str, str]:
    """Return one of `COLUMNS` -> the column of another's table that holds it, where one does."""
    lower = {name.lower(): name for name in reversed(names)}
    found = {}
    for ours, known in NAMES.items():
        theirs = next((lower[name] for name in known if name in lower), None)
        if theirs is not None:
            found[ours] = theirs
    return found


def texts(column: Any) -> list[str]:
    """Return a column as texts, empty where there is nothing."""
    return ["" if v is None or v != v else str(v) for v in column.to_pylist()]


def write_rows(path: Path, columns: dict[str, list[str]]) -> None:
    """Write `COLUMNS` of one part atomically; the same texts give the same bytes."""
    pa, parquet = _arrow()
    # Texts out of the wild may hold half a surrogate pair, which no UTF-8 file can.
    kept = {
        name: [t.encode("utf-8", "replace").decode() for t in columns[name]] for name in COLUMNS
    }
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    with atomic_path(path) as temporary:
        parquet.write_table(pa.table(kept, schema=schema), temporary, row_group_size=ROW_GROUP)


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingDependencyError("pyarrow", "gallery") from error
    return pa, parquet
