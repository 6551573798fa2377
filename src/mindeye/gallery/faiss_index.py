"""Search with faiss: one index file, memory-mapped, and exact scores of its first results.

::

    DIR/index/index.faiss     the index; it counts only with index.json
              index.json      its options and which vectors are in it
              partial.faiss   an index still being filled; goes on where it left off
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.config.fingerprints import config_hash
from mindeye.errors import ConfigError, DataError, MissingDependencyError
from mindeye.files import atomic_path, read_json, write_json
from mindeye.gallery.config import IndexConfig
from mindeye.gallery.exact import Matches, best_first, rescored
from mindeye.gallery.faiss_options import CODES, building, factory, reach
from mindeye.gallery.store import Info
from mindeye.gallery.vectors import Vectors
from mindeye.progress import track

ADD = 16_384
"""Vectors added at once."""

KEEP_EVERY = 300.0
"""Seconds after which a build that is cut off has lost nothing older."""


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
        self.index, self.vectors = index, vectors
        self.reach = reach if vectors is not None else 0
        self.is_distance = index.metric_type == _faiss().METRIC_L2

    def search(self, queries: NDArray[np.float32], k: int) -> Matches:
        """Return the k nearest rows of queries (Q, D), as `Search.search`."""
        if queries.shape[1] != self.index.d:
            raise DataError(f"queries of width {queries.shape[1]}, the index has {self.index.d}")
        k = min(k, self.index.ntotal)
        if self.vectors is not None and self.reach:
            _, rows = self.index.search(queries, min(max(k, self.reach), self.index.ntotal))
            return rescored(self.vectors, queries, rows, k)
        scores, rows = self.index.search(queries, k)
        if self.is_distance:
            scores = 1 - scores / 2  # of unit vectors: |q - v|^2 = 2 - 2 cos
        return best_first(rows, scores, k)


def build_index(folder: Path, info: Info, vectors: Vectors, config: IndexConfig) -> None:
    """Make the index of a gallery, or add to it what it lacks.

    Vectors are read a chunk at a time; memory is that of the index and of the training sample. A
    call that was cut off goes on with what the index had.

    Parameters
    ----------
    folder
        The gallery's folder ``index``.
    info, vectors
        Description and vectors of the gallery.
    config
        Which index, and how it is trained.

    Raises
    ------
    ConfigError
        If an option does not fit, or faiss's factory knows no such index.
    DataError
        If there are too few vectors to train on.
    MissingDependencyError
        If faiss is not installed.
    """
    options = building(config)
    path, known = folder / "index.faiss", _known(folder, options, info)
    if known is not None and known["rows"] == info.count and path.is_file():
        return
    partial = folder / "partial.faiss"
    noted, key = partial.with_suffix(".json"), config_hash(options, _content(info))
    if partial.is_file() and noted.is_file() and _json(noted).get("key") == key:
        index = _whole(partial)
    elif known is not None and path.is_file():
        index = _whole(path)
    else:
        index = _trained(info, vectors, config)
    _fill(index, vectors, partial, key)
    (folder / "index.json").unlink(missing_ok=True)
    _write(index, path)
    content = {"options": options, "rows": info.count, "parts": len(info.parts)}
    write_json(folder / "index.json", {**content, "content": _content(info)})
    partial.unlink(missing_ok=True)
    noted.unlink(missing_ok=True)


def open_index(folder: Path, info: Info, vectors: Vectors, config: IndexConfig) -> FaissSearch:
    """Open a gallery's index, memory-mapped; arguments as of `build_index`.

    Raises
    ------
    DataError
        If it is missing, damaged, or holds other vectors than the gallery.
    MissingDependencyError
        If faiss is not installed.
    """
    known = _known(folder, building(config), info)
    if known is None or known["rows"] != info.count:
        has = "no index" if known is None else f"an index of {known['rows']} vectors"
        raise DataError(
            f"{folder.parent} has {info.count} vectors and {has}; run `mindeye gallery build` "
            "with the same source again"
        )
    index = read_index(folder / "index.faiss")
    if index.ntotal != info.count or index.d != info.width:
        raise DataError(
            f"{folder}/index.faiss holds {index.ntotal} vectors of width {index.d}, the "
            f"gallery {info.count} of {info.width}; delete index.json and build again"
        )
    set_search(index, config)
    return FaissSearch(index, vectors, reach=reach(config))


def read_index(path: Path) -> Any:
    """Open an index file memory-mapped where faiss can, else read it.

    Raises
    ------
    DataError
        If it is missing, cut off or no index of faiss.
    """
    faiss = _faiss()
    flags = getattr(faiss, "IO_FLAG_MMAP_IFC", None)
    if path.name == "populated.index":  # its lists lie in other files beside it
        flags = faiss.IO_FLAG_ONDISK_SAME_DIR
    try:
        if flags is not None:
            try:
                return faiss.read_index(str(path), flags)
            except RuntimeError:
                pass  # kinds that it cannot map
        return faiss.read_index(str(path))
    except (RuntimeError, MemoryError) as error:
        raise DataError(
            f"{path} is missing, cut off or no index of faiss ({_short(error)}); build it again"
        ) from error


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
    index = _empty(info, config)
    if index.is_trained:
        return index
    inverted = _faiss().try_extract_index_ivf(index)
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


def _empty(info: Info, config: IndexConfig) -> Any:
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
    return index


def _fill(index: Any, vectors: Vectors, partial: Path, key: str) -> None:
    """Add the rows that an index lacks; keep what there is every few minutes."""
    kept, noted = time.monotonic(), partial.with_suffix(".json")
    left = vectors.chunks(ADD, first=index.ntotal)
    steps = vectors.chunk_count(ADD, first=index.ntotal)
    for _, chunk in track(left, "fill index", total=steps):
        index.add(chunk)
        if time.monotonic() - kept >= KEEP_EVERY:
            # An old note must not stand beside another index, not even for a moment.
            if noted.is_file() and _json(noted).get("key") != key:
                noted.unlink()
            _write(index, partial)
            write_json(noted, {"key": key})
            kept = time.monotonic()


def _write(index: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        _faiss().write_index(index, str(temporary))


def _known(folder: Path, options: dict[str, Any], info: Info) -> dict[str, Any] | None:
    """Return what ``index.json`` says, if it is of these options and holds the first parts."""
    path = folder / "index.json"
    if not path.is_file():
        return None
    known = _json(path)
    parts = known.get("parts")
    if type(parts) is not int or type(known.get("rows")) is not int:
        raise DataError(f"{path} is damaged; delete it and build again")
    same = known.get("options") == options
    return known if same and known.get("content") == _content(info, parts) else None


def _json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and build again") from error
    return content if isinstance(content, dict) else {}


def _content(info: Info, parts: int | None = None) -> str:
    return config_hash([part.sha256 for part in info.parts[:parts]])


def _whole(path: Path) -> Any:
    """Read an index into memory, where it can grow."""
    with _naming(path):
        return _faiss().read_index(str(path))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise DataError(f"{path} is damaged ({_short(error)}); delete it") from error


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[-160:]


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError("faiss-cpu", "gallery") from error
    return faiss
