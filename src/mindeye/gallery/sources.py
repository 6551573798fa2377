"""What a gallery is built from: a source cut into jobs, each of which becomes one part.

A job names what it reads and how that is recognised when an interrupted build goes on. What it
yields are blocks of raw vectors with the texts of their rows; making them unit vectors, leaving
out ids that are there already and writing them is the builder's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

from mindeye.config.fingerprints import config_hash
from mindeye.errors import ConfigError, DataError
from mindeye.gallery.store import Space

EDGE = 4096
"""Bytes at either end of a file by which it is recognised, beside its size."""


@dataclass(frozen=True)
class SourceConfig:
    """How a source is read.

    Parameters
    ----------
    encoder
        Image encoder that embeds pictures; of embeddings, the one they were made with.
    encoder_tokens
        ``pooled`` gives one vector a picture; ``all`` puts all tokens into one long vector.
    weights
        Folder of fetched models; by default MINDEYE_WEIGHTS, else the Hugging Face cache.
    batch_size
        Pictures embedded at once.
    part
        Vectors or pictures a part; 0 takes 100,000 vectors and 4096 pictures.
    bad
        ``refuse`` stops at a picture that does not open or a vector that is not finite or zero;
        ``skip`` leaves it out and counts it.
    id_prefix
        Put before every id, so that a second source with the same ids is not taken for the first.
    """

    encoder: str = ""
    encoder_tokens: Literal["pooled", "all"] = "pooled"
    weights: str = ""
    batch_size: int = 64
    part: int = 0
    bad: Literal["refuse", "skip"] = "refuse"
    id_prefix: str = ""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}; it must be at least 1")
        if self.part < 0:
            raise ConfigError(f"part is {self.part}; it must be 0 or a number of vectors")


class Block(NamedTuple):
    """Some rows of a job.

    Attributes
    ----------
    vectors
        (n, D) of any float type, as they came.
    texts
        id, caption, url and where -> n texts.
    left_out
        Rows that were unreadable and are not among them.
    """

    vectors: NDArray[Any]
    texts: dict[str, list[str]]
    left_out: int = 0


@dataclass(frozen=True)
class Job:
    """What becomes one part.

    Parameters
    ----------
    name
        Unique in its source.
    identity
        Hash of what is read, short of reading it all.
    count
        Vectors or pictures, 0 where that is not known.
    read
        Yields its blocks.
    """

    name: str
    identity: str
    count: int
    read: Callable[[], Iterator[Block]]


@dataclass(frozen=True)
class Source:
    """A source cut into jobs.

    Parameters
    ----------
    name
        Its path.
    kind
        ``pictures``, ``shards`` or ``embeddings``.
    space
        Of its vectors.
    jobs
        In order.
    """

    name: str
    kind: str
    space: Space
    jobs: tuple[Job, ...]


def file_identity(path: Path, *more: Any) -> str:
    """Return a hash of a file's size and both its ends."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            ends = file.read(EDGE)
            file.seek(max(0, size - EDGE))
            ends += file.read(EDGE)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return config_hash(size, hashlib.sha256(ends).hexdigest(), *more)


def natural(path: Path) -> list[Any]:
    """Return what sorts names by the numbers in them: 2 before 10."""
    return [(0, int(t), "") if t.isdigit() else (1, 0, t) for t in re.split(r"(\d+)", path.name)]
