"""Embeddings out of files of several kinds, with the names that pictures of them get."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.commands.exporting import DESCRIPTION, FORMAT, TABLE
from mindeye.config.fingerprints import config_hash
from mindeye.errors import DataError, MissingDependencyError
from mindeye.files import open_array, read_json, sha256

ID_COLUMNS = ("stimulus_id", "key", "id")
"""Columns that name rows, the first one there is; clip-retrieval writes ``key`` and ``id``."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}")
"""What may become the name of a file."""

RESERVED = ("contact_sheet",)
"""Names of other files beside the pictures."""


@dataclass(frozen=True)
class EmbeddingFile:
    """Embeddings and what is known about them.

    Parameters
    ----------
    array
        (N, K, D) or (N, D), any float type, memory-mapped where the file allows it.
    names
        (N,) one a row, no two alike, fit to be names of files.
    seeds
        (N,) of the samples, None where the file tells none.
    stimulus
        (N,) row of a row's stimulus in arrays that have one row a stimulus.
    description
        What ``embeddings.json`` beside them says, empty without one.
    digest
        Identity of the content.
    """

    array: NDArray[Any]
    names: list[str]
    seeds: list[int] | None
    stimulus: NDArray[np.int64]
    description: dict[str, Any]
    digest: str


def read_embedding_file(path: Path, *, column: str = "") -> EmbeddingFile:
    """Read embeddings: an .npy array, a .parquet table or a folder of `export_embeddings`.

    Parameters
    ----------
    path
        The file or folder.
    column
        Column of a table that holds the vectors; by default the only one of lists of numbers.

    Raises
    ------
    DataError
        If it is none of these, damaged, holds no numbers or names that no file can have.
    MissingDependencyError
        If a table is given and pyarrow is not installed.
    """
    if path.is_dir():
        found = _read_export(path)
    elif not path.is_file():
        raise DataError(f"there is no embedding file {path}")
    elif path.suffix == ".npy":
        found = _read_npy(path)
    elif path.suffix in (".parquet", ".pq"):
        found = _read_table(path, column)
    else:
        raise DataError(
            f"{path} is no .npy, no .parquet and no folder of `mindeye export-embeddings`"
        )
    if found.array.ndim not in (2, 3) or found.array.dtype.kind != "f" or not found.array.size:
        raise DataError(
            f"{path} holds {found.array.dtype} of shape {found.array.shape}; embeddings are "
            "floats (N, D) or (N, K, D)"
        )
    return found


def _read_npy(path: Path) -> EmbeddingFile:
    array = open_array(path, "give an array of floats (N, D) or (N, K, D)")
    count = len(array) if array.ndim else 0
    names = [f"{i:06d}" for i in range(count)]
    return EmbeddingFile(array, names, None, np.arange(count), {}, sha256(path))


def _read_export(folder: Path) -> EmbeddingFile:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise DataError(
            f"{folder} holds no finished export (no {DESCRIPTION}); run `mindeye "
            "export-embeddings` again, or name one of its files"
        )
    try:
        description = read_json(path)
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); export again") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise DataError(f"{path} is not of the format {FORMAT!r}; export again")
    array = open_array(folder / "samples.npy", "export again")
    table = _parquet(folder / TABLE)
    missing = {"stimulus_id", "candidate", "stimulus", "seed"} - set(table.column_names)
    if missing or table.num_rows != len(array):
        raise DataError(
            f"{folder / TABLE} does not describe the {len(array)} rows of samples.npy; export again"
        )
    ids, candidates = _texts(table, "stimulus_id"), table.column("candidate").to_pylist()
    names = [f"{i}_{c}" for i, c in zip(ids, candidates, strict=True)]
    return EmbeddingFile(
        array,
        _checked(names, folder / TABLE),
        [int(s) for s in table.column("seed").to_pylist()],
        np.asarray(table.column("stimulus").to_pylist(), dtype=np.int64),
        description,
        config_hash(description),
    )


def _read_table(path: Path, column: str) -> EmbeddingFile:
    table = _parquet(path)
    array = _vectors(table, column, path)
    given = next((name for name in ID_COLUMNS if name in table.column_names), None)
    names = [f"{i:06d}" for i in range(len(array))] if given is None else _texts(table, given)
    if given is not None and "candidate" in table.column_names:
        names = [f"{n}_{c}" for n, c in zip(names, _texts(table, "candidate"), strict=True)]
    seeds = None
    if "seed" in table.column_names and table.column("seed").null_count == 0:
        try:
            seeds = [int(s) for s in table.column("seed").to_pylist()]
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: column seed holds no whole numbers ({error})") from error
    rows = np.arange(len(array))
    return EmbeddingFile(array, _checked(names, path), seeds, rows, {}, sha256(path))


def _parquet(path: Path) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingDependencyError("pyarrow", "parquet") from error
    try:
        return parquet.ParquetFile(path).read()
    except (pa.ArrowException, OSError, ValueError) as error:
        first = str(error).partition("\n")[0]
        raise DataError(f"{path} is not a readable parquet table ({first})") from error


def _texts(table: Any, name: str) -> list[str]:
    return ["" if v is None else str(v) for v in table.column(name).to_pylist()]


def _checked(names: list[str], path: Path) -> list[str]:
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        if not NAME.fullmatch(name) or name.lower() in RESERVED:
            raise DataError(
                f"{path}, row {row}: {name[:60]!r} cannot name a picture file; use letters, "
                "digits, _ - and ."
            )
        if name.lower() in seen:  # some file systems take upper and lower case for the same
            raise DataError(f"{path}, rows {seen[name.lower()]} and {row}: both are named {name!r}")
        seen[name.lower()] = row
    return names


def _vectors(table: Any, column: str, path: Path) -> NDArray[Any]:
    """Return the vectors (N, D) of a column of lists."""
    import pyarrow.types as kinds

    def is_list(kind: Any) -> bool:
        listed = kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)
        return bool(listed and kinds.is_floating(kind.value_type))

    known = [field.name for field in table.schema if is_list(field.type)]
    listed = ", ".join(known) or "none"
    if column and column not in known:
        raise DataError(f"{path} has no column {column!r} of lists of floats; it has {listed}")
    if not known:
        raise DataError(f"{path} has no column of lists of floats; vectors come as one list a row")
    if not column and len(known) > 1:
        raise DataError(f"{path} has several columns of lists of floats ({listed}); name --column")
    values = table.column(column or known[0])
    if values.null_count:
        row = next(i for i, v in enumerate(values) if not v.is_valid)
        raise DataError(f"{path}, row {row}: no embedding")
    rows = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in values.chunks]
    lengths = np.concatenate(
        [_lengths(chunk) for chunk in values.chunks] or [np.zeros(0, dtype=np.int64)]
    )
    if len(lengths) == 0:
        raise DataError(f"{path} has no rows")
    if (lengths != lengths[0]).any():
        row = int((lengths != lengths[0]).argmax())
        raise DataError(f"{path}, row {row}: {lengths[row]} numbers, row 0 has {lengths[0]}")
    return np.concatenate(rows).reshape(len(lengths), -1)


def _lengths(chunk: Any) -> NDArray[np.int64]:
    import pyarrow.compute as compute

    return np.asarray(compute.list_value_length(chunk), dtype=np.int64)
