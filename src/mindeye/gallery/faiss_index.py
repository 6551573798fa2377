"""Search with faiss: one index file, memory-mapped, and exact scores of its first results.

::

    DIR/index/index.faiss     the index; fewer rows than the gallery are an index still being filled
              index.json      its options and which parts it is made of; without it nothing counts

A folder that clip-retrieval or autofaiss made is asked as it is::

    DIR/image.index or knn.index     of faiss; a folder with populated.index if it lies on disk
        metadata/*.parquet           one row a vector, tables in the order of their names

The layout and the order are those of clip-retrieval's service (``clip_back.py``: `load_index`,
`ParquetMetadataProvider`); not checked against real files here.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.config.fingerprints import config_hash
from mindeye.errors import ConfigError, DataError, MissingDependencyError
from mindeye.files import atomic_path, read_json, write_json
from mindeye.gallery.config import IndexConfig
from mindeye.gallery.exact import Matches, Vectors, best_first, rescored
from mindeye.gallery.store import Info, Tables, named_columns, open_table
from mindeye.progress import track

ADD = 16_384
"""Vectors added at once."""

KEEP_EVERY = 300.0
"""Seconds after which a build that is cut off has lost nothing older."""

FLAT_UP_TO = 50_000
"""Vectors that are compared one by one in milliseconds; 150 MB at a width of 768."""

ADVISED_TRAINING = 39
"""Vectors a list that faiss asks for at least (`ClusteringParameters.min_points_per_centroid`)."""

CODES = 256
"""Centroids of one byte of a product quantiser; it cannot be trained on fewer vectors."""

EIGHT, MOST_EIGHTS = 8, 128
"""Numbers that a byte of a code stands for by default, and bytes of a code up to which it does.
Measured at a width of 768 with faiss 1.15 on AVX-512, one core: 13 us a vector for 96 bytes (8
numbers each), 59 us for 64 bytes (12 each), 39 us for 48 (16 each); recall is better, too."""

BUILDING = ("index", "nlist", "train", "pq", "m", "ef_construction", "seed")
"""Settings that decide the index itself; the others may change from search to search."""

INDEX_FILES = ("image.index", "knn.index", "image.index/populated.index")


class FaissSearch:
    """Asks an index of faiss and scores its first results exactly.

    Parameters
    ----------
    index
        Index of faiss over rows 0..G-1.
    vectors
        Vectors to score by; None where there are none, then scores are the index's own.
    reach
        Number of results of the index that are scored again, 0 for none.
    """

    def __init__(self, index: Any, vectors: Vectors | None, *, reach: int) -> None:
        self.index, self.vectors, self.reach = index, vectors, reach
        self.is_distance = index.metric_type == _faiss().METRIC_L2

    def search(self, queries: NDArray[np.float32], k: int) -> Matches:
        """Return the k nearest rows of queries (Q, D), as `Search.search`."""
        k = min(k, self.index.ntotal)
        if self.vectors is not None and self.reach:
            _, rows = self.index.search(queries, min(max(k, self.reach), self.index.ntotal))
            return rescored(self.vectors, queries, rows, k)
        scores, rows = self.index.search(queries, k)
        if self.is_distance:
            scores = 1 - scores / 2  # of unit vectors: |q - v|^2 = 2 - 2 cos
        return best_first(rows, scores, k)


def chosen(config: IndexConfig, count: int) -> IndexConfig:
    """Return the settings with an index chosen for so many vectors, where none was."""
    default = "flat" if count <= FLAT_UP_TO else "ivfpq"
    return config if config.index else dataclasses.replace(config, index=default)


def reach(config: IndexConfig) -> int:
    """Return how many results are scored again: by default only those of codes, 256."""
    is_coded = re.search(r"pq|sq|lsh|rabitq|itq|rq|lsq", config.index.lower())
    return (256 if is_coded else 0) if config.rerank < 0 else config.rerank


def lists(config: IndexConfig, count: int) -> int:
    """Return the number of lists of an inverted file of so many vectors."""
    if config.nlist:
        return config.nlist
    near = 2 ** round(math.log2(2 * math.sqrt(max(count, 1))))
    return int(max(1, min(near, count // ADVISED_TRAINING)))


def factory(config: IndexConfig, count: int, width: int) -> str:
    """Return the text that faiss's factory is given for so many vectors (count, width).

    Raises ConfigError if the bytes of a code do not divide the width, DataError if there are too
    few vectors to train codes on.
    """
    code = config.pq or width // EIGHT
    if not config.pq and (width % EIGHT or code > MOST_EIGHTS):
        code = max(n for n in range(1, min(64, width) + 1) if width % n == 0)
    if config.index == "ivfpq" and width % code:
        raise ConfigError(f"pq={code} does not divide the width {width}")
    if config.index == "ivfpq" and count < CODES:
        raise DataError(
            f"the index ivfpq is trained on at least {CODES} vectors, there are {count}; "
            "take --index flat or --backend exact"
        )
    nlist = lists(config, count)
    # "np": without the polysemous training of codes, an annealing that takes minutes and serves
    # a kind of search that is not used here (faiss wiki, "The index factory").
    known = {
        "flat": "Flat",
        "hnsw": f"HNSW{config.m},Flat",
        "ivfflat": f"IVF{nlist},Flat",
        "ivfsq8": f"IVF{nlist},SQ8",
        "ivfpq": f"IVF{nlist},PQ{code}x8np",
    }
    return known.get(config.index, config.index)


def build_index(folder: Path, info: Info, vectors: Vectors, config: IndexConfig) -> None:
    """Make the index of a gallery, or add to it what it lacks.

    Vectors are read a chunk at a time; memory is that of the index and of the training sample. A
    call that was cut off goes on with the index that it kept last, at most five minutes older.
    Raises ConfigError or DataError if an option or the number of vectors does not fit.
    """
    path, note = folder / "index.faiss", folder / "index.json"
    is_ours = _is_index_of(folder, info, config)
    if is_ours and read_index(path).ntotal == info.count:
        return
    index = read_index(path, grows=True) if is_ours else _trained(info, vectors, config)
    if not is_ours:
        note.unlink(missing_ok=True)
    content = {"options": _building(config), "rows": info.count, "parts": len(info.parts)}
    content["content"] = _content(info)
    kept, left = time.monotonic(), -(-(info.count - index.ntotal) // ADD)
    for _, chunk in track(vectors.chunks(ADD, first=index.ntotal), "fill index", total=left):
        index.add(chunk)
        if time.monotonic() - kept >= KEEP_EVERY or index.ntotal == info.count:
            # The index holds the gallery's first rows, which stay as they are: either file may
            # be the newer one.
            _write(index, path)
            write_json(note, content)
            kept = time.monotonic()


def open_index(folder: Path, info: Info, vectors: Vectors, config: IndexConfig) -> FaissSearch:
    """Open a gallery's index; raises DataError if it is missing or holds other vectors."""
    has = "no index of them"
    if _is_index_of(folder, info, config):
        index = read_index(folder / "index.faiss")
        if (index.ntotal, index.d) == (info.count, info.width):
            set_search(index, config)
            return FaissSearch(index, vectors, reach=reach(config))
        has = f"an index that holds {index.ntotal} vectors of width {index.d}"
    raise DataError(
        f"{folder.parent} has {info.count} vectors of width {info.width} and {has}; run `mindeye "
        "gallery build` with the same source again"
    )


def open_index_folder(folder: Path, config: IndexConfig) -> tuple[int, Tables, FaissSearch]:
    """Open an index folder of clip-retrieval or autofaiss; returns width, tables and search.

    What `config` leaves at its default stays as whoever made the index tuned it. The vectors are
    not there, so that scores are those of the index and cannot be made exact. Raises DataError if
    there is no index, or its metadata do not describe its vectors.
    """
    file = next((folder / name for name in INDEX_FILES if (folder / name).is_file()), None)
    if file is None:
        raise DataError(
            f"{folder} is no gallery: neither gallery.json nor image.index or knn.index is in it; "
            "make one with `mindeye gallery build`"
        )
    index = read_index(file)
    if config.nprobe or config.ef != IndexConfig.ef:
        set_search(index, config)
    paths = sorted((folder / "metadata").glob("*.parquet")) or sorted(folder.glob("*.parquet"))
    counts = [open_table(path).metadata.num_rows for path in paths]
    if not paths or sum(counts) != index.ntotal:
        raise DataError(
            f"{file} holds {index.ntotal} vectors, but {folder}/metadata/*.parquet describes "
            f"{sum(counts)}; put the tables there that belong to it"
        )
    names = named_columns(open_table(paths[0]).schema_arrow.names)
    return int(index.d), Tables(paths, counts, named=names), FaissSearch(index, None, reach=0)


def read_index(path: Path, *, grows: bool = False) -> Any:
    """Open an index file, memory-mapped where faiss can; `grows` reads it to be added to.

    Raises DataError if it is missing, cut off or no index of faiss.
    """
    faiss = _faiss()
    flags = [0] if grows else [faiss.IO_FLAG_MMAP_IFC, 0]  # some kinds cannot be mapped
    if path.name == "populated.index":  # its lists lie in other files beside it
        flags = [faiss.IO_FLAG_ONDISK_SAME_DIR]
    problem = ""
    for flag in flags:
        try:
            return faiss.read_index(str(path), flag)
        except (RuntimeError, MemoryError) as error:
            problem = _short(error)
    raise DataError(
        f"{path} is missing, cut off or no index of faiss ({problem}); delete it and build again"
    )


def set_search(index: Any, config: IndexConfig) -> None:
    """Set how far an index looks."""
    faiss = _faiss()
    parameters = faiss.ParameterSpace()
    inverted = faiss.try_extract_index_ivf(index)
    if inverted is not None:
        nprobe = config.nprobe or max(8, inverted.nlist // 32)
        parameters.set_index_parameter(index, "nprobe", min(nprobe, inverted.nlist))
    elif "HNSW" in type(faiss.downcast_index(index)).__name__:
        parameters.set_index_parameter(index, "efSearch", config.ef)


def _trained(info: Info, vectors: Vectors, config: IndexConfig) -> Any:
    """Return an empty index, trained on vectors drawn at random without replacement."""
    faiss = _faiss()
    text = factory(config, info.count, info.width)
    try:
        index = faiss.index_factory(info.width, text, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"faiss makes no index {text!r} ({_short(error)})") from error
    if config.index == "hnsw":
        index.hnsw.efConstruction = config.ef_construction
    inverted = faiss.try_extract_index_ivf(index)
    if inverted is not None:
        inverted.cp.seed = config.seed
    if hasattr(index, "pq"):
        index.pq.cp.seed = config.seed
        index.pq.cp.max_points_per_centroid = config.train
    if index.is_trained:
        return index
    centres = inverted.nlist if inverted is not None else 1
    count = min(len(vectors), config.train * max(centres, CODES))
    rng = np.random.default_rng(config.seed)
    rows = np.sort(rng.choice(len(vectors), count, replace=False))  # in the order of the files
    sample = np.empty((count, vectors.width), dtype=np.float32)
    for first in track(range(0, count, ADD), "train sample"):
        sample[first : first + ADD] = vectors.take(rows[first : first + ADD])
        vectors.release()
    try:
        for _ in track(["training"], "train index"):
            index.train(sample)
    except RuntimeError as error:
        raise DataError(
            f"faiss could not be trained on {count} vectors ({_short(error)}); take another index"
        ) from error
    return index


def _write(index: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        _faiss().write_index(index, str(temporary))


def _is_index_of(folder: Path, info: Info, config: IndexConfig) -> bool:
    """Tell whether ``index.json`` is of these options and of the gallery's first parts."""
    path = folder / "index.json"
    if not path.is_file():
        return False
    try:
        known = read_json(path)
        content = _content(info, int(known["parts"]))
        return bool(known["options"] == _building(config) and known["content"] == content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and build again") from error


def _building(config: IndexConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in BUILDING}


def _content(info: Info, parts: int | None = None) -> str:
    return config_hash([part.sha256 for part in info.parts[:parts]])


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[-160:]


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError("faiss-cpu", "gallery") from error
    return faiss
