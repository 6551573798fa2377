"""Settings of galleries: reading a source, searching, embedding in bulk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from mindeye.errors import ConfigError

BACKENDS = ("exact", "faiss", "milvus")


@dataclass(frozen=True)
class SourceConfig:
    """How pictures or embeddings are read into a gallery.

    Parameters
    ----------
    encoder
        Name of the image encoder that embeds pictures; for embeddings, the one they were made with.
    encoder_tokens
        ``pooled`` gives one vector a picture; ``all`` puts all tokens into one long vector.
    weights
        Folder of fetched models; by default MINDEYE_WEIGHTS, else the Hugging Face cache.
    batch_size
        Number of pictures that go through the encoder at once.
    part
        Number of vectors or pictures in a part; 0 takes 100,000 vectors or 4096 pictures.
    bad
        ``refuse`` stops at a picture that does not open or a vector that is not finite or zero;
        ``skip`` leaves it out and counts it.
    id_prefix
        Text put before every id, so that a second source may have the same ids as the first.
    """

    encoder: str = ""
    encoder_tokens: Literal["pooled", "all"] = "pooled"
    weights: str = ""
    batch_size: int = 64
    part: int = 0
    bad: Literal["refuse", "skip"] = "refuse"
    id_prefix: str = ""

    def __post_init__(self) -> None:
        _at_least(self, batch_size=1, part=0)


@dataclass(frozen=True)
class IndexConfig:
    """What searches a gallery, how it is built and how far it looks.

    Parameters
    ----------
    backend
        ``exact``, ``faiss`` or ``milvus``; left out, the one that the gallery has, and ``exact``
        for a new gallery.
    index
        Kind of index. faiss has ``flat``, ``hnsw``, ``ivfflat``, ``ivfsq8``, ``ivfpq`` or any
        string of its factory; by default ``flat`` up to 50,000 vectors and ``ivfpq`` from there on.
        Milvus has ``flat``, ``hnsw``, ``ivf_flat``, ``ivf_sq8`` or ``auto``, the default.
    uri
        Address of a Milvus server, as http://host:19530; by default Milvus Lite in the gallery.
    nlist
        Number of lists of an inverted file; 0 takes a power of two near twice the root of the
        number of vectors.
    train
        Number of vectors per list, drawn at random, that lists and codes are trained on.
    pq
        Bytes of a vector's code in ``ivfpq``; must divide the width. 0 takes a byte for 8 numbers
        where that is whole and at most 128, else the largest divisor of the width up to 64.
    m
        Number of neighbours that ``hnsw`` links a vector to.
    ef_construction
        Number of candidates looked at while ``hnsw`` is built.
    nprobe
        Number of lists that a search looks into; 0 takes 1 in 32, at least 8.
    ef
        Number of candidates looked at while ``hnsw`` is searched.
    rerank
        Number of first results that are scored again by their stored vectors; -1 takes 256 for
        indices that store vectors as codes, and for others 0 with faiss and 64 with Milvus.
    seed
        Seed of the training sample and of the clustering.
    """

    backend: str = ""
    index: str = ""
    uri: str = ""
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
        if self.backend not in ("", *BACKENDS):
            raise ConfigError(
                f"no back-end {self.backend!r}; known back-ends: {', '.join(BACKENDS)}"
            )
        _at_least(self, m=2, train=1, ef=1, ef_construction=1, rerank=-1)
        _at_least(self, nlist=0, pq=0, nprobe=0, seed=0)
        parts = urlsplit(self.uri)
        if parts.username or parts.password:
            raise ConfigError(
                "the address of a Milvus is written to disk and so holds no user or password; put "
                "user:password into the environment variable MILVUS_TOKEN"
            )
        if self.uri and (parts.scheme not in ("http", "https", "tcp") or not parts.hostname):
            raise ConfigError(
                f"{self.uri!r} is no address of a Milvus; it looks like http://host:19530. Leave "
                "it out for Milvus Lite in the gallery's folder"
            )

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the back-end's name, as ``gallery.json`` keeps it."""
        content = dataclasses.asdict(self)
        del content["backend"]
        return {} if self.backend == "exact" else content

    @classmethod
    def named(cls, index: str | IndexConfig) -> IndexConfig:
        """Return all settings of an index given by the name of a back-end or of one of faiss's."""
        if isinstance(index, IndexConfig):
            return index
        return cls(index) if index in ("", *BACKENDS) else cls("faiss", index)

    @classmethod
    def of(cls, backend: str, options: Mapping[str, Any]) -> IndexConfig:
        """Return the settings that ``gallery.json`` keeps; raises ConfigError of a wrong one."""
        try:
            return cls(backend, **options)
        except TypeError as error:
            raise ConfigError(f"options of an index: {error}; build the gallery again") from error


@dataclass(frozen=True)
class BulkConfig:
    """How shards of pictures are embedded in bulk.

    Parameters
    ----------
    encoder
        Name of the image encoder: zoo, a local model folder or the id of a fetched model.
    weights
        Folder of fetched models; by default MINDEYE_WEIGHTS, else the Hugging Face cache.
    batch_size
        Number of pictures that go through the encoder at once.
    workers
        Number of Ray workers; 0 embeds in this process, without Ray.
    address
        local starts Ray on this machine; auto joins the cluster that runs already.
    device
        cpu, cuda or auto; on Ray every worker gets a GPU of its own if there are any.
    """

    encoder: str
    weights: str = ""
    batch_size: int = 64
    workers: int = 0
    address: Literal["local", "auto"] = "local"
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        _at_least(self, batch_size=1, workers=0)


def _at_least(config: Any, **least: int) -> None:
    for name, low in least.items():
        value = getattr(config, name)
        if type(value) is not int or value < low:
            raise ConfigError(f"{name} is {value!r}; it must be a whole number of at least {low}")
