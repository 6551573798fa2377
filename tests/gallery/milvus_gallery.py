"""A small gallery on disk, with equal vectors in several rows, and a Milvus in a process."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mindeye.gallery.config import IndexConfig
from mindeye.gallery.gallery import Gallery
from mindeye.gallery.milvus import MilvusCollection
from mindeye.gallery.store import Info, Part, VectorSpace, write_info, write_table

WIDTH = 24
TWINS = range(100, 160)
"""Rows that hold one and the same vector."""


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def small_gallery(folder: Path, rows: tuple[int, ...] = (400, 300), seed: int = 0) -> Gallery:
    """Write clustered unit vectors in parts of so many rows."""
    rng = np.random.default_rng(seed)
    count = sum(rows)
    centres = rng.standard_normal((12, WIDTH))
    values = centres[rng.integers(0, 12, count)] + 0.3 * rng.standard_normal((count, WIDTH))
    if count > TWINS.stop:
        values[list(TWINS)] = values[TWINS.start]
    halves = unit(values).astype(np.float16)
    (folder / "parts").mkdir(parents=True)
    parts, first = [], 0
    for number, size in enumerate(rows):
        name, mine = f"{number:05d}", range(first, first + size)
        np.save(folder / "parts" / f"{name}.npy", halves[first : first + size])
        texts = [str(row) for row in mine]
        columns = {"id": texts, "caption": texts, "url": texts, "where": texts}
        write_table(folder / "parts" / f"{name}.parquet", pd.DataFrame(columns))
        sha = hashlib.sha256(halves[first : first + size].tobytes()).hexdigest()
        parts.append(Part(name, size, sha, "", "made", name, "", size))
        first += size
    info = Info(VectorSpace("zoo_clip_pooled", WIDTH), tuple(parts), "milvus", {}, ("made",))
    write_info(folder, info)
    return Gallery.open(folder)


def collection_of(gallery: Gallery, **options: Any) -> MilvusCollection:
    """Return the collection of a gallery, not yet opened."""
    config = IndexConfig("milvus", **options)
    return MilvusCollection(gallery.path / "index", gallery.info, gallery.vectors, config)


def build(gallery: Gallery, **options: Any) -> None:
    """Build the collection of a gallery and let go of the Milvus."""
    with closing(collection_of(gallery, **options)) as collection:
        collection.build()


def opened(gallery: Gallery, **options: Any) -> closing[MilvusCollection]:
    """Open the collection of a gallery; a context manager."""
    return closing(collection_of(gallery, **options).opened())


def queries_near(gallery: Gallery, count: int = 7) -> np.ndarray:
    """Return unit queries (Q, D); the first is the vector that several rows hold."""
    rng = np.random.default_rng(9)
    rows = rng.integers(0, len(gallery), count)
    rows[0] = min(TWINS.start, len(gallery) - 1)
    near = gallery.vectors.take(rows)
    near[1:] += 0.1 * rng.standard_normal((count - 1, near.shape[1]))
    return unit(near).astype(np.float32)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a Milvus of its own process that is reached by address, as a cluster is."""
    code = (
        "from milvus_lite.adapter.grpc.server import run_server; "
        f"run_server({str(folder)!r}, '127.0.0.1', {port})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    process.kill()
    raise RuntimeError("the server did not start")
