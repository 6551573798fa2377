"""Which index of faiss a gallery gets, and how it is searched."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mindeye.errors import ConfigError, DataError

KINDS = ("flat", "hnsw", "ivfflat", "ivfsq8", "ivfpq")

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

SEARCH_TIME = ("rerank", "nprobe", "ef")
"""Options that may be told anew at every search."""


@dataclass(frozen=True)
class FaissOptions:
    """What index, how it is trained, how it is searched.

    Parameters
    ----------
    index
        ``flat``, ``hnsw``, ``ivfflat``, ``ivfsq8``, ``ivfpq``, or any string of faiss's factory;
        by default ``flat`` up to 50,000 vectors and ``ivfpq`` from there on.
    nlist
        Lists of an inverted file; 0 takes a power of two near twice the root of the number of
        vectors.
    train
        Vectors a list that lists and codes are trained on, drawn at random.
    pq
        Bytes a vector of ``ivfpq``; must divide the width. 0 takes a byte for 8 numbers, which
        faiss encodes several times faster than for 12, where that is at most 128 bytes and even;
        else the largest divisor up to 64.
    m
        Neighbours a vector of ``hnsw``.
    ef_construction
        Candidates while ``hnsw`` is built.
    nprobe
        Lists that a search looks into; 0 takes 1 in 32, at least 8.
    ef
        Candidates while ``hnsw`` is searched.
    rerank
        First results that are scored again by their stored vectors; -1 takes 256 for indices that
        store vectors as codes, and 0, which is none, for those that store them whole.
    seed
        Of the drawing of the training vectors and of the clustering.
    """

    index: str = ""
    nlist: int = 0
    train: int = 64
    pq: int = 0
    m: int = 32
    ef_construction: int = 200
    nprobe: int = 0
    ef: int = 64
    rerank: int = -1
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"nlist": 0, "train": 1, "pq": 0, "m": 2, "ef_construction": 1, "nprobe": 0}
        for name, low in {**least, "ef": 1, "rerank": -1, "seed": 0}.items():
            value = getattr(self, name)
            if type(value) is not int or value < low:
                raise ConfigError(f"the index option {name} is {value!r}; at least {low}")

    def resolved(self, count: int) -> FaissOptions:
        """Return the same with an index chosen for so many vectors, where none was."""
        chosen = "flat" if count <= FLAT_UP_TO else "ivfpq"
        return self if self.index else dataclasses.replace(self, index=chosen)

    @property
    def is_coded(self) -> bool:
        """Whether the index stores something else than the vectors."""
        return bool(re.search(r"pq|sq|lsh|rabitq|itq|rq|lsq", self.index.lower()))

    @property
    def reach(self) -> int:
        """Results that are scored again."""
        return (256 if self.is_coded else 0) if self.rerank < 0 else self.rerank

    def building(self) -> dict[str, Any]:
        """Return the options that decide the index itself."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in SEARCH_TIME}

    def lists(self, count: int) -> int:
        """Return the number of lists for so many vectors."""
        if self.nlist:
            return self.nlist
        near = 2 ** round(math.log2(2 * math.sqrt(max(count, 1))))
        return int(max(1, min(near, count // ADVISED_TRAINING)))

    def factory(self, count: int, width: int) -> str:
        """Return what faiss's factory is asked for.

        Raises
        ------
        ConfigError
            If the bytes of a code do not divide the width.
        DataError
            If there are too few vectors to train the index on.
        """
        if self.index not in KINDS:
            return self.index
        lists = self.lists(count)
        if self.index.startswith("ivf") and count < lists:
            raise DataError(f"nlist is {lists}, but there are {count} vectors; take fewer")
        if self.index == "ivfpq" and count < CODES:
            raise DataError(
                f"the index ivfpq is trained on at least {CODES} vectors, there are {count}; "
                "take --index flat or --backend exact"
            )
        # "np": without the polysemous training of codes, an annealing that takes minutes and serves
        # a kind of search that is not used here (faiss wiki, "The index factory").
        return {
            "flat": "Flat",
            "hnsw": f"HNSW{self.m},Flat",
            "ivfflat": f"IVF{lists},Flat",
            "ivfsq8": f"IVF{lists},SQ8",
            "ivfpq": f"IVF{lists},PQ{self._bytes(width)}x8np",
        }[self.index]

    def memory(self, count: int, width: int) -> int:
        """Return the bytes that the index of so many vectors takes, 0 where that is not known."""
        per = {
            "flat": 4 * width,
            "hnsw": 4 * width + 8 * self.m + 32,
            "ivfflat": 4 * width + 8,
            "ivfsq8": width + 8,
            "ivfpq": self._bytes(width) + 8,
        }
        return count * per.get(self.index, 0)

    def _bytes(self, width: int) -> int:
        if not self.pq:
            if width % EIGHT == 0 and width // EIGHT <= MOST_EIGHTS:
                return width // EIGHT
            return max(n for n in range(1, min(64, width) + 1) if width % n == 0)
        if width % self.pq:
            raise ConfigError(f"pq={self.pq} does not divide the width {width}")
        return self.pq


def faiss_options(options: Mapping[str, Any]) -> FaissOptions:
    """Return the options out of ``gallery.json`` or flags.

    Raises
    ------
    ConfigError
        If one is unknown or not a number that it can be.
    """
    known = {f.name for f in dataclasses.fields(FaissOptions)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ConfigError(
            f"the faiss back-end has no option {unknown[0]!r}; it has {', '.join(sorted(known))}"
        )
    return FaissOptions(**options)
