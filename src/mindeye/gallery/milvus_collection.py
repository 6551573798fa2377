"""The rows of one gallery in a Milvus: inserted with resumption, counted, searched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.gallery.base import NOTHING
from mindeye.gallery.milvus_options import build_params, search_params
from mindeye.gallery.milvus_server import MilvusError, Server
from mindeye.gallery.vectors import Vectors
from mindeye.progress import track

KEY, VECTOR = "row", "vector"

MOST_BYTES = 8 << 20
"""Of vectors in one message; a Milvus server takes 64 MiB with everything (its proxy's default)."""

SAMPLED = 8
"""Rows whose vectors tell whether a collection is this gallery's."""

TOLERANCE = 1e-3
"""Between a vector of the gallery and of the collection, which may keep it at norm 1."""

STALLED = 60.0
"""Seconds without progress after which an index is left to be finished in the background."""


class Collection:
    """A collection of (row, vector), keyed by row.

    Parameters
    ----------
    server
        Where it is.
    name
        Its name.
    """

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name
        self.timeout = server.options.timeout

    def fill(self, vectors: Vectors, kind: str) -> None:
        """Bring all rows into the collection, and an index over them.

        Rows go in by order and by `upsert`, so that what was cut off goes on after what is
        committed and a batch that was sent twice is there once.

        Raises
        ------
        DataError
            If the collection holds other vectors, or rows that the gallery does not have.
        MilvusError
            If the Milvus does not answer, or loses rows.
        """
        self._create(vectors.width)
        self._index(vectors, kind)
        self.load()
        held = self._check_same(vectors)
        # The last batch of a call that was cut off may be there in parts.
        batch = min(self.server.options.batch, max(1, MOST_BYTES // (4 * vectors.width)))
        first = max(0, held - batch) if held < len(vectors) else held
        self._insert(vectors, first, batch)
        if self.count() != len(vectors) and first:
            self._insert(vectors, 0, batch)
        held = self.count()
        if held != len(vectors):
            raise MilvusError(
                f"the collection {self.name} at {self.server.place} holds {held} rows after "
                f"{len(vectors)} were inserted; drop it and build again"
            )
        self._settle()

    def load(self) -> None:
        """Make it ready to be counted and searched.

        Raises
        ------
        DataError
            If there is no such collection.
        """
        if not self._exists():
            raise DataError(
                f"the Milvus at {self.server.place} has no collection {self.name}; build the "
                "gallery again"
            )
        self.server.call(
            f"loading {self.name}",
            lambda client: client.load_collection(self.name, timeout=self.timeout),
        )

    def count(self, condition: str = "") -> int:
        """Return the number of rows, all or those that a condition holds of."""

        def ask(client: Any) -> int:
            answer = client.query(
                self.name,
                filter=condition,
                output_fields=["count(*)"],
                consistency_level="Strong",
                timeout=self.timeout,
            )
            return int(answer[0]["count(*)"])

        return self.server.call(f"counting the rows of {self.name}", ask)

    def search(
        self, queries: NDArray[np.float32], limit: int, kind: str, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return rows (Q, limit) near each query, -1 for none, and the last one's score (Q,).

        Scores are Milvus' own; of a query with fewer than `limit` rows it is -inf.
        """
        if kind == "AUTOINDEX" and self.server.is_lite:
            kind = "HNSW"  # which it is there, under the same options
        params = {
            "metric_type": "COSINE",
            "params": search_params(kind, self.server.options, count, limit),
        }
        answers = self.server.call(
            f"searching {self.name}",
            lambda client: client.search(
                self.name,
                data=list(queries),
                anns_field=VECTOR,
                limit=limit,
                search_params=params,
                timeout=self.timeout,
            ),
        )
        rows = np.full((len(queries), limit), NOTHING, dtype=np.int64)
        last = np.full(len(queries), -np.inf, dtype=np.float32)
        for query, hits in enumerate(answers):
            rows[query, : len(hits)] = [hit[KEY] for hit in hits]
            if len(hits) == limit:
                last[query] = hits[-1]["distance"]
        return rows, last

    def _exists(self) -> bool:
        return self.server.call(
            f"looking for {self.name}",
            lambda client: bool(client.has_collection(self.name, timeout=self.timeout)),
        )

    def _create(self, width: int) -> None:
        """Create it, unless it is there with this width."""
        from pymilvus import DataType, MilvusClient

        if self._exists():
            self._check_width(width)
            return
        schema = MilvusClient.create_schema(
            auto_id=False, enable_dynamic_field=False, description="rows of a mindeye gallery"
        )
        schema.add_field(KEY, DataType.INT64, is_primary=True)
        schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=width)

        def create(client: Any) -> None:
            # An attempt that failed may have come to its end all the same.
            if not client.has_collection(self.name, timeout=self.timeout):
                client.create_collection(
                    self.name, schema=schema, consistency_level="Strong", timeout=self.timeout
                )

        self.server.call(f"creating {self.name}", create)

    def _check_width(self, width: int) -> None:
        fields = self.server.call(
            f"describing {self.name}",
            lambda client: client.describe_collection(self.name, timeout=self.timeout),
        )["fields"]
        widths = {f["name"]: int(f.get("params", {}).get("dim", 0)) for f in fields}
        if set(widths) != {KEY, VECTOR} or widths[VECTOR] != width:
            raise DataError(
                f"the collection {self.name} at {self.server.place} is not of (row, vector of "
                f"{width}) but of {widths}; name another one by the option collection"
            )

    def _index(self, vectors: Vectors, kind: str) -> None:
        """Give it the index, in place of another kind."""

        def index(client: Any) -> None:
            names = client.list_indexes(self.name, field_name=VECTOR, timeout=self.timeout)
            for name in names:
                told = client.describe_index(self.name, name, timeout=self.timeout)
                if told["index_type"] == kind:
                    return
                client.release_collection(self.name, timeout=self.timeout)
                client.drop_index(self.name, name, timeout=self.timeout)
            params = client.prepare_index_params()
            params.add_index(
                VECTOR,
                index_type=kind,
                metric_type="COSINE",
                params=build_params(kind, self.server.options, len(vectors), vectors.width),
            )
            client.create_index(self.name, params, timeout=None)

        self.server.call(f"indexing {self.name}", index)

    def _check_same(self, vectors: Vectors) -> int:
        """Return how many rows are committed, after a look whether they are this gallery's."""
        beyond = self.count(f"{KEY} >= {len(vectors)} or {KEY} < 0")
        if beyond:
            raise DataError(
                f"the collection {self.name} at {self.server.place} holds {beyond} rows more than "
                "this gallery has; it is another's: name another one by the option collection"
            )
        held = self.count()
        if not held:
            return 0
        rows = np.unique(np.linspace(0, held - 1, SAMPLED).astype(np.int64))
        answers = self.server.call(
            f"reading {self.name}",
            lambda client: client.get(
                self.name, ids=rows.tolist(), output_fields=[KEY, VECTOR], timeout=self.timeout
            ),
        )
        for answer in answers:
            row = int(answer[KEY])
            ours = vectors.take(np.array([row]))[0]
            if not np.allclose(np.asarray(answer[VECTOR]), ours, atol=TOLERANCE):
                raise DataError(
                    f"the collection {self.name} at {self.server.place} holds another vector in "
                    f"row {row} than this gallery; it is another's: name another one by the "
                    "option collection"
                )
        return held

    def _insert(self, vectors: Vectors, first: int, size: int) -> None:
        """Send rows from `first` on."""
        if first >= len(vectors):
            return
        for _ in track(self._sent(vectors, first, size), "insert", total=len(vectors), done=first):
            pass
        self.server.call(
            f"flushing {self.name}", lambda client: client.flush(self.name, timeout=self.timeout)
        )

    def _sent(self, vectors: Vectors, first: int, size: int) -> Iterator[int]:
        """Yield rows as they are committed."""
        for start, values in vectors.chunks(size, first=first):
            data = [{KEY: start + i, VECTOR: value} for i, value in enumerate(values)]
            self.server.call(
                f"inserting rows {start} to {start + len(data) - 1}",
                lambda client, data=data: client.upsert(  # type: ignore[misc]
                    self.name, data, timeout=self.timeout
                ),
            )
            yield from range(start, start + len(data))

    def _settle(self) -> None:
        """Wait until the index is over all rows, or gets no further."""
        pending, since = -1, time.monotonic()
        while True:
            told = self.server.call(
                f"waiting for the index of {self.name}",
                lambda client: client.describe_index(
                    self.name,
                    client.list_indexes(self.name, field_name=VECTOR, timeout=self.timeout)[0],
                    timeout=self.timeout,
                ),
            )
            left = int(told.get("pending_index_rows", 0))
            if left != pending:
                pending, since = left, time.monotonic()
            if left == 0 or time.monotonic() - since > STALLED:
                return
            time.sleep(0.5)
