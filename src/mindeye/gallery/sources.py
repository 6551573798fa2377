"""What a gallery is built from: a source cut into jobs, each of which becomes one part.

A job names what it reads and how that is recognised when an interrupted build goes on. What it
yields are blocks of raw vectors with the texts of their rows; making them unit vectors, leaving
out ids that are there already and writing them is the builder's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.config.fingerprints import config_hash
from mindeye.data.images import read_picture, resize, to_images
from mindeye.datasets.picture_folder import SUFFIXES
from mindeye.errors import ConfigError, DataError
from mindeye.gallery.config import SourceConfig
from mindeye.gallery.shards import read_shard
from mindeye.gallery.store import VectorSpace
from mindeye.gallery.tables import COLUMNS
from mindeye.targets.encoders import Encoder, PooledEncoder, load_encoder
from mindeye.targets.encoders.preprocessing import Preprocessing

EDGE = 4096
"""Bytes at either end of a file by which it is recognised, beside its size."""

PART = 4096
"""Pictures of a folder a part: some minutes of a CPU, so that little is lost when it is killed."""


class Block(NamedTuple):
    """Some rows of a job.

    Attributes
    ----------
    vectors
        Vectors (n, D) of any float type, as they came.
    table
        Their texts: n rows of id, caption, url and where.
    left_out
        Number of rows that were unreadable and are not among them.
    """

    vectors: NDArray[Any]
    table: pd.DataFrame
    left_out: int = 0


@dataclass(frozen=True)
class Job:
    """What becomes one part.

    Parameters
    ----------
    name
        Name of the job, unique in its source.
    identity
        Hash of what is read, short of reading it all.
    count
        Number of vectors or pictures, 0 where that is not known.
    read
        Yields the blocks of the job.
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
        Path of the source.
    kind
        ``pictures``, ``shards`` or ``embeddings``.
    space
        Space of its vectors.
    jobs
        Jobs in order.
    """

    name: str
    kind: str
    space: VectorSpace
    jobs: tuple[Job, ...]


def source_of_images(
    images: Sequence[NDArray[np.uint8]], ids: Sequence[str], config: SourceConfig
) -> Source:
    """Return pictures in memory as a source.

    Parameters
    ----------
    images
        Pictures (H, W, 3) of 0..255, of any sizes.
    ids
        Their ids.
    config
        Names the encoder.

    Raises
    ------
    DataError
        If a picture is of another shape or type.
    """
    encoder, space = gallery_encoder(config)
    digest = hashlib.sha256()
    for number, image in enumerate(images):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise DataError(
                f"picture {number} is {image.dtype} of shape {image.shape}; give uint8 (H, W, 3)"
            )
        digest.update(image.tobytes())

    def read() -> Iterator[Block]:
        items = (Item(i, "", "", "", image) for i, image in zip(ids, images, strict=True))
        return _blocks(items, encoder, config)

    name = f"{len(images)} pictures in memory, {digest.hexdigest()[:12]}"
    job = Job(name, config_hash(digest.hexdigest(), list(ids)), len(images), read)
    return Source(name, "embeddings", space, (job,))


def shards_in(path: Path) -> list[Path]:
    """Return the shards that a path is or holds, by the numbers in their names."""
    if path.is_file():
        return [path] if path.suffix == ".tar" else []
    return sorted((p for p in path.glob("*.tar") if p.name[0] != "."), key=natural)


def gallery_encoder(config: SourceConfig) -> tuple[Encoder, VectorSpace]:
    """Load the encoder that pictures are embedded by, and say what space it gives.

    Raises
    ------
    ConfigError
        If none is named, or as `load_encoder`.
    CheckpointError
        As `load_encoder`.
    """
    if not config.encoder:
        raise ConfigError("pictures need an encoder: name one with --encoder, such as zoo")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    weights = Path(config.weights) if config.weights else None
    tokens = config.encoder_tokens
    encoder = load_encoder(config.encoder, device=device, tokens=tokens, weights=weights)
    width, name = encoder.tokens * encoder.width, config.encoder
    space = VectorSpace(encoder.id, width, name, tokens, encoder.fingerprint, "computed here")
    return encoder, space


def embedded(pictures: Sequence[NDArray[np.uint8]], encoder: Encoder) -> NDArray[np.float32]:
    """Return one vector (N, K * D) a picture, not yet of norm 1."""
    images = torch.cat([square(to_images(p[None]), encoder) for p in pictures])
    vectors: NDArray[np.float32] = encoder.encode(images).flatten(1).float().cpu().numpy()
    return vectors


def square(images: Tensor, encoder: Encoder) -> Tensor:
    """Return images (N, 3, H, W) at the encoder's `size`, (N, 3, size, size).

    Pictures of all shapes so come into one batch, and the encoder finds nothing left to resize:
    the shorter side is brought to `size` and the middle cut out, or both sides are, whichever
    the encoder's own preprocessing does. What it cuts out of the middle itself stays the same.
    """
    network = encoder.encoder if isinstance(encoder, PooledEncoder) else encoder
    own = getattr(network, "preprocessing", None)
    if not isinstance(own, Preprocessing):
        return resize(images, encoder.size)
    return dataclasses.replace(own, size=encoder.size).fit(images)


class Item(NamedTuple):
    """A picture that opened, (H, W, 3) of 0..255, with its texts."""

    id: str
    caption: str
    url: str
    where: str
    picture: NDArray[np.uint8]


def open_pictures(folder: Path, config: SourceConfig) -> Source:
    """Cut a folder of pictures, subfolders included, into runs in the order of their names."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise DataError(
            f"{folder} holds no pictures ({', '.join(SUFFIXES)}), no .tar shards and no img_emb; "
            "there is nothing to build a gallery from"
        )
    encoder, space = gallery_encoder(config)
    size = config.part or PART
    jobs = []
    for first in range(0, len(files), size):
        own = files[first : first + size]
        known = [(p.relative_to(folder).as_posix(), p.stat().st_size) for p in own]
        read = partial(_read, partial(_files, own, folder), encoder, config)
        name = f"pictures {first}..{first + len(own) - 1}"
        jobs.append(Job(name, config_hash(known), len(own), read))
    return Source(str(folder), "pictures", space, tuple(jobs))


def open_shards(path: Path, shards: list[Path], config: SourceConfig) -> Source:
    """Make every shard a job."""
    encoder, space = gallery_encoder(config)
    jobs = [
        Job(s.name, file_identity(s), 0, partial(_read, partial(_shard, s), encoder, config))
        for s in shards
    ]
    return Source(str(path), "shards", space, tuple(jobs))


def _files(files: list[Path], folder: Path) -> Iterator[Item | str]:
    """Yield pictures of files; a .txt of the same name beside one is its caption."""
    for path in files:
        name, beside = path.relative_to(folder).as_posix(), path.with_suffix(".txt")
        try:
            caption = ""
            if beside.is_file():
                caption = beside.read_text(encoding="utf-8", errors="replace").strip()
            yield Item(name, caption, "", name, read_picture(path))
        except DataError as error:
            yield str(error)


def _shard(shard: Path) -> Iterator[Item | str]:
    for found in read_shard(shard):
        if isinstance(found, str):
            yield found
        else:
            where = f"{shard.name}/{found.key}"
            yield Item(found.key, found.caption, found.url, where, found.picture)


def _read(
    items: Callable[[], Iterable[Item | str]], encoder: Encoder, config: SourceConfig
) -> Iterator[Block]:
    return _blocks(items(), encoder, config)


def _blocks(items: Iterable[Item | str], encoder: Encoder, config: SourceConfig) -> Iterator[Block]:
    """Embed pictures a batch at a time; those that did not open stop it or are counted."""
    held: list[Item] = []
    lost = 0
    for item in items:
        if isinstance(item, Item):
            held.append(item)
        elif config.bad == "refuse":
            raise DataError(f"{item}; repair or remove it, or give --bad skip")
        else:
            lost += 1
        if len(held) == config.batch_size:
            yield _block(held, encoder, lost)
            held, lost = [], 0
    if held or lost:
        yield _block(held, encoder, lost)


def _block(held: list[Item], encoder: Encoder, lost: int) -> Block:
    vectors = np.zeros((0, encoder.tokens * encoder.width), dtype=np.float32)
    if held:
        vectors = embedded([item.picture for item in held], encoder)
    return Block(vectors, pd.DataFrame([item[:4] for item in held], columns=COLUMNS), lost)


def file_identity(path: Path, *more: Any) -> str:
    """Return a hash of a file's size and both its ends; raises DataError if it cannot be read."""
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
