"""The gallery of `scene_gallery.py`: new scenes and a demo's test pictures, drawn and embedded.

Pictures are embedded once, all tokens together. The pooled gallery takes the class tokens of that
pass, which are what the encoder gives alone, up to the rounding to float16.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mindeye.data.scenes import caption, draw_scene, make_scene
from mindeye.data.subject import Subject
from mindeye.errors import DataError
from mindeye.files import atomic_path, read_json, write_array, write_json
from mindeye.gallery.config import SourceConfig
from mindeye.gallery.gallery import Gallery
from mindeye.gallery.store import COLUMNS, write_table
from mindeye.progress import track

SCENE_SEED_OFFSET = 2_000_000_000
"""Keeps these scenes apart from those of the zoo's training and of simulated subjects."""

SHARD = 10_000
Told = tuple[str, str, NDArray[np.uint8]]
"""Key, caption, picture."""


def write_shards(folder: Path, subject: Subject, scenes: int, seed: int) -> dict[str, int]:
    """Write test pictures and new scenes as webdataset shards; finished ones are kept.

    A new scene whose pixels are those of a test picture would be a second right answer, and is
    left out.

    Returns
    -------
    dict
        How many pictures there are, and how many scenes were left out as duplicates of a test
        picture.

    Raises
    ------
    DataError
        If the folder holds other scenes.
    """
    plan = {"subject": subject.fingerprint, "scenes": scenes, "seed": seed, "shard": SHARD}
    done = folder.parent / "scenes.json"
    known = read_json(done) if done.is_file() else {"plan": plan}
    if known["plan"] != plan:
        raise DataError(f"{folder} holds other scenes; give another --out")
    ids = subject.splits["test"]
    pictures = subject.pictures_of(ids)
    _write(folder / "00000.tar", [(i, "", p) for i, p in zip(ids, pictures, strict=True)])
    seen = {hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures}
    left_out = dict(known.get("left_out", {}))
    for number, first in enumerate(track(range(0, scenes, SHARD), "scenes"), start=1):
        path = folder / f"{number:05d}.tar"
        if path.is_file() and path.name in left_out:
            continue
        told = list(_new(range(first, min(first + SHARD, scenes)), seed, pictures.shape[1]))
        fresh = [t for t in told if hashlib.sha256(t[2].tobytes()).hexdigest() not in seen]
        _write(path, fresh)
        left_out[path.name] = len(told) - len(fresh)
        write_json(done, {"plan": plan, "left_out": left_out})
    lost = sum(left_out.values())
    return {"pictures": len(ids) + scenes - lost, "duplicates_of_test_pictures": lost}


def _new(indices: range, seed: int, size: int) -> Iterator[Told]:
    for index in indices:
        scene = make_scene(index, SCENE_SEED_OFFSET + seed)
        yield f"new{index:07d}", caption(scene), draw_scene(scene, size)


def _write(path: Path, told: list[Told]) -> None:
    with atomic_path(path) as temporary, tarfile.open(temporary, "w") as archive:
        for key, text, picture in told:
            png = io.BytesIO()
            Image.fromarray(picture).save(png, "PNG", compress_level=1)
            told_of = json.dumps({"key": key, "caption": text}).encode()
            for suffix, content in (("png", png.getvalue()), ("json", told_of)):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def token_gallery(out: Path, shards: Path, encoder: str) -> Gallery:
    """Embed all shards, all tokens of a picture as one long vector."""
    reading = SourceConfig(encoder=encoder, encoder_tokens="all")
    return Gallery.build(shards, out, reading=reading)


def pooled_gallery(out: Path, tokens: Gallery, encoder: str, width: int) -> Gallery:
    """Build the gallery of the class tokens (G, D) that lie in a gallery of all tokens."""
    source = out.parent / "class_tokens"
    rows = np.arange(len(tokens), dtype=np.int64)
    if not (source / "pooled.npy").is_file():
        first = [chunk[:, :width] for _, chunk in tokens.vectors.chunks(16_384)]
        write_table(source / "pooled.parquet", tokens.table(rows)[COLUMNS])
        joined = np.concatenate(first)
        write_array(source / "pooled.npy", joined / np.linalg.norm(joined, axis=1, keepdims=True))
    reading = SourceConfig(encoder=encoder, encoder_tokens="pooled")
    return Gallery.build(source, out, reading=reading)
