"""Galleries out of pictures: folders of them, and webdataset or img2dataset shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mindeye.config.fingerprints import config_hash
from mindeye.data.images import read_picture, to_images
from mindeye.datasets.picture_folder import SUFFIXES
from mindeye.datasets.tar_index import index_shard
from mindeye.errors import ConfigError, DataError
from mindeye.gallery.bulk_samples import PictureSample, read_samples
from mindeye.gallery.bulk_shard import square
from mindeye.gallery.sources import Block, Job, Source, SourceConfig, file_identity, natural
from mindeye.gallery.store import Space
from mindeye.targets.encoders import Encoder, load_encoder

PART = 4096
"""Pictures of a folder a part: some minutes of a CPU, so that little is lost when it is killed."""


class Item(NamedTuple):
    """A picture that opened, with its texts."""

    id: str
    caption: str
    url: str
    where: str
    picture: NDArray[np.uint8]


def gallery_encoder(config: SourceConfig) -> tuple[Encoder, Space]:
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
    encoder = load_encoder(
        config.encoder, device=device, tokens=config.encoder_tokens, weights=weights
    )
    space = Space(
        id=encoder.id,
        width=encoder.tokens * encoder.width,
        name=config.encoder,
        tokens=config.encoder_tokens,
        fingerprint=encoder.fingerprint,
        said="computed here",
    )
    return encoder, space


def embedded(pictures: Sequence[NDArray[np.uint8]], encoder: Encoder) -> NDArray[np.float32]:
    """Return one vector (N, K * D) a picture, not yet of norm 1."""
    images = torch.cat([square(to_images(p[None]), encoder) for p in pictures])
    vectors: NDArray[np.float32] = encoder.encode(images).flatten(1).float().cpu().numpy()
    return vectors


def open_pictures(folder: Path, config: SourceConfig) -> Source:
    """Cut a folder of pictures, subfolders included, into runs in the order of their names.

    A text file beside a picture, of the same name but ``.txt``, is its caption.

    Raises
    ------
    DataError
        If there is no picture.
    ConfigError
        If no encoder is named.
    """
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

        def read(own: list[Path] = own) -> Iterator[Block]:
            return _blocks(_of_files(own, folder), encoder, config)

        name = f"pictures {first}..{first + len(own) - 1}"
        jobs.append(Job(name, config_hash(known), len(own), read))
    return Source(str(folder), "pictures", space, tuple(jobs))


def shards_in(path: Path) -> list[Path]:
    """Return the shards that a path is or holds, by the numbers in their names."""
    if path.is_file():
        return [path] if path.suffix == ".tar" else []
    return sorted(path.glob("*.tar"), key=natural)


def open_shards(path: Path, config: SourceConfig) -> Source:
    """Make every shard a job; captions are its .txt or .json, urls its .json."""
    encoder, space = gallery_encoder(config)
    jobs = []
    for shard in shards_in(path):

        def read(shard: Path = shard) -> Iterator[Block]:
            return _blocks(_of_shard(shard), encoder, config)

        jobs.append(Job(shard.name, file_identity(shard), 0, read))
    return Source(str(path), "shards", space, tuple(jobs))


def _of_files(files: list[Path], folder: Path) -> Iterator[Item | str]:
    for path in files:
        name, beside = path.relative_to(folder).as_posix(), path.with_suffix(".txt")
        try:
            caption = ""
            if beside.is_file():
                caption = beside.read_text(encoding="utf-8", errors="replace").strip()
            yield Item(name, caption, "", name, read_picture(path))
        except DataError as error:
            yield str(error)


def _of_shard(shard: Path) -> Iterator[Item | str]:
    for found in read_samples(index_shard(shard)):
        if isinstance(found, PictureSample):
            where = f"{shard.name}/{found.key}"
            yield Item(found.key, found.caption, found.url, where, found.picture)
        else:
            yield found


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
    width = encoder.tokens * encoder.width
    vectors = np.zeros((0, width), dtype=np.float32)
    if held:
        vectors = embedded([item.picture for item in held], encoder)
    texts = {name: [getattr(item, name) for item in held] for name in ("id", "caption", "url")}
    return Block(vectors, {**texts, "where": [item.where for item in held]}, lost)
