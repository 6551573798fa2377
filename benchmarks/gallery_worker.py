"""One step of the bench of galleries in a process of its own, so that its peak memory is its own.

Started by `benchmarks.gallery`; prints one JSON object.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gallery_search import tuned, turns
from benchmarks.gallery_vectors import Mixture, Synthetic, geometry, write_vectors
from benchmarks.gallery_weigh import PeakMemory
from mindeye.errors import MindEyeError
from mindeye.files import write_array
from mindeye.gallery.config import IndexConfig, SourceConfig
from mindeye.gallery.faiss_index import build_index
from mindeye.gallery.gallery import Gallery
from mindeye.gallery.store import open_vectors, read_info, write_info

TRUTH = "exact"
"""Name of the gallery whose search is exact; the others share its parts by hard links."""


def vectors(job: dict[str, Any]) -> dict[str, Any]:
    """Write the vectors and both sets of queries."""
    work, mixture = Path(job["work"]), Mixture(**job["mixture"])
    start = time.perf_counter()
    with PeakMemory() as peak:
        paths = write_vectors(work / "vectors", mixture, job["count"], part=job["part"])
        seconds = time.perf_counter() - start
        synthetic = Synthetic(mixture)
        for stream, (name, count) in enumerate(job["queries"].items()):
            drawn = synthetic.queries(job["count"], count, stream=stream)
            write_array(work / f"{name}.npy", drawn.vectors)
            write_array(work / f"{name}_members.npy", drawn.members)
        sample = next(synthetic.rows(0, min(job["count"], 2000))).astype(np.float32)
    size = sum(path.stat().st_size for path in paths)
    return {
        "seconds": seconds,
        "bytes": size,
        "geometry": geometry(sample),
        **peak.content(),
    }


def parts(job: dict[str, Any]) -> dict[str, Any]:
    """Build the gallery of exact search; the vectors are removed when all are in it."""
    work, start = Path(job["work"]), time.perf_counter()
    out = work / TRUTH
    resumed = (out / "gallery.json").is_file()
    reading = SourceConfig(part=job["part"])
    with PeakMemory() as peak:
        gallery = Gallery.build(work / "vectors", out, index="exact", reading=reading)
    seconds = time.perf_counter() - start
    if len(gallery) != job["count"]:
        raise MindEyeError(f"{out} has {len(gallery)} vectors, not {job['count']}")
    if job["remove"]:
        shutil.rmtree(work / "vectors")
    content = {"seconds": seconds, "resumed": resumed, "bytes": folder_bytes(out / "parts")}
    return {**content, **peak.content()}


def build(job: dict[str, Any]) -> dict[str, Any]:
    """Make an index over the parts that are there, by the back-end's own building."""
    work = Path(job["work"])
    folder = linked(work / TRUTH, work / job["index"])
    info = dataclasses.replace(read_info(folder), backend="faiss", options=job["options"])
    write_info(folder, info)
    resumed = any(folder.glob("index/*"))
    start = time.perf_counter()
    with PeakMemory() as peak:
        config = IndexConfig.of("faiss", info.options)
        build_index(folder / "index", info, open_vectors(folder, info), config)
    seconds = time.perf_counter() - start
    size = folder_bytes(folder / "index")
    return {"seconds": seconds, "resumed": resumed, "bytes": size, **peak.content()}


def truth(job: dict[str, Any]) -> dict[str, Any]:
    """Find the true neighbours of all queries at once, by our exact search."""
    work = Path(job["work"])
    names = list(job["queries"])
    queries = [np.load(work / f"{name}.npy") for name in names]
    with PeakMemory() as peak:
        searcher = Gallery.open(work / TRUTH).searcher
        start = time.perf_counter()
        found = searcher.search(np.concatenate(queries), job["k"])
        seconds = time.perf_counter() - start
    rows = np.split(found.rows, np.cumsum([len(q) for q in queries])[:-1])
    for name, own in zip(names, rows, strict=True):
        write_array(work / f"{name}_true.npy", own)
    mean = found.scores.mean(axis=0)
    return {
        "seconds": seconds,
        "queries": len(found.rows),
        "cosine_of_the_first": float(mean[0]),
        "cosine_of_the_last": float(mean[-1]),
        **peak.content(),
    }


def linked(base: Path, folder: Path) -> Path:
    """Return a gallery of the same parts, hard-linked: no byte twice."""
    if not (folder / "gallery.json").is_file():
        (folder / "parts").mkdir(parents=True, exist_ok=True)
        for file in (base / "parts").iterdir():
            target = folder / "parts" / file.name
            if not target.exists():
                os.link(file, target)
        shutil.copyfile(base / "gallery.json", folder / "gallery.json")
    return folder


def folder_bytes(folder: Path) -> int:
    """Return the bytes of the files directly in a folder."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


STEPS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "vectors": vectors,
    "parts": parts,
    "truth": truth,
    "build": build,
    "tune": tuned,
    "turns": turns,
}


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    try:
        result = STEPS[job["step"]](job)
    except MindEyeError as error:
        result = {"error": str(error)}
    print(json.dumps(result))
