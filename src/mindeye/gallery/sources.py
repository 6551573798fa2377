"""What Python or a path gives a gallery to be built of or asked with."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from mindeye.errors import ConfigError, DataError, UsageError
from mindeye.files import open_array
from mindeye.gallery.config import SourceConfig
from mindeye.gallery.embeddings import (
    Block,
    Job,
    Source,
    embeddings_in,
    file_identity,
    natural,
    open_embeddings,
    source_of_array,
)
from mindeye.gallery.exact import unit_rows
from mindeye.gallery.pictures import Picture, PictureSample, read_files, read_shard
from mindeye.gallery.store import COLUMNS, VectorSpace
from mindeye.targets.encoders import Encoder, load_encoder

PART = 4096
"""Pictures of a folder a part: some minutes of a CPU, so that little is lost when it is killed."""

UNIT_WITHIN = 5e-3
"""How far a norm may be from 1 by rounding: float16 of unit vectors is within 5e-4."""


def is_embeddings(source: Any) -> bool:
    """Tell whether a source is of embeddings, in memory or on disk."""
    if isinstance(source, str | Path):
        return bool(embeddings_in(Path(source).expanduser()))
    return not _is_pictures(source) and as_array(source).dtype.kind == "f"


def any_source(source: Any, ids: Sequence[str] | None, config: SourceConfig) -> Source:
    """Return a path, embeddings (N, D) or pictures (N, H, W, 3) as a source.

    Raises DataError if it is none of these, damaged, or the ids do not fit it; ConfigError if
    pictures come without an encoder.
    """
    if isinstance(source, str | Path):
        if ids is not None:
            raise DataError(f"the ids of {source} are its own; leave out ids=")
        return _source_at(Path(source).expanduser().resolve(), config)
    if _is_pictures(source):
        pictures = [as_array(picture) for picture in source]
        return _source_of_pictures(pictures, names_of(ids, len(pictures)), config)
    array = as_array(source)
    if array.dtype.kind != "f" or array.ndim not in (2, 3) or not array.size:
        raise DataError(
            f"{array.dtype} of shape {array.shape} is no source of a gallery: give floats (N, D), "
            "pictures (N, H, W, 3) of type uint8, or a path"
        )
    return source_of_array(array.reshape(len(array), -1), names_of(ids, len(array)), config)


def read_whole(source: Source) -> tuple[NDArray[Any], pd.DataFrame]:
    """Return all vectors (N, D) of a source, as they came, and their texts; no id may be twice."""
    blocks = [block for job in source.jobs for block in job.read()]
    table = pd.concat([block.table for block in blocks], ignore_index=True)
    names_of(table["id"].tolist(), len(table))
    return np.concatenate([block.vectors for block in blocks]), table


def as_array(values: Any) -> NDArray[Any]:
    """Return numbers as an array: of a tensor, an array, a picture of Pillow or nested lists."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
        return np.ascontiguousarray(values.numpy())
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"these are no numbers of one shape: {error}") from error


def names_of(ids: Sequence[str] | None, count: int) -> list[str]:
    """Return ids of so many rows, by default their numbers; raises DataError if they do not fit."""
    names = [str(row) for row in range(count)] if ids is None else [str(i) for i in ids]
    if len(names) != count:
        raise DataError(f"{len(names)} ids for {count} rows; give one id a row")
    twice = pd.Series(names, dtype=object)
    twice = twice[twice.duplicated()]
    if len(twice):
        raise DataError(f"the id {twice.iloc[0]!r} is there twice; ids of a gallery are unique")
    return names


def shards_in(path: Path) -> list[Path]:
    """Return the shards that a path is or holds, by the numbers in their names."""
    if path.is_file():
        return [path] if path.suffix == ".tar" else []
    return sorted((p for p in path.glob("*.tar") if p.name[0] != "."), key=natural)


def gallery_encoder(config: SourceConfig) -> tuple[Encoder, VectorSpace]:
    """Load the encoder that pictures are embedded by, and say what space it gives.

    Raises ConfigError if none is named, and what `load_encoder` raises.
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


def embedded(pictures: Sequence[Picture], encoder: Encoder) -> NDArray[np.float32]:
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
    if encoder.preprocessing is None:
        return resize(images, encoder.size)
    return dataclasses.replace(encoder.preprocessing, size=encoder.size).fit(images)


class Queries(NamedTuple):
    """Vectors that are looked up.

    Attributes
    ----------
    vectors
        Vectors (Q, D) of any float type and norm, each with a direction.
    names
        Names of the queries, for the answers.
    notes
        Notes on the queries for the user.
    """

    vectors: NDArray[Any]
    names: list[str]
    notes: list[str]


def queries_of(source: Path, space: VectorSpace, gallery: object, *, weights: str = "") -> Queries:
    """Return the queries in a file: an .npy of embeddings, or a picture.

    A picture is embedded by the gallery's own encoder; raises ConfigError if that is not known
    here, UsageError if the file is neither, and what `queries_from` raises.
    """
    if source.suffix == ".npy":
        return queries_from(open_array(source, "give embeddings (Q, D)"), space, gallery, source)
    if source.suffix.lower() in SUFFIXES:
        picture = read_picture(source)
        if not space.name:
            raise ConfigError(
                f"{gallery} does not name its encoder; embed {source.name} yourself and "
                "give it as .npy"
            )
        tokens: Any = space.tokens
        encoder, own = gallery_encoder(SourceConfig(space.name, tokens, weights))
        vectors = embedded([picture], encoder)
        return queries_from(vectors, space, gallery, source, own=own, names=[source.name])
    raise UsageError(
        f"{source} is no query: give embeddings as .npy, a picture ({', '.join(SUFFIXES)}) or the "
        "folder of a run"
    )


def queries_from(
    vectors: NDArray[Any],
    space: VectorSpace,
    gallery: object,
    what: object,
    *,
    own: VectorSpace | None = None,
    names: Sequence[str] = (),
) -> Queries:
    """Return embeddings (Q, D), (Q, K, D) of which all tokens count, or (D,) as queries.

    `own` is their encoder and width, None where only the width is known; `gallery` and `what` name
    both sides for messages. Raises DataError if they are no embeddings, hold NaN, or lie in another
    space than the gallery.
    """
    shape = vectors.shape
    if vectors.dtype.kind != "f" or vectors.ndim not in (1, 2, 3) or not vectors.size:
        raise DataError(f"{what} holds {vectors.dtype} of shape {shape}; queries are floats (Q, D)")
    flat = vectors[None] if vectors.ndim == 1 else vectors.reshape(len(vectors), -1)
    space.refuse_other(own or VectorSpace("", int(flat.shape[1])), what, gallery)
    _, norms = unit_rows(flat, str(what))
    changed = int((np.abs(norms - 1) > UNIT_WITHIN).sum())
    notes = [f"{changed} of {len(flat)} queries were not of norm 1 and were normalised"]
    given = list(names) or [str(row) for row in range(len(flat))]
    return Queries(flat, given, notes if changed and own is None else [])


def _is_pictures(source: Any) -> bool:
    """Tell pictures in memory: an array of uint8, or a list of arrays or of Pillow's pictures."""
    if isinstance(source, list | tuple):
        return bool(len(source)) and as_array(source[0]).ndim == 3
    return as_array(source).ndim == 4 and as_array(source).dtype == np.uint8


def _source_at(path: Path, config: SourceConfig) -> Source:
    """Look at a path: embeddings, shards or pictures, whichever is there."""
    if not path.exists():
        raise DataError(f"there is no source {path}")
    if arrays := embeddings_in(path):
        return open_embeddings(path, arrays, config)
    if shards := shards_in(path):
        encoder, space = gallery_encoder(config)
        jobs = [
            Job(
                s.name,
                file_identity(s),
                0,
                partial(_blocks, partial(read_shard, s), encoder, config),
            )
            for s in shards
        ]
        return Source(str(path), "shards", space, tuple(jobs))
    if path.is_dir():
        return _source_of_folder(path, config)
    raise DataError(
        f"{path} is no source: give a folder of pictures, of .tar shards or of img_emb and "
        "metadata, or one .tar or .npy file"
    )


def _source_of_folder(folder: Path, config: SourceConfig) -> Source:
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
        read = partial(_blocks, partial(read_files, own, folder), encoder, config)
        name = f"pictures {first}..{first + len(own) - 1}"
        jobs.append(Job(name, config_hash(known), len(own), read))
    return Source(str(folder), "pictures", space, tuple(jobs))


def _source_of_pictures(
    images: Sequence[Picture], ids: Sequence[str], config: SourceConfig
) -> Source:
    """Return pictures (H, W, 3) in memory as a source, of any sizes."""
    encoder, space = gallery_encoder(config)
    digest = hashlib.sha256()
    for number, image in enumerate(images):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise DataError(
                f"picture {number} is {image.dtype} of shape {image.shape}; give uint8 (H, W, 3)"
            )
        digest.update(image.tobytes())
    samples = [PictureSample(i, "", "", "", image) for i, image in zip(ids, images, strict=True)]
    name = f"{len(images)} pictures in memory, {digest.hexdigest()[:12]}"
    read = partial(_blocks, partial(iter, samples), encoder, config)
    job = Job(name, config_hash(digest.hexdigest(), list(ids)), len(images), read)
    return Source(name, "embeddings", space, (job,))


def _blocks(
    samples: Callable[[], Iterable[PictureSample | str]], encoder: Encoder, config: SourceConfig
) -> Iterator[Block]:
    """Embed pictures a batch at a time; those that did not open stop it or are counted."""
    held: list[PictureSample] = []
    lost = 0
    for sample in samples():
        if isinstance(sample, PictureSample):
            held.append(sample)
        elif config.bad == "refuse":
            raise DataError(f"{sample}; repair or remove it, or give --bad skip")
        else:
            lost += 1
        if len(held) == config.batch_size:
            yield _block(held, encoder, lost)
            held, lost = [], 0
    if held or lost:
        yield _block(held, encoder, lost)


def _block(held: list[PictureSample], encoder: Encoder, lost: int) -> Block:
    vectors = np.zeros((0, encoder.tokens * encoder.width), dtype=np.float32)
    if held:
        vectors = embedded([sample.picture for sample in held], encoder)
    return Block(vectors, pd.DataFrame([sample[:4] for sample in held], columns=COLUMNS), lost)
