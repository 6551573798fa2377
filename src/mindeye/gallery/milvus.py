"""The back-end for galleries that outgrow one machine: Milvus, embedded (Lite) or by address.

::

    DIR/index/milvus.json     where the collection is, which index; never a token
        milvus.db             Milvus Lite's files, unless another place was given

Milvus finds candidates; their scores are exact cosines with the vectors of the gallery, and so is
their order. Lite and a server are reached through the same client and the same calls; a server of
more than Milvus Lite was not at hand to check against.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import ConfigError, DataError, UsageError
from mindeye.files import read_json, write_json
from mindeye.gallery.base import NOTHING, Matches
from mindeye.gallery.milvus_collection import Collection
from mindeye.gallery.milvus_options import (
    WIDEST,
    MilvusOptions,
    place_of,
    reach,
    read_options,
)
from mindeye.gallery.milvus_server import Server
from mindeye.gallery.ranking import rescored
from mindeye.gallery.store import Gallery

DESCRIPTION = "milvus.json"

MOST_FETCHED = 16_384
"""Neighbours that Milvus gives at once (Milvus documentation, "Milvus Limits")."""

ROUNDING = 1e-3
"""Milvus divides by norms, which halves round off 1 by less than 2^-11; twice that is safe."""

QUERIES = 64
"""Sent at once."""


def build(gallery: Gallery, options: Mapping[str, Any]) -> None:
    """Insert what is not in the collection yet, and index it.

    Parameters
    ----------
    gallery
        With vectors.
    options
        Of `MilvusOptions`, by name.

    Raises
    ------
    ConfigError
        If an option is unknown, Milvus does not have or not build the index, the vectors are too
        wide, or the files of Milvus Lite are another process's.
    DataError
        If the gallery is empty, or the collection holds something else.
    MilvusError
        If the Milvus does not answer or dies; rows that it committed stay, and the next call
        goes on after them.
    MissingDependencyError
        If pymilvus is not installed.
    """
    asked = read_options(options)
    kind = asked.kind
    if gallery.info.width > WIDEST:
        raise ConfigError(
            f"vectors of {gallery.path} are {gallery.info.width} wide, Milvus takes {WIDEST} at "
            "most; use the back-end exact or faiss"
        )
    if len(gallery) == 0:
        raise DataError(f"{gallery.path} is an empty gallery; add something to it first")
    name = asked.collection or f"mindeye_{_first_sha(gallery)[:12]}"
    with Server(place_of(gallery.index, asked.uri), asked) as server:
        server.refuse_unbuilt(kind)
        Collection(server, name).fill(gallery.vectors, kind)
    content = {"uri": asked.uri, "collection": name, "index": kind, "count": len(gallery)}
    write_json(gallery.index / DESCRIPTION, content)


def _first_sha(gallery: Gallery) -> str:
    return next(part.sha256 for part in gallery.info.parts if part.rows)


def open(gallery: Gallery) -> MilvusBackend:
    """Open the collection of a gallery; its server is let go of by `close`, or with the object.

    Raises
    ------
    DataError
        If there is none, or it holds another number of rows than the gallery.
    ConfigError, MilvusError, MissingDependencyError
        As `build`.
    """
    path = gallery.index / DESCRIPTION
    try:
        content = read_json(path)
        uri, name, kind = (str(content[key]) for key in ("uri", "collection", "index"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is missing or damaged ({error!r}); build the gallery again, what the Milvus "
            "holds already stays"
        ) from error
    asked = read_options(gallery.info.options)
    server = Server(place_of(gallery.index, uri), asked)
    try:
        collection = Collection(server, name)
        collection.load()
        held = collection.count()
        if held != len(gallery):
            raise DataError(
                f"the collection {name} at {server.place} holds {held} rows, {gallery.path} has "
                f"{len(gallery)}; build the gallery again, it goes on"
            )
        return MilvusBackend(gallery, collection, kind, asked)
    except BaseException:
        server.close()
        raise


class MilvusBackend:
    """Searches a collection.

    Parameters
    ----------
    gallery
        Whose vectors it holds.
    collection
        Loaded.
    kind
        Its index.
    options
        How to search.
    """

    name = "milvus"

    def __init__(
        self, gallery: Gallery, collection: Collection, kind: str, options: MilvusOptions
    ) -> None:
        self.vectors = gallery.vectors
        self.collection, self.kind, self.options = collection, kind, options
        self._finish = weakref.finalize(self, collection.server.close)

    def __enter__(self) -> MilvusBackend:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the server; with Milvus Lite, another process can have it then."""
        self._finish()

    def search(self, queries: NDArray[np.float32], k: int) -> Matches:
        """Return the k nearest rows of every query; k is capped at the size of the gallery.

        With the index ``flat`` they are those of the exact back-end, ties included.

        Parameters
        ----------
        queries
            (Q, D) of norm 1.
        k
            How many.

        Raises
        ------
        UsageError
            If k is more than Milvus gives at once.
        MilvusError
            If the Milvus does not answer.
        """
        wanted = min(k, len(self.vectors))
        if wanted > MOST_FETCHED:
            raise UsageError(
                f"k is {k}, a Milvus gives {MOST_FETCHED} at most; use the back-end exact or faiss"
            )
        rows = np.full((len(queries), wanted), NOTHING, dtype=np.int64)
        scores = np.full((len(queries), wanted), -np.inf, dtype=np.float32)
        for first in range(0, len(queries), QUERIES):
            block = slice(first, first + QUERIES)
            self._search_block(queries[block], rows[block], scores[block])
        return Matches(rows, scores)

    def _search_block(
        self, queries: NDArray[np.float32], rows: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> None:
        """Write the matches of a few queries into `rows` and `scores`."""
        wanted, most = rows.shape[1], min(MOST_FETCHED, len(self.vectors))
        limit = min(reach(self.kind, self.options, wanted), most)
        left = np.arange(len(queries))
        while len(left):
            found, last = self.collection.search(queries[left], limit, self.kind, len(self.vectors))
            best = rescored(self.vectors, queries[left], found, wanted)
            rows[left], scores[left] = best.rows, best.scores
            if self.kind != "FLAT" or limit == most:
                return
            # Others as near as the last one wanted may lie beyond what was fetched.
            left = left[last >= best.scores[:, -1] - ROUNDING]
            limit = min(2 * limit, most)
