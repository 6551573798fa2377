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
from mindeye.gallery import build, faiss_index, sources, store
from mindeye.gallery.config import IndexConfig, SourceConfig
from mindeye.gallery.exact import Matches, MemorySearch, Search, Vectors, unit_rows
from mindeye.gallery.milvus import kind_of
from mindeye.gallery.pictures import Picture, PictureFinder
from mindeye.gallery.sources import Queries, as_array, queries_from
from mindeye.gallery.store import Info, MemoryTables, Texts, VectorSpace


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
        Texts of every row.
    search
        Search of a gallery in memory or of an index without vectors; None opens the folder's.

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
        self, info: Info, path: Path | None, tables: Texts, search: Search | None = None
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
        DataError, ConfigError, UsageError
            If the source is malformed; the encoder, the index or an option is unknown; `folder`
            holds something else; or an index is asked for without one.

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
            encoder = reading.encoder or ("" if sources.is_embeddings(source) else "zoo")
        reading = dataclasses.replace(reading, encoder=encoder)
        opened = sources.any_source(source, ids, reading)
        if folder is None and config.backend not in ("", "exact"):
            raise UsageError(f"an index of {config.backend} needs a folder; give folder=")
        if folder is None:
            vectors, table = sources.read_whole(opened)
            return cls(Info(opened.space), None, MemoryTables(table), MemorySearch(vectors))
        path = Path(folder).expanduser()
        info = build.write_parts(path, build.begun(path, opened), opened, reading)
        gallery = cls(build.index_parts(path, info, config), path, store.open_tables(path, info))
        gallery.notes = build.notes_of(info, opened.name)
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
        if not (path / store.DESCRIPTION).is_file():
            return _index_folder(path, {})
        info = store.read_info(path)
        cut_off = [part.source for part in info.parts if part.source not in info.complete]
        if cut_off and not unfinished:
            what = f"the build of {path} from {cut_off[0]} was cut off after {info.count} vectors"
            raise DataError(f"{what}; run the same command again, it goes on")
        return cls(info, path, store.open_tables(path, info))

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
            If there is no row, or the ids do not fit.
        """
        array = as_array(embeddings)
        if array.dtype.kind != "f" or array.ndim < 2 or not array.size:
            kind = f"{array.dtype} of shape {array.shape}"
            raise DataError(f"a gallery is made of floats (N, D), not {kind}")
        flat = array.reshape(len(array), -1)
        texts = store.texts_of_ids(sources.names_of(ids, len(array)))
        space = VectorSpace("", int(flat.shape[1]))
        return cls(Info(space), None, MemoryTables(texts), MemorySearch(flat))

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
        return build.open_search(self.path, self.info, self.vectors)

    def with_options(self, **options: int | None) -> Gallery:
        """Return the same gallery, searched further or less far.

        Parameters
        ----------
        options
            New values of ``nprobe``, ``ef`` and ``rerank`` of `IndexConfig`; None keeps one.
        """
        given = {name: value for name, value in options.items() if value is not None}
        if given and (self.path is None or self.info.backend == "exact"):
            raise UsageError(f"{self} is searched exactly; --rerank, --nprobe, --ef need an index")
        if not given or self.path is None:
            return self
        options = {**self.info.options, **given}
        if not self.has_vectors:
            return _index_folder(self.path, options)
        return Gallery(dataclasses.replace(self.info, options=options), self.path, self.tables)

    @property
    def has_vectors(self) -> bool:
        """Whether the vectors themselves lie in the folder, for exact scores."""
        return self.path is not None and self._search is None

    @cached_property
    def vectors(self) -> Vectors:
        """All vectors, memory-mapped; raises DataError if there are none or a part is damaged."""
        if self.path is None or self._search is not None:
            raise DataError(f"{self} has no vectors on disk; build a gallery of the embeddings")
        return store.open_vectors(self.path, self.info)

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
        DataError, UsageError
            If the queries are malformed or of another width than the gallery, or k is below 1.
        """
        if isinstance(queries, str | Path):
            asked = sources.queries_of(Path(queries), self.info.space, self.path)
            names = asked.names
        else:
            asked = queries_from(as_array(queries), self.info.space, self, "queries")
        rows, scores = self.nearest(asked, k)
        query, rank = np.indices(rows.shape).reshape(2, -1)
        labels = np.array(names or range(len(rows)), dtype=object if names else int)[query]
        columns = {"query": labels, "rank": rank, "id": self.table(rows)["id"]}
        table = pd.DataFrame({**columns, "score": scores.reshape(-1)})
        return table[rows.reshape(-1) >= 0].reset_index(drop=True)

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
            Folder below which names are looked up; by default the source that was built from.
        """
        finder, places = PictureFinder(), self.table(rows)["where"].tolist()
        for row, where in zip(rows.tolist(), places, strict=True):
            below = root
            if below is None and row >= 0 and self.has_vectors:
                below = self.info.folder_of(row)
            yield finder.find(below, where) if row >= 0 and below is not None else None

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
            Source and ids, as `build` takes them.
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
            own: Any = {"encoder": space.name, "encoder_tokens": space.tokens}
            reading = dataclasses.replace(reading, **own)
        opened = sources.any_source(source, ids, reading)
        space.refuse_other(opened.space, opened.name, self.path or "the gallery")
        for cached in ("searcher", "vectors"):
            self.__dict__.pop(cached, None)
        if isinstance(self._search, MemorySearch) and isinstance(self.tables, MemoryTables):
            vectors, table = sources.read_whole(opened)
            table = pd.concat([self.tables.table, table])
            sources.names_of(table["id"].tolist(), len(table))
            self.tables = MemoryTables(table)
            self._search = MemorySearch(np.concatenate([self._search.embeddings, vectors]))
            return self
        if self.path is None or self._search is not None:
            raise DataError(f"{self.path} is an index without vectors; nothing can be added to it")
        info = build.write_parts(self.path, store.read_info(self.path), opened, reading)
        self.info = build.index_parts(self.path, info, IndexConfig())
        self.tables = store.open_tables(self.path, info)
        self.notes = build.notes_of(info, opened.name)
        return self


def _index_folder(path: Path, options: dict[str, Any]) -> Gallery:
    width, tables, search = faiss_index.open_index_folder(path, IndexConfig.of("faiss", options))
    return Gallery(Info(VectorSpace("", width), (), "faiss", options), path, tables, search)


def retrieve(
    prediction: Any, gallery: Gallery | tuple[Any, Sequence[str]] | Any, k: int = 10
) -> pd.DataFrame:
    """Rank the entries of a gallery by their cosine similarity with predictions.

    Scores are cosines of flattened rows: for a gallery in memory with the order, ties and digits
    of a run's stage ``retrieve``, for one on disk those with its float16 vectors.

    Parameters
    ----------
    prediction
        Predicted embeddings (Q, K, D) or (Q, D), an array or tensor; or an object with them as
        `retrieval` and their names as `ids`, such as a decoder's prediction.
    gallery
        A `Gallery`, embeddings (G, K, D) or (G, D), or a tuple of embeddings and their ids.
    k
        Number of answers to every query; at most the size of the gallery.

    Returns
    -------
    DataFrame
        Columns query (the prediction's id, else its number), rank (from 0), id and score in
        [-1, 1].

    Raises
    ------
    DataError, UsageError
        If predictions and gallery do not fit together, one is malformed, or k is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> pictures = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> retrieve(np.array([[0.0, 2.0]]), (pictures, ["left", "up", "between"]), k=2)
       query  rank       id  score
    0      0     0       up    1.0
    1      0     1  between    0.8
    """
    names: Sequence[str] = ()
    if hasattr(prediction, "retrieval"):
        names = [str(i) for i in getattr(prediction, "ids", ())]
        prediction = prediction.retrieval
    if not isinstance(gallery, Gallery):
        embeddings, ids = gallery if isinstance(gallery, tuple) else (gallery, None)
        gallery = Gallery.from_embeddings(embeddings, ids)
    queries = as_array(prediction)
    if names and len(names) != len(queries):
        raise DataError(f"{len(names)} ids for {len(queries)} predictions; give one id each")
    return gallery.search(queries, k, names=names)
