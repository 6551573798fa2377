"""The description of a gallery on disk: what lies in it, part by part, and where.

::

    DIR/gallery.json          description; a part counts only once it is listed here
        parts/00000.npy       (n, D) float16, unit vectors
        parts/00000.parquet   id, caption, url, where; one row a vector
        index/                files of the back-end
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.files import read_json, versions, write_json
from mindeye.gallery.tables import Tables
from mindeye.gallery.vectors import Vectors

FORMAT = "mindeye gallery 1"
DESCRIPTION = "gallery.json"
PART_NAME = re.compile(r"\d{5,9}")


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
        """Refuse vectors of another encoder or width than those of this gallery, both named.

        Parameters
        ----------
        other
            Space of the vectors that come.
        what, folder
            Names of the vectors and of this gallery, for the message.

        Raises
        ------
        DataError
            If the widths differ, or the encoders where both are known.
        """
        if other.width != self.width:
            raise DataError(
                f"{what} has vectors of width {other.width} ({other.id or 'encoder not told'}), "
                f"{folder} of width {self.width} ({self.id or 'encoder not told'}); they are of "
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

    def sources_of(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the path of the source that each of rows (n,) came from."""
        ends = np.cumsum([part.rows for part in self.filled], dtype=np.int64)
        return [self.filled[i].source for i in np.searchsorted(ends, rows, side="right")]


def vectors_path(folder: Path, part: str) -> Path:
    """Return the file of a part's vectors."""
    return folder / "parts" / f"{part}.npy"


def table_path(folder: Path, part: str) -> Path:
    """Return the file of what is known of a part's rows."""
    return folder / "parts" / f"{part}.parquet"


def open_vectors(folder: Path, info: Info) -> Vectors:
    """Return all vectors of a gallery, memory-mapped; raises DataError if a part is damaged."""
    paths = [vectors_path(folder, part.name) for part in info.filled]
    return Vectors(paths, [part.rows for part in info.filled], info.width)


def open_tables(folder: Path, info: Info) -> Tables:
    """Return the tables of all parts of a gallery."""
    paths = [table_path(folder, part.name) for part in info.filled]
    return Tables(paths, [part.rows for part in info.filled])


class IdSet:
    """The ids of a gallery as hashes of 128 bits, 16 bytes an id whatever its length."""

    def __init__(self) -> None:
        self.hashes = np.zeros((2, 0), dtype=np.uint64)

    def new(self, ids: list[str]) -> NDArray[np.bool_]:
        """Return which ids (n,) are neither in the set nor earlier in the list."""
        fresh = np.array(~pd.Series(ids, dtype=object).duplicated(), dtype=bool)
        if not self.hashes.size:
            return fresh
        hashes = _hashes(ids)
        place = np.searchsorted(self.hashes[0], hashes[0]).clip(max=self.hashes.shape[1] - 1)
        known: NDArray[np.bool_] = (self.hashes[:, place] == hashes).all(axis=0)
        return fresh & ~known

    def add(self, ids: list[str]) -> None:
        """Take ids in."""
        joined = np.concatenate([self.hashes, _hashes(ids)], axis=1)
        self.hashes = joined[:, np.argsort(joined[0], kind="stable")]


def _hashes(ids: list[str]) -> NDArray[np.uint64]:
    texts = np.array(ids, dtype=object)
    keys = ("0123456789123456", "gallery's second")  # of 16 bytes each, as SipHash takes them
    each = [pd.util.hash_array(texts, hash_key=key, categorize=False) for key in keys]
    return np.stack(each).astype(np.uint64)


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
            space=VectorSpace(**content["encoder"]),
            parts=parts,
            backend=str(content["backend"]),
            options=dict(content["options"]),
            complete=tuple(content["complete"]),
            roots=dict(content["roots"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} lacks or adds a field ({error}); build again") from error
    if not all(isinstance(p.name, str) and PART_NAME.fullmatch(p.name) for p in parts):
        raise DataError(f"{path} names parts that no gallery has; build the gallery again")
    return info


def write_info(folder: Path, info: Info) -> None:
    """Write ``gallery.json`` atomically."""
    content = {
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
