"""A gallery: pictures by the million, looked up by embedding."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.errors import DataError, UsageError
from mindeye.gallery import faiss_index
from mindeye.gallery.build import begun, index_parts, notes_of, write_parts
from mindeye.gallery.config import IndexConfig, SourceConfig
from mindeye.gallery.exact import ExactSearch, Matches, Search
from mindeye.gallery.index_folders import open_index_folder
from mindeye.gallery.inputs import any_source, as_array, is_embeddings, names_of, read_whole
from mindeye.gallery.memory import MemorySearch, MemoryTables, texts_of_ids
from mindeye.gallery.milvus import MilvusCollection, kind_of
from mindeye.gallery.pictures import Picture, picture_at
from mindeye.gallery.queries import Queries, queries_from, queries_of
from mindeye.gallery.shards import PictureFinder
from mindeye.gallery.store import (
    DESCRIPTION,
    Info,
    VectorSpace,
    open_tables,
    open_vectors,
    read_info,
)
from mindeye.gallery.tables import COLUMNS, Tables
from mindeye.gallery.vectors import Vectors, unit_rows


class Gallery:
    """Unit vectors, one a picture, each with an id; searched exactly or through an index.

    Galleries are made by `build`, `open` and `from_embeddings`.

    Parameters
    ----------
    info
        Description: space of the vectors, parts, back-end.
    path
        Folder of the gallery; None for one in memory.
    tables
        What is known of every row.
    search
        What searches a gallery in memory, or an index without vectors; None opens the back-end
        of the folder.

    Examples
    --------
    >>> import numpy as np
    >>> gallery = Gallery.from_embeddings(np.eye(3, dtype=np.float32), ["cat", "dog", "car"])
    >>> len(gallery), gallery.ids
    (3, ['cat', 'dog', 'car'])
    >>> gallery.search(np.array([[0.0, 3.0, 4.0]]), k=2)
       query  rank   id  score
    0      0     0  car    0.8
    1      0     1  dog    0.6
    """

    def __init__(
        self,
        info: Info,
        path: Path | None,
        tables: Tables | MemoryTables,
        search: Search | None = None,
    ) -> None:
        self.info, self.path, self.tables, self._search = info, path, tables, search
        self.notes: list[str] = []

    @classmethod
    def build(
        cls,
        source: str | Path | Any,
        folder: str | Path | None = None,
        encoder: str | None = None,
        index: str | IndexConfig = "",
        *,
        ids: Sequence[str] | None = None,
        reading: SourceConfig | None = None,
    ) -> Gallery:
        """Build a gallery, go on with a build that was cut off, or give it another index.

        `notes` of the gallery says what was converted or left out.

        Parameters
        ----------
        source
            Path of a folder of pictures, of shards or of embeddings; or embeddings (N, D) of
            floats; or pictures (N, H, W, 3) of 0..255, also as a list of several sizes.
        folder
            Folder of the gallery; None keeps it in memory.
        encoder
            Name of the encoder that embeds pictures, by default ``zoo``; for embeddings, the one
            they were made with, by default unknown.
        index
            ``exact``, the default for a new gallery; ``milvus``; ``faiss`` or one of its indices
            (``flat``, ``hnsw``, ``ivfflat``, ``ivfsq8``, ``ivfpq``, or any text of its factory);
            or all settings. Everything but ``exact`` needs a folder.
        ids
            Ids of arrays; by default their numbers.
        reading
            Further settings of how the source is read.

        Raises
        ------
        DataError
            If the source is malformed, or `folder` holds a gallery of something else.
        ConfigError
            If the encoder, the index or an option is unknown.
        UsageError
            If `folder` holds something else, or an index is asked for without one.

        Examples
        --------
        >>> import numpy as np
        >>> scenes = np.zeros((2, 64, 64, 3), dtype=np.uint8)
        >>> scenes[1, :32] = 255
        >>> gallery = Gallery.build(scenes, ids=["black", "half"])
        >>> gallery.info.space.id, len(gallery)
        ('zoo_clip_pooled', 2)
        """
        config = IndexConfig.named(index)
        if config.backend == "milvus":
            kind_of(config)  # an unknown index is refused before anything is embedded
        reading = reading or SourceConfig()
        if encoder is None:
            encoder = reading.encoder or ("" if is_embeddings(source) else "zoo")
        reading = dataclasses.replace(reading, encoder=encoder)
        opened = any_source(source, ids, reading)
        if folder is None:
            if config.backend not in ("", "exact"):
                raise UsageError(f"an index of {config.backend} needs a folder; give folder=")
            vectors, table = read_whole(opened)
            return cls(Info(opened.space), None, MemoryTables(table), MemorySearch(vectors))
        path = Path(folder).expanduser()
        info = write_parts(path, begun(path, opened), opened, reading)
        gallery = cls(index_parts(path, info, config), path, open_tables(path, info))
        gallery.notes = notes_of(info, opened.name)
        return gallery

    @classmethod
    def open(cls, folder: str | Path, *, unfinished: bool = False) -> Gallery:
        """Open a gallery, or an index folder of clip-retrieval or autofaiss as it is.

        Parameters
        ----------
        folder
            Folder with ``gallery.json``, or with ``image.index`` / ``knn.index`` beside metadata.
        unfinished
            Whether to open one whose build was cut off, too.

        Raises
        ------
        DataError
            If there is none, its description is damaged, or its build was cut off.
        """
        path = Path(folder).expanduser()
        if not (path / DESCRIPTION).is_file():
            width, tables, search = open_index_folder(path, IndexConfig())
            info = Info(VectorSpace("", width), backend="faiss")
            return cls(info, path, tables, search)
        info = read_info(path)
        for source in () if unfinished else dict.fromkeys(part.source for part in info.parts):
            if source not in info.complete:
                raise DataError(
                    f"the build of {path} from {source} was cut off after {info.count} vectors; "
                    "run the same command again, it goes on"
                )
        return cls(info, path, open_tables(path, info))

    @classmethod
    def from_embeddings(cls, embeddings: Any, ids: Sequence[str] | None = None) -> Gallery:
        """Return a gallery in memory; its scores are those of a run's stage ``retrieve``.

        Parameters
        ----------
        embeddings
            Embeddings (N, D), or (N, K, D) of which all tokens count; floats of any norm.
        ids
            Ids of the rows; by default their numbers.

        Raises
        ------
        DataError
            If there is no row, an id is there twice, or their numbers differ.
        """
        array = as_array(embeddings)
        if array.dtype.kind != "f" or array.ndim < 2 or not array.size:
            raise DataError(
                f"a gallery is made of floats (N, D), not {array.dtype} of shape {array.shape}"
            )
        flat, names = array.reshape(len(array), -1), names_of(ids, len(array))
        space, tables = VectorSpace("", int(flat.shape[1])), MemoryTables(texts_of_ids(names))
        return cls(Info(space), None, tables, MemorySearch(flat))

    def __len__(self) -> int:
        return len(self.tables)

    def __repr__(self) -> str:
        return f"Gallery({len(self)} x {self.info.width}, {self.path or 'in memory'})"

    @property
    def ids(self) -> list[str]:
        """Ids of all rows, in order."""
        return [i for _, ids in self.tables.ids() for i in ids]

    @cached_property
    def searcher(self) -> Search:
        """What searches the gallery; raises DataError if its index is missing or damaged."""
        if self._search is not None:
            return self._search
        if len(self) == 0 or self.path is None:
            raise DataError(f"{self.path} is an empty gallery; add something to it first")
        config = IndexConfig.of(self.info.backend, self.info.options)
        if config.backend == "faiss":
            return faiss_index.open_index(self.path / "index", self.info, self.vectors, config)
        if config.backend == "milvus":
            folder = self.path / "index"
            return MilvusCollection(folder, self.info, self.vectors, config).opened()
        return ExactSearch(self.vectors)

    def with_options(self, **options: int | None) -> Gallery:
        """Return the same gallery, searched further or less far.

        Parameters
        ----------
        options
            New values of ``nprobe``, ``ef`` and ``rerank`` of `IndexConfig`; None leaves one as
            it is.

        """
        given = {name: value for name, value in options.items() if value is not None}
        if not given:
            return self
        if self.path is None or self.info.backend == "exact":
            raise UsageError(
                f"{self.path} is searched exactly: --rerank, --nprobe and --ef are of an index"
            )
        info = dataclasses.replace(self.info, options={**self.info.options, **given})
        search = None
        if self._search is not None:
            search = open_index_folder(self.path, IndexConfig.of("faiss", info.options))[2]
        return Gallery(info, self.path, self.tables, search)

    @property
    def has_vectors(self) -> bool:
        """Whether the vectors themselves lie in the folder, for exact scores."""
        return self.path is not None and self._search is None

    @cached_property
    def vectors(self) -> Vectors:
        """All vectors, memory-mapped; raises DataError if there are none or a part is damaged."""
        if self.path is None or self._search is not None:
            raise DataError(
                f"{self.path or 'a gallery in memory'} has no vectors on disk; build a gallery "
                "from the embeddings"
            )
        return open_vectors(self.path, self.info)

    def search(self, queries: Any, k: int = 10, *, names: Sequence[str] = ()) -> pd.DataFrame:
        """Look queries up.

        Parameters
        ----------
        queries
            Embeddings (Q, D), (Q, K, D) of which all tokens count, or (D,); or the path of a
            picture or .npy file.
        k
            Number of answers to every query; at most the size of the gallery.
        names
            Names of the queries; by default their numbers.

        Returns
        -------
        DataFrame
            Columns query, rank (from 0), id and score, the cosine in [-1, 1]; equal scores by row.

        Raises
        ------
        DataError
            If the queries are malformed or of another width than the gallery.
        UsageError
            If k is less than 1.
        """
        if isinstance(queries, str | Path):
            asked = queries_of(Path(queries), self.info.space, self.path)
        else:
            asked = queries_from(as_array(queries), self.info.space, self, "queries", names=names)
        matches = self.nearest(asked, k)
        count, width = matches.rows.shape
        by_number = not names and not isinstance(queries, str | Path)
        labels: Any = np.arange(count) if by_number else np.array(asked.names, dtype=object)
        table = pd.DataFrame(
            {
                "query": np.repeat(labels, width),
                "rank": np.tile(np.arange(width), count),
                "id": self.table(matches.rows)["id"],
                "score": matches.scores.reshape(-1),
            }
        )
        return table[matches.rows.reshape(-1) >= 0].reset_index(drop=True)

    def nearest(self, queries: Queries, k: int) -> Matches:
        """Return the nearest rows of queries, at most as many as there are."""
        if not isinstance(k, int) or k < 1:
            raise UsageError(f"k is {k}; ask for at least 1")
        k, search = min(k, len(self)), self.searcher
        if isinstance(search, MemorySearch):
            return search.search(queries.vectors, k)
        return search.search(unit_rows(queries.vectors, "queries")[0], k)

    def table(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """Return row, id, caption, url and where of rows, in order; -1 has empty texts."""
        return self.tables.take(rows)

    def pictures(
        self, rows: NDArray[np.int64], *, root: Path | None = None
    ) -> Iterator[Picture | None]:
        """Yield the picture (H, W, 3) of each of rows (n,); None for one that is not at hand.

        Parameters
        ----------
        rows
            Rows of the gallery, -1 for none; best in order, so that each shard is opened once.
        root
            Folder below which the pictures lie; by default the source that the gallery was built
            from. Names out of the tables are looked up there and nowhere else.
        """
        finder, places = PictureFinder(), self.table(rows)["where"].tolist()
        for row, where in zip(rows.tolist(), places, strict=True):
            below = root
            if below is None and row >= 0 and self.has_vectors:
                source = Path(self.info.sources_of(np.array([row]))[0])
                below = source if source.is_dir() else source.parent
            yield picture_at(below, where, finder) if row >= 0 and below is not None else None

    def add(
        self,
        source: str | Path | Any,
        ids: Sequence[str] | None = None,
        *,
        reading: SourceConfig | None = None,
    ) -> Gallery:
        """Add a source and return this gallery; pictures are embedded by its own encoder.

        Parameters
        ----------
        source, ids
            Source and the ids of its rows, as `build` takes them.
        reading
            Further settings of how the source is read.

        Raises
        ------
        DataError
            If the source is malformed or lies in another space.

        Examples
        --------
        >>> import numpy as np
        >>> gallery = Gallery.from_embeddings(np.eye(3, dtype=np.float32)[:2], ["cat", "dog"])
        >>> gallery.add(np.eye(3, dtype=np.float32)[2:], ["car"]).ids
        ['cat', 'dog', 'car']
        """
        reading, space = reading or SourceConfig(), self.info.space
        if not reading.encoder:
            tokens: Any = space.tokens
            reading = dataclasses.replace(reading, encoder=space.name, encoder_tokens=tokens)
        opened = any_source(source, ids, reading)
        space.refuse_other(opened.space, opened.name, self.path or "the gallery")
        if isinstance(self._search, MemorySearch):
            vectors, table = read_whole(opened)
            table = pd.concat([self.table(np.arange(len(self)))[COLUMNS], table])
            names_of(table["id"].tolist(), len(table))
            self.tables = MemoryTables(table)
            self._search = MemorySearch(np.concatenate([self._search.embeddings, vectors]))
            self.__dict__.pop("searcher", None)
            return self
        if self.path is None or self._search is not None:
            raise DataError(f"{self.path} is an index without vectors; nothing can be added to it")
        for cached in ("searcher", "vectors"):
            self.__dict__.pop(cached, None)
        info = write_parts(self.path, read_info(self.path), opened, reading)
        config = IndexConfig.of(info.backend, info.options)
        self.info = index_parts(self.path, info, config)
        self.tables = open_tables(self.path, info)
        self.notes = notes_of(info, opened.name)
        return self
