"""Milvus as the back-end of galleries that outgrow one machine: embedded (Lite) or by address.

::

    DIR/index/milvus.json     where the collection is, which index; never a token
        milvus.db             files of Milvus Lite, where no address was given

Milvus finds candidates; their scores are exact cosines with the vectors of the gallery, and so is
their order. Lite and a server are reached through the same client and the same calls; a server of
more than Milvus Lite was not at hand to check against. A token (user:password) is read from the
environment variable MILVUS_TOKEN and never written down.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import ConfigError, DataError, MindEyeError, MissingDependencyError
from mindeye.files import read_json, write_json
from mindeye.gallery.config import IndexConfig
from mindeye.gallery.exact import NOTHING, Matches, Vectors, joined, rescored
from mindeye.gallery.store import Info
from mindeye.progress import track

INDEXES = ("flat", "hnsw", "ivf_flat", "ivf_sq8")
"""What Milvus Lite 3.2 builds (tried out). Others it may accept and then search without them."""

MOST_FETCHED = 16_384
"""Milvus' limit on answers to a query (documentation, "Milvus Limits")."""

BATCH, MOST_BYTES = 1000, 8 << 20
"""Rows and bytes in one message; a server takes 64 MiB with everything (its proxy's default)."""

TIMEOUT, ATTEMPTS = 60.0, 5
"""Seconds of one call, and how often one is made; 1, 2, 4 ... seconds pass in between."""

ROUNDING = 1e-3
"""Milvus divides by norms, which halves round off 1 by less than 2^-11; twice that is safe."""

QUERIES, SPARE = 64, 16
"""Queries sent at once, and results scored again beyond those asked for."""

KEY, VECTOR = "row", "vector"


class MilvusError(MindEyeError):
    """A Milvus that does not answer or broke off; the same command goes on later."""


def kind_of(config: IndexConfig) -> str:
    """Return Milvus' own name of an index, by default hnsw; raises ConfigError if unknown."""
    name = "hnsw" if config.index in ("", "auto") else config.index
    if name not in INDEXES:
        raise ConfigError(f"no index {name!r} in Milvus; known: auto, {', '.join(INDEXES)}")
    return name.upper()


class MilvusCollection:
    """The vectors of a gallery as a collection of (row, vector) in a Milvus, until `close`.

    Parameters
    ----------
    folder
        Folder ``index`` of the gallery.
    info, vectors
        Description and vectors of the gallery.
    config
        Address, index, and how far to look.

    Raises
    ------
    MissingDependencyError
        If pymilvus or milvus-lite is not installed.
    """

    def __init__(self, folder: Path, info: Info, vectors: Vectors, config: IndexConfig) -> None:
        self.folder, self.vectors, self.config = folder, vectors, config
        self.kind, self.is_file = kind_of(config), not config.uri
        self.place = config.uri or str((folder / "milvus.db").absolute())
        # By the first part, so that a gallery that grows keeps its collection.
        self.name = f"mindeye_{info.filled[0].sha256[:12]}"
        try:
            import milvus_lite  # noqa: F401
            import pymilvus  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError("pymilvus", "milvus") from error
        self._clients: list[Any] = []
        self.close = weakref.finalize(self, _close, self._clients, self.place, self.is_file)

    def build(self) -> None:
        """Insert the rows that are not there yet, and index them.

        Rows go in by order and by `upsert`, so that what was cut off goes on after what is
        committed and a batch that was sent twice is there once. Raises DataError if the collection
        holds another gallery's rows, and what `call` raises.
        """
        self._create()
        held, batch = self._held(), min(BATCH, max(1, MOST_BYTES // (4 * self.vectors.width)))
        if held < len(self.vectors):
            # The last batch of a call that was cut off may be there in parts.
            first = max(0, held - batch)
            steps = -(-(len(self.vectors) - first) // batch)
            for _ in track(self._sent(first, batch), "insert", total=steps):
                pass
            self.call("flush")
        self._refuse_incomplete()
        content = {"uri": self.config.uri, "collection": self.name, "index": self.kind}
        write_json(self.folder / "milvus.json", {**content, "count": len(self.vectors)})

    def opened(self) -> MilvusCollection:
        """Make it ready to be searched; raises DataError if it was not built or lacks rows."""
        path = self.folder / "milvus.json"
        try:
            self.name, self.kind = (str(read_json(path)[key]) for key in ("collection", "index"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is missing or damaged ({error!r}); build the gallery again, what the "
                "Milvus holds already stays"
            ) from error
        self.call("load_collection")
        self._refuse_incomplete()
        return self

    def search(self, queries: NDArray[np.float32], k: int) -> Matches:
        """Return the k nearest rows of queries (Q, D), as `Search.search`.

        With the index ``flat`` they are those of the exact search, ties included.
        """
        k = min(k, len(self.vectors))
        blocks = range(0, len(queries), QUERIES)
        return joined([self._search(queries[first : first + QUERIES], k) for first in blocks], k)

    def count(self, condition: str = "") -> int:
        """Return the number of rows, all or those that a condition holds of."""
        fields = {"filter": condition, "output_fields": ["count(*)"]}
        return int(self.call("query", consistency_level="Strong", **fields)[0]["count(*)"])

    def call(self, method: str, *args: Any, **given: Any) -> Any:
        """Call a method of the client on this collection.

        Raises ConfigError if another process has Milvus Lite's files, MilvusError if the Milvus
        does not answer in time, or refuses.
        """
        import grpc
        from pymilvus import MilvusClient
        from pymilvus.exceptions import ConnectionConfigException, MilvusException

        problem = ""
        for attempt in range(ATTEMPTS):
            time.sleep(2 ** (attempt - 1) if attempt else 0)
            try:
                with _quiet():
                    if not self._clients:
                        self.folder.mkdir(parents=True, exist_ok=True)
                        token = os.environ.get("MILVUS_TOKEN", "")
                        client = MilvusClient(uri=self.place, token=token, timeout=TIMEOUT)
                        self._clients.append(client)
                    bound = getattr(self._clients[0], method)
                    return bound(self.name, *args, **{"timeout": TIMEOUT, **given})
            except ConnectionConfigException as error:
                raise ConfigError(
                    f"the Milvus Lite in {self.place} cannot be opened: another process has it, "
                    "and it lets in one at a time, or its files are damaged; end that process, or "
                    "use a Milvus server"
                ) from error
            except (MilvusException, grpc.RpcError, ValueError) as error:
                text = str(getattr(error, "message", "") or error) or repr(error)
                problem = " ".join(text.split())[:200]  # gRPC's own words fill pages
                _close(self._clients, self.place, self.is_file)
        raise MilvusError(
            f"the Milvus at {self.place} does not answer or refuses ({method}: {problem}); what it "
            "has committed stays, start it and run the same command again"
        )

    def _create(self) -> None:
        """Create the collection and its index, in place of another kind of index; load it."""
        from pymilvus import DataType, MilvusClient

        if not self.call("has_collection"):
            schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field(KEY, DataType.INT64, is_primary=True)
            schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=self.vectors.width)
            self.call("create_collection", schema=schema, consistency_level="Strong")
        names = self.call("list_indexes", field_name=VECTOR)
        if not any(self.call("describe_index", n)["index_type"] == self.kind for n in names):
            for name in names:
                self.call("release_collection")
                self.call("drop_index", name)
            params = MilvusClient.prepare_index_params()
            own = self._build_params()
            params.add_index(VECTOR, index_type=self.kind, metric_type="COSINE", params=own)
            self.call("create_index", params, timeout=None)
        self.call("load_collection")

    def _held(self) -> int:
        """Return how many rows are committed, after a look whether they are this gallery's."""
        held = self.count()
        beyond = self.count(f"{KEY} >= {len(self.vectors)} or {KEY} < 0")
        last = {"ids": [max(held - 1, 0)], "output_fields": [VECTOR]}
        theirs = self.call("get", **last) if held and not beyond else []
        ours = self.vectors.take(np.array([held - 1] * len(theirs)))
        if beyond or not np.allclose([row[VECTOR] for row in theirs] or ours, ours, atol=ROUNDING):
            raise DataError(
                f"the collection {self.name} at {self.place} holds "
                f"{f'{beyond} rows more' if beyond else 'other vectors'} than this gallery; it is "
                "another's: drop it, or give another --uri"
            )
        return held

    def _sent(self, first: int, size: int) -> Iterator[int]:
        """Send rows from `first` on; yields how many are committed, a batch at a time."""
        for start, values in self.vectors.chunks(size, first=first):
            self.call("upsert", [{KEY: start + i, VECTOR: v} for i, v in enumerate(values)])
            yield start + len(values)

    def _refuse_incomplete(self) -> None:
        held = self.count()
        if held != len(self.vectors):
            raise DataError(
                f"the collection {self.name} at {self.place} holds {held} rows, "
                f"{self.folder.parent} has {len(self.vectors)}; build the gallery again, it goes on"
            )

    def _search(self, queries: NDArray[np.float32], k: int) -> Matches:
        default = 256 if self.kind == "IVF_SQ8" else 64
        given = self.config.rerank if self.config.rerank >= 0 else default
        most = min(MOST_FETCHED, len(self.vectors))
        limit = min(max(given, k + SPARE), most)
        while True:
            rows, last = self._fetched(queries, limit)
            best = rescored(self.vectors, queries, rows, k)
            # Others as near as the last one asked for may lie beyond what was fetched.
            is_open = bool((last >= best.scores[:, -1] - ROUNDING).any())
            if self.kind != "FLAT" or limit == most or not is_open:
                return best
            limit = min(2 * limit, most)

    def _fetched(
        self, queries: NDArray[np.float32], limit: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return rows (Q, limit) near queries, -1 for none, and Milvus' score (Q,) of the last."""
        params = {"metric_type": "COSINE", "params": self._search_params(limit)}
        given = {"anns_field": VECTOR, "limit": limit, "search_params": params}
        rows = np.full((len(queries), limit), NOTHING, dtype=np.int64)
        last = np.full(len(queries), -np.inf, dtype=np.float32)
        for query, hits in enumerate(self.call("search", data=list(queries), **given)):
            rows[query, : len(hits)] = [hit[KEY] for hit in hits]
            if len(hits) == limit:
                last[query] = hits[-1]["distance"]
        return rows, last

    @property
    def _lists(self) -> int:
        """Lists of an inverted file: 4 sqrt(vectors), Milvus' advice, fewer of few vectors."""
        count = len(self.vectors)
        return self.config.nlist or max(1, min(int(4 * count**0.5), count // 39, 65_536))

    def _build_params(self) -> dict[str, int]:
        if self.kind == "HNSW":
            return {"M": self.config.m, "efConstruction": self.config.ef_construction}
        return {"nlist": self._lists} if self.kind.startswith("IVF") else {}

    def _search_params(self, limit: int) -> dict[str, int]:
        if self.kind.startswith("IVF"):
            return {"nprobe": self.config.nprobe or max(8, self._lists // 32)}
        # at least as many as are asked for (documentation, "HNSW")
        return {} if self.kind == "FLAT" else {"ef": max(self.config.ef, limit)}


def _close(clients: list[Any], place: str, is_file: bool) -> None:
    """Let go of a Milvus; with Lite, another process can have it then."""
    import grpc
    from pymilvus.exceptions import MilvusException

    # It may be gone, and is let go of in any case.
    with _quiet(), contextlib.suppress(MilvusException, grpc.RpcError, ValueError):
        for client in clients:
            client.close()
    if is_file and clients:
        from milvus_lite.server_manager import server_manager_instance

        # It would go on in a thread of this process until that ends.
        with _quiet():
            server_manager_instance.release_server(place)
    clients.clear()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' tracebacks of failures off the screen; they come as our errors."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
