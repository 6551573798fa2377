"""Which index of faiss the settings of a gallery stand for."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

from mindeye.errors import ConfigError, DataError
from mindeye.gallery.config import IndexConfig

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


def chosen(config: IndexConfig, count: int) -> IndexConfig:
    """Return the settings with an index chosen for so many vectors, where none was."""
    default = "flat" if count <= FLAT_UP_TO else "ivfpq"
    return config if config.index else dataclasses.replace(config, index=default)


def building(config: IndexConfig) -> dict[str, Any]:
    """Return the settings that decide the index itself."""
    return {name: getattr(config, name) for name in BUILDING}


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

    Raises
    ------
    ConfigError
        If the bytes of a code do not divide the width.
    DataError
        If there are too few vectors to train the index on.
    """
    name, nlist = config.index, lists(config, count)
    if name in ("ivfflat", "ivfsq8", "ivfpq") and count < nlist:
        raise DataError(f"nlist is {nlist}, but there are {count} vectors; take fewer")
    if name == "ivfpq" and count < CODES:
        raise DataError(
            f"the index ivfpq is trained on at least {CODES} vectors, there are {count}; "
            "take --index flat or --backend exact"
        )
    code = _code_bytes(config.pq, width) if name == "ivfpq" else 0
    # "np": without the polysemous training of codes, an annealing that takes minutes and serves
    # a kind of search that is not used here (faiss wiki, "The index factory").
    known = {
        "flat": "Flat",
        "hnsw": f"HNSW{config.m},Flat",
        "ivfflat": f"IVF{nlist},Flat",
        "ivfsq8": f"IVF{nlist},SQ8",
        "ivfpq": f"IVF{nlist},PQ{code}x8np",
    }
    return known.get(name, name)


def _code_bytes(pq: int, width: int) -> int:
    if pq and width % pq:
        raise ConfigError(f"pq={pq} does not divide the width {width}")
    if pq:
        return pq
    if width % EIGHT == 0 and width // EIGHT <= MOST_EIGHTS:
        return width // EIGHT
    return max(n for n in range(1, min(64, width) + 1) if width % n == 0)
