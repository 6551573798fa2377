"""What may be said of a Milvus: where it is, which index, how patient to be."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mindeye.errors import ConfigError
from mindeye.gallery.faiss_options import ADVISED_TRAINING

LITE_INDEXES = ("FLAT", "HNSW", "IVF_FLAT", "IVF_SQ8", "AUTOINDEX")
"""What Milvus Lite 3.2 builds (tried out). Others it may accept and then search without them."""

SERVER_INDEXES = (*LITE_INDEXES, "IVF_PQ", "DISKANN")
"""Of a Milvus server also these (Milvus documentation, "In-memory Index", "On-disk Index")."""

WIDEST = 32_768
"""Milvus' limit on the width of a vector (Milvus documentation, "Milvus Limits")."""

SPARE = 16
"""Results beyond those asked for that are scored again at least."""

SHORTER = {"AUTO": "AUTOINDEX"}

DATABASE = "milvus.db"


@dataclass(frozen=True)
class MilvusOptions:
    """Options of the back-end ``milvus``.

    Parameters
    ----------
    index
        flat, hnsw, ivf_flat, ivf_sq8 or auto; on a server also ivf_pq and diskann.
    uri
        Of a Milvus server, as http://host:19530; a path ending in .db, or nothing, is Milvus Lite.
    collection
        Name of the collection; by default it is made of the gallery's first part.
    token_env
        Environment variable that holds the token (user:password), if the server wants one.
    batch
        Rows that are sent at once.
    timeout
        Seconds that one call may take.
    attempts
        How often a call is made before the server is given up.
    wait
        Seconds before the second attempt; twice as long before every further one.
    m, ef_construction
        Neighbours a vector of hnsw, and candidates while it is built.
    nlist
        Lists of an inverted file; 0 takes 4 sqrt(vectors), Milvus' advice (documentation,
        "Performance FAQ"), or fewer of few vectors.
    nprobe
        Lists that a search looks into; 0 takes 1 in 32, at least 8.
    ef
        Candidates while hnsw is searched.
    rerank
        First results that are scored again by their stored vectors; never fewer than a few more
        than are asked for. -1 takes 256 for indices that store vectors as codes, else 64.
    """

    index: str = "hnsw"
    uri: str = ""
    collection: str = ""
    token_env: str = "MILVUS_TOKEN"
    batch: int = 1000
    timeout: float = 60.0
    attempts: int = 5
    wait: float = 1.0
    m: int = 32
    ef_construction: int = 200
    nlist: int = 0
    nprobe: int = 0
    ef: int = 128
    rerank: int = -1

    def __post_init__(self) -> None:
        """Refuse what cannot be; raises ConfigError."""
        least = {"batch": 1, "attempts": 1, "m": 2, "ef_construction": 1, "nlist": 0, "nprobe": 0}
        for name, low in {**least, "ef": 1, "rerank": -1}.items():
            value = getattr(self, name)
            if value < low:
                raise ConfigError(f"the option {name} of a Milvus is {value}; at least {low}")
        if self.timeout <= 0 or self.wait < 0:
            raise ConfigError("timeout and wait of a Milvus are seconds; timeout is more than 0")
        check_uri(self.uri)

    @property
    def kind(self) -> str:
        """Milvus' own name of the index.

        Raises
        ------
        ConfigError
            If no Milvus has it.
        """
        plain = self.index.upper().replace("_", "").replace("-", "")
        plain = SHORTER.get(plain, plain)
        for known in SERVER_INDEXES:
            if known.replace("_", "") == plain:
                return known
        raise ConfigError(
            f"no index {self.index!r} in Milvus; known: {', '.join(SERVER_INDEXES).lower()}"
        )

    @property
    def token(self) -> str:
        """The token, out of the environment; it is never written down."""
        return os.environ.get(self.token_env, "")


def read_options(options: Mapping[str, Any]) -> MilvusOptions:
    """Return options as given by name, those left out at their default.

    Raises
    ------
    ConfigError
        If one is unknown or of another type.
    """
    fields = {field.name: type(field.default) for field in dataclasses.fields(MilvusOptions)}
    unknown = sorted(set(options) - set(fields))
    if unknown:
        raise ConfigError(f"the back-end milvus has no option {unknown[0]}; it has {list(fields)}")
    values: dict[str, Any] = {}
    for name, value in options.items():
        kind = fields[name]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise ConfigError(f"the option {name} of the back-end milvus is no {kind.__name__}")
        values[name] = value
    return MilvusOptions(**values)


def check_uri(uri: str) -> None:
    """Refuse what is no place of a Milvus, or holds a password.

    Raises
    ------
    ConfigError
        Saying what it should look like; a password is not repeated.
    """
    if not uri or uri.endswith(".db"):
        return
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"{uri!r} is no address of a Milvus: {error}") from error
    if parts.username or parts.password:
        raise ConfigError(
            "the address of a Milvus is written to disk and so holds no user or password; put "
            "user:password into the environment variable MILVUS_TOKEN"
        )
    if parts.scheme not in ("http", "https", "tcp") or not parts.hostname:
        raise ConfigError(
            f"{uri!r} is no address of a Milvus; it looks like http://host:19530, or is a path "
            "ending in .db for Milvus Lite"
        )


def place_of(folder: Path, uri: str) -> str:
    """Return where a gallery's Milvus is: an address, or the absolute path of Milvus Lite's files.

    Parameters
    ----------
    folder
        The gallery's ``index``.
    uri
        As in the options.
    """
    if uri and not uri.endswith(".db"):
        return uri
    return str((Path(uri).expanduser() if uri else folder / DATABASE).absolute())


def _lists(options: MilvusOptions, count: int) -> int:
    """Return the number of lists of an inverted file over `count` vectors."""
    return options.nlist or max(1, min(int(4 * count**0.5), count // ADVISED_TRAINING, 65_536))


def build_params(kind: str, options: MilvusOptions, count: int, width: int) -> dict[str, int]:
    """Return how an index of `count` vectors of `width` is built.

    IVF_PQ has a byte for every 8 values, or for as many up to 8 as divide the width.
    """
    if kind == "HNSW":
        return {"M": options.m, "efConstruction": options.ef_construction}
    if kind == "IVF_PQ":
        values = next(n for n in range(8, 0, -1) if width % n == 0)
        return {"nlist": _lists(options, count), "m": width // values, "nbits": 8}
    return {"nlist": _lists(options, count)} if kind in ("IVF_FLAT", "IVF_SQ8") else {}


def search_params(kind: str, options: MilvusOptions, count: int, limit: int) -> dict[str, int]:
    """Return how `limit` neighbours among `count` are searched for."""
    if kind in ("IVF_FLAT", "IVF_SQ8", "IVF_PQ"):
        return {"nprobe": options.nprobe or max(8, _lists(options, count) // 32)}
    if kind == "HNSW":
        # at least as many as are asked for (Milvus documentation, "HNSW")
        return {"ef": max(options.ef, limit)}
    # the same of "DISKANN"
    return {"search_list": max(100, limit)} if kind == "DISKANN" else {}


def reach(kind: str, options: MilvusOptions, wanted: int) -> int:
    """Return how many results are scored again to find the `wanted` best."""
    coded = kind in ("IVF_SQ8", "IVF_PQ", "DISKANN")
    given = options.rerank if options.rerank >= 0 else 256 if coded else 64
    return max(given, wanted + SPARE)
