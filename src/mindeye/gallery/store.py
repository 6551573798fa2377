"""A gallery on disk: what is in it, written part by part and opened again.

::

    DIR/gallery.json          what is in it; a part counts only once it is listed here
        parts/00000.npy       (n, D) float16, unit vectors
        parts/00000.parquet   id, caption, url, where; one row a vector
        index/                what the back-end needs
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.files import read_json, versions, write_json
from mindeye.gallery.backends import load_backend
from mindeye.gallery.base import Backend
from mindeye.gallery.rows import Rows
from mindeye.gallery.vectors import Vectors

FORMAT = "mindeye gallery 1"
DESCRIPTION = "gallery.json"
PART_NAME = re.compile(r"\d{5,9}")


@dataclass(frozen=True)
class Space:
    """The space that a gallery's vectors lie in.

    Parameters
    ----------
    id
        The encoder's name, as in the metrics of runs; empty where nobody told it.
    width
        D.
    name
        By which `load_encoder` finds it; empty if it cannot.
    tokens
        ``pooled``, or ``all`` tokens in one long vector.
    fingerprint
        Of the encoder's weights and library versions, where it embedded the gallery itself.
    said
        How it is known: ``computed here``, or ``as given``.
    """

    id: str
    width: int
    name: str = ""
    tokens: str = "pooled"
    fingerprint: str = ""
    said: str = "as given"


@dataclass(frozen=True)
class Part:
    """A run of vectors, and the job of a source that it came from.

    Parameters
    ----------
    name
        Of its two files below ``parts``.
    rows
        How many vectors; of none there are no files.
    sha256, table_sha256
        Of the two files.
    source, job, identity
        Which source, which of its jobs, and the hash of what the job reads.
    read
        Vectors or pictures that the job had.
    duplicates
        Of these, left out since their id was there before.
    rescaled
        Of these, not of norm 1 when they came.
    left_out
        Of these, unreadable or not finite, left out on request.
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
    """What ``gallery.json`` says.

    Parameters
    ----------
    space
        Of the vectors.
    parts
        In order of rows.
    backend, options
        What searches it; options are the back-end's own, seeds included.
    complete
        Sources of which every job is there.
    roots
        Source -> where its pictures are found, for `where` of the tables.
    """

    space: Space
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


@dataclass(frozen=True)
class Gallery:
    """An opened gallery.

    Parameters
    ----------
    path
        Its folder.
    info
        What is in it.
    outside
        Of an index made elsewhere: its file and tables; there are no vectors then.
    """

    path: Path
    info: Info
    outside: Rows | None = None

    def __len__(self) -> int:
        return len(self.outside) if self.outside is not None else self.info.count

    @property
    def index(self) -> Path:
        """Folder of what the back-end needs."""
        return self.path / "index"

    @property
    def has_vectors(self) -> bool:
        """Whether the vectors themselves are there, for exact scores."""
        return self.outside is None

    @cached_property
    def vectors(self) -> Vectors:
        """All vectors, memory-mapped.

        Raises
        ------
        DataError
            If there are none, or a part is damaged.
        """
        if not self.has_vectors:
            raise DataError(
                f"{self.path} is an index made elsewhere, without vectors; build a gallery from "
                "the embeddings it was made of"
            )
        parts = [part for part in self.info.parts if part.rows]
        paths = [vectors_path(self.path, part.name) for part in parts]
        return Vectors(paths, [part.rows for part in parts], self.info.width)

    @cached_property
    def rows(self) -> Rows:
        """What is known of every row."""
        if self.outside is not None:
            return self.outside
        parts = [part for part in self.info.parts if part.rows]
        return Rows([table_path(self.path, p.name) for p in parts], [p.rows for p in parts])

    def metadata(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """Return row, id, caption, url and where of rows, in order; -1 has empty texts."""
        return self.rows.take(rows)

    def backend(self) -> Backend:
        """Open what searches it.

        Raises
        ------
        DataError
            If its index is missing or damaged, or the gallery is empty.
        """
        if len(self) == 0:
            raise DataError(f"{self.path} is an empty gallery; add something to it first")
        return load_backend(self.info.backend).open(self)

    def with_options(self, **options: Any) -> Gallery:
        """Return the same gallery, searched under other options; None leaves one as it is."""
        told = {name: value for name, value in options.items() if value is not None}
        info = dataclasses.replace(self.info, options={**self.info.options, **told})
        return dataclasses.replace(self, info=info)


def vectors_path(folder: Path, part: str) -> Path:
    """Return the file of a part's vectors."""
    return folder / "parts" / f"{part}.npy"


def table_path(folder: Path, part: str) -> Path:
    """Return the file of what is known of a part's rows."""
    return folder / "parts" / f"{part}.parquet"


def open_gallery(folder: Path, *, unfinished: bool = False) -> Gallery:
    """Open a gallery, or an index folder of clip-retrieval or autofaiss as it is.

    Parameters
    ----------
    folder
        ``gallery.json`` is in it, or ``image.index`` / ``knn.index`` beside metadata.
    unfinished
        Also one whose build was cut off.

    Raises
    ------
    DataError
        If there is none, its description is damaged, or its build was cut off.
    """
    if not (folder / DESCRIPTION).is_file():
        from mindeye.gallery.opened import open_index_folder

        return open_index_folder(folder)
    info = read_info(folder)
    if not unfinished:
        for source in dict.fromkeys(part.source for part in info.parts):
            if source not in info.complete:
                raise DataError(
                    f"the build of {folder} from {source} was cut off after {info.count} vectors; "
                    "run the same command again, it goes on"
                )
    return Gallery(folder, info)


def read_info(folder: Path) -> Info:
    """Read ``gallery.json``.

    Raises
    ------
    DataError
        If it is missing, damaged, of another format, or names files that no gallery has.
    """
    path = folder / DESCRIPTION
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is missing or damaged ({error}); build the gallery") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path} is not of the format {FORMAT!r}; build the gallery again")
    try:
        parts = tuple(Part(**part) for part in content["parts"])
        info = Info(
            space=Space(**content["encoder"]),
            parts=parts,
            backend=str(content["backend"]),
            options=dict(content["options"]),
            complete=tuple(content["complete"]),
            roots=dict(content["roots"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} lacks or adds a field ({error}); build again") from error
    numbers = [value for p in parts for value in (p.rows, p.read)] + [info.width]
    if not all(type(n) is int and n >= 0 for n in numbers) or info.width < 1:
        raise DataError(f"{path} counts rows or width by something else than whole numbers")
    if not all(isinstance(p.name, str) and PART_NAME.fullmatch(p.name) for p in parts):
        raise DataError(f"{path} names parts that no gallery has; build the gallery again")
    return info


def write_info(folder: Path, info: Info) -> None:
    """Write ``gallery.json`` atomically."""
    content: Mapping[str, Any] = {
        "format": FORMAT,
        "encoder": dataclasses.asdict(info.space),
        "dtype": "float16",
        "metric": "cosine",
        "count": info.count,
        "backend": info.backend,
        "options": info.options,
        "complete": list(info.complete),
        "roots": info.roots,
        "parts": [dataclasses.asdict(part) for part in info.parts],
        "versions": versions(),
    }
    write_json(folder / DESCRIPTION, content)
