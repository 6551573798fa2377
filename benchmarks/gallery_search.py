"""Searches that are timed: the points of an index, and ours beside faiss itself, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gallery_table import choose, grid, recall
from mindeye.gallery.config import IndexConfig
from mindeye.gallery.faiss_index import lists, reach, read_index, set_search
from mindeye.gallery.gallery import Gallery
from mindeye.progress import track

Search = Callable[[NDArray[np.float32], int], Any]

SINGLE = 100
"""Most queries asked one by one in a repetition."""

SINGLE_SCAN = 5
"""The same of a search that reads every vector."""

REFINED_UP_TO = 3_000_000
"""Vectors up to which faiss's own re-ranking is timed; it holds all of them in memory."""


def tuned(job: dict[str, Any]) -> dict[str, Any]:
    """Try the points of an index on the tuning queries, and choose one."""
    work = Path(job["work"])
    queries, true = np.load(work / "tuning.npy"), np.load(work / "tuning_true.npy")
    gallery = Gallery.open(work / job["index"])
    nlist = lists(IndexConfig.of("faiss", gallery.info.options), len(gallery))
    points: list[dict[str, Any]] = []
    for options in track(grid(job["index"], nlist), f"tune {job['index']}"):
        backend = gallery.with_options(**options).searcher
        backend.search(queries[:8], job["k"])
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            found = backend.search(queries, job["k"])
            seconds.append(time.perf_counter() - start)
        points.append(
            {
                **options,
                "tuning_recall": recall(found.rows, true),
                "tuning_seconds": min(seconds) / len(queries),
            }
        )
    return {"points": points, "chosen": choose(points)}


def turns(job: dict[str, Any]) -> dict[str, Any]:
    """Time all ways in turns on the queries that nothing was chosen by."""
    work, k = Path(job["work"]), job["k"]
    queries, true = np.load(work / "queries.npy"), np.load(work / "queries_true.npy")
    ways = _ways(work, job)
    result: dict[str, Any] = {}
    for name, search in ways.items():  # warms up, and gives the recall
        found = search(queries, k)
        result[name] = {"recall": recall(_rows(found), true), "batch": [], "single": []}
    rng = np.random.default_rng(0)
    for _ in track(range(job["repetitions"]), "in turns"):
        # In another order every time: who comes after another way finds the lists of the same query
        # in the processor's cache: with faiss always after ours the overhead was 17.8 %, not 9.3 %.
        for name, search in _shuffled(ways, rng):
            result[name]["batch"].append(_clocked(search, queries, k))
        for number in range(min(SINGLE, len(queries))):
            for name, search in _shuffled(ways, rng):
                if number < SINGLE_SCAN or not is_scan(name):
                    one = queries[number : number + 1]
                    result[name]["single"].append(_clocked(search, one, k))
    return {name: _summary(one, len(queries)) for name, one in result.items()}


def _shuffled(ways: Mapping[str, Search], rng: np.random.Generator) -> list[tuple[str, Search]]:
    named = list(ways.items())
    return [named[i] for i in rng.permutation(len(named))]


def is_scan(way: str) -> bool:
    """Return whether a way reads every vector."""
    return way.startswith(("exact:", "flat:"))


def _ways(work: Path, job: dict[str, Any]) -> dict[str, Search]:
    """Return ``index:who`` -> search; each opens its file anew."""
    ways: dict[str, Search] = {}
    if not job["only"]:
        ways["exact:ours"] = Gallery.open(work / "exact").searcher.search
    for index, point in job["points"].items():
        gallery = Gallery.open(work / index).with_options(**point)
        options = IndexConfig.of("faiss", gallery.info.options)
        ways[f"{index}:ours"] = gallery.searcher.search
        direct = read_index(work / index / "index" / "index.faiss")
        set_search(direct, options)
        if not reach(options):
            ways[f"{index}:faiss"] = direct.search
            continue
        # The same search without re-ranking on either side: what the wrapper costs.
        plain = gallery.with_options(rerank=0).searcher.search
        ways[f"{index}:ours_plain"] = _reaching(plain, reach(options))
        ways[f"{index}:faiss_plain"] = _reaching(direct.search, reach(options))
        if len(gallery) <= REFINED_UP_TO:
            ways[f"{index}:faiss"] = _refined(direct, gallery.vectors, reach(options))
    return ways


def _reaching(search: Search, reach: int) -> Search:
    def widened(queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        return _rows(search(queries, max(k, reach)))[:, :k]

    return widened


def _refined(index: Any, vectors: Any, reach: int) -> Search:
    """Return faiss's own re-ranking: the same index, float16 vectors in memory, all cores."""
    import faiss

    exact = faiss.IndexScalarQuantizer(
        index.d, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    for _, chunk in vectors.chunks(16_384):
        if not exact.is_trained:
            exact.train(chunk)
        exact.add(chunk)
    both = faiss.IndexRefine(index, exact)

    def search(queries: NDArray[np.float32], k: int) -> Any:
        both.k_factor = max(1.0, reach / k)
        return both.search(queries, k)

    search.keeps = (index, exact)  # type: ignore[attr-defined]  # IndexRefine only points to them
    return search


def _rows(found: Any) -> NDArray[np.int64]:
    """Return the rows of an answer, ours or faiss's."""
    if isinstance(found, np.ndarray):
        return found
    rows: NDArray[np.int64] = found.rows if hasattr(found, "rows") else found[1]
    return rows


def _clocked(search: Search, queries: NDArray[np.float32], k: int) -> float:
    start = time.perf_counter()
    search(queries, k)
    return time.perf_counter() - start


def _summary(one: dict[str, Any], count: int) -> dict[str, Any]:
    batch = statistics.median(one["batch"])
    return {
        "recall": one["recall"],
        "batch_seconds": one["batch"],
        "queries_per_second": count / batch,
        "single_median": statistics.median(one["single"]),
        "single_95": float(np.percentile(one["single"], 95)),
        "singles": len(one["single"]),
    }
