"""What lies in a gallery's folder: its description, part by part, and the texts of its rows.

::

    DIR/gallery.json          description; a part counts only once it is listed here
        parts/00000.npy       (n, D) float16, unit vectors
        parts/00000.parquet   id, caption, url, where; one row a vector
        index/                files of the back-end
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.errors import DataError, MissingDependencyError
from mindeye.files import atomic_path, read_json, versions, write_json
from mindeye.gallery.exact import Vectors

FORMAT = "mindeye gallery 1"
DESCRIPTION = "gallery.json"
PART_NAME = re.compile(r"\d{5,9}")
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


@dataclass(frozen=True)
class VectorSpace:
    """The encoder whose space the vectors of a gallery lie in.

    Parameters
    ----------
    id
        Name of the encoder as in the metrics of runs; empty where it is not known.
    width
        Width D of the vectors.
    name
        Name by which `load_encoder` finds the encoder; empty if it cannot.
    tokens
        ``pooled``, or ``all`` tokens in one long vector.
    fingerprint
        Hash of the encoder's weights and library versions, where the gallery was embedded here.
    said
        How the encoder is known: ``computed here``, or ``as given``.
    """

    id: str
    width: int
    name: str = ""
    tokens: str = "pooled"
    fingerprint: str = ""
    said: str = "as given"

    def refuse_other(self, other: VectorSpace, what: object, folder: object) -> None:
        """Raise DataError if others are of another encoder or width; `what` names them."""
        if other.width != self.width:
            raise DataError(
                f"{what} has vectors of width {other.width} ({other.id or 'encoder unknown'}), "
                f"{folder} of width {self.width} ({self.id or 'encoder unknown'}); they are of "
                "different encoders"
            )
        if other.id and self.id and other.id != self.id:
            raise DataError(
                f"{what} lies in the space of {other.id}, {folder} in that of {self.id}; only "
                "embeddings of the same encoder can be compared"
            )


@dataclass(frozen=True)
class Part:
    """A run of vectors, and the job of a source that it came from.

    Parameters
    ----------
    name
        Name of its two files below ``parts``.
    rows
        Number of vectors; a part of none has no files.
    sha256, table_sha256
        Hashes of the two files.
    source, job, identity
        The source, the one of its jobs that became this part, and the hash of what the job reads.
    read
        Number of vectors or pictures that the job had.
    duplicates
        Number of these that were left out since their id was there before.
    rescaled
        Number of these that were not of norm 1 when they came.
    left_out
        Number of these that were unreadable or not finite, and left out on request.
    """

    name: str
    rows: int
    sha256: str
    table_sha256: str
    source: str
    job: str
    identity: str
    read: int
    duplicates: int = 0
    rescaled: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class Info:
    """The content of ``gallery.json``.

    Parameters
    ----------
    space
        Space of the vectors.
    parts
        Parts in the order of their rows.
    backend, options
        Name of what searches the gallery, and its options.
    complete
        Sources of which every job is there.
    roots
        Kind of every source, by its path: ``pictures``, ``shards`` or ``embeddings``.
    """

    space: VectorSpace
    parts: tuple[Part, ...] = ()
    backend: str = "exact"
    options: dict[str, Any] = field(default_factory=dict)
    complete: tuple[str, ...] = ()
    roots: dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of vectors, G."""
        return sum(part.rows for part in self.parts)

    @property
    def width(self) -> int:
        """Width D of the vectors."""
        return self.space.width

    @property
    def filled(self) -> list[Part]:
        """Parts that hold vectors."""
        return [part for part in self.parts if part.rows]

    def folder_of(self, row: int) -> Path:
        """Return the folder below which the picture of a row lay when it was embedded."""
        ends = np.cumsum([part.rows for part in self.filled], dtype=np.int64)
        source = Path(self.filled[int(np.searchsorted(ends, row, side="right"))].source)
        return source if source.is_dir() else source.parent


def part_paths(folder: Path, part: Part) -> tuple[Path, Path]:
    """Return the files of a part's vectors and of its texts."""
    path = folder / "parts" / part.name
    return path.with_suffix(".npy"), path.with_suffix(".parquet")


def open_vectors(folder: Path, info: Info) -> Vectors:
    """Return all vectors of a gallery, memory-mapped; raises DataError if a part is damaged."""
    paths = [part_paths(folder, part)[0] for part in info.filled]
    return Vectors(paths, [part.rows for part in info.filled], info.width)


def open_tables(folder: Path, info: Info) -> Tables:
    """Return the tables of all parts of a gallery."""
    paths = [part_paths(folder, part)[1] for part in info.filled]
    return Tables(paths, [part.rows for part in info.filled])


def read_info(folder: Path) -> Info:
    """Read ``gallery.json``; raises DataError if it is missing, damaged or of another format."""
    path = folder / DESCRIPTION
    try:
        content = read_json(path)
        if content["format"] != FORMAT:
            raise ValueError(f"not of the format {FORMAT!r}")
        parts = tuple(Part(**part) for part in content["parts"])
        if not all(PART_NAME.fullmatch(part.name) for part in parts):
            raise ValueError("names parts that no gallery has")
        known = {name: content[name] for name in ("backend", "options", "roots")}
        space, complete = VectorSpace(**content["encoder"]), tuple(content["complete"])
        return Info(space, parts, complete=complete, **known)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is missing or damaged ({error}); build the gallery") from error


def write_info(folder: Path, info: Info) -> None:
    """Write ``gallery.json`` atomically."""
    content = dataclasses.asdict(info)
    head = {"format": FORMAT, "encoder": content.pop("space"), "dtype": "float16"}
    head |= {"metric": "cosine", "count": info.count}
    write_json(folder / DESCRIPTION, {**head, **content, "versions": versions()})


class MemoryTables:
    """The texts of embeddings in memory; the interface is that of `Tables`.

    Parameters
    ----------
    table
        Texts of G rows: id, caption, url and where.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table.reset_index(drop=True)

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """Return one line a row, in order: row and its texts."""
        rows = np.asarray(rows, dtype=np.int64).reshape(-1)
        found = self.table.iloc[rows].reset_index(drop=True)
        found.insert(0, "row", rows)
        return found

    def ids(self) -> Iterator[tuple[int, list[str]]]:
        """Yield 0 and all ids."""
        yield 0, self.table["id"].tolist()


def texts_of_ids(ids: Sequence[str]) -> pd.DataFrame:
    """Return the table of rows of which the id alone is known."""
    table = pd.DataFrame("", index=range(len(ids)), columns=COLUMNS, dtype=object)
    table["id"] = list(ids)
    return table


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
        texts = {name: np.full(len(rows), "", dtype=object) for name in COLUMNS}
        if "id" not in self.named:
            texts["id"][:] = [str(row) if row >= 0 else "" for row in rows]
        files = np.searchsorted(self.starts, rows, side="right") - 1
        for index in np.unique(files[rows >= 0]).tolist():
            file, first = self._open(index), int(self.starts[index])
            for group in range(file.num_row_groups):
                last = first + file.metadata.row_group(group).num_rows
                places = np.flatnonzero((rows >= first) & (rows < last))
                if len(places):
                    columns = sorted(set(self.named.values()))
                    table = file.read_row_group(group, columns=columns).take(rows[places] - first)
                    for ours, theirs in self.named.items():
                        texts[ours][places] = texts_of(table.column(theirs))
                first = last
        return pd.DataFrame({"row": rows, **texts})

    def ids(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (first row, ids) a table at a time."""
        for index, first in enumerate(self.starts[:-1].tolist()):
            if "id" in self.named:
                column = self.named["id"]
                yield first, texts_of(self._open(index).read(columns=[column]).column(column))
            else:
                yield first, [str(row) for row in range(first, int(self.starts[index + 1]))]

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


Texts = Tables | MemoryTables


def open_table(path: Path) -> Any:
    """Open a parquet file without reading its rows; raises DataError if it is damaged."""
    _, parquet = arrow()
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors or OSErrors
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
