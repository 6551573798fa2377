"""Embeddings, pictures and shards as others publish them, small."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from mindeye.gallery.config import IndexConfig, SourceConfig
from mindeye.gallery.gallery import Gallery


def built(source, folder, index="", **reading):
    """Build a gallery; `reading` are fields of SourceConfig."""
    return Gallery.build(source, folder, index=index, reading=SourceConfig(**reading))


def made(folder, vectors, *, part=0, backend="exact", **options):
    """Build FOLDER/g of FOLDER/e.npy; `options` are fields of IndexConfig."""
    np.save(folder / "e.npy", vectors)
    return built(folder / "e.npy", folder / "g", IndexConfig(backend, **options), part=part)


def clustered(count, width=32, *, seed=0, clusters=20, spread=0.5):
    """Unit vectors (count, width) in clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, width))
    vectors = centres[rng.integers(clusters, size=count)]
    vectors = vectors + spread * rng.standard_normal((count, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def write_clip_retrieval(folder: Path, files, *, dtype=np.float16, keys=None):
    """Write arrays as clip-retrieval's inference does; keys are img2dataset's."""
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    for number, vectors in enumerate(files):
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", vectors.astype(dtype))
        own = [f"{number:05d}{i:04d}" for i in range(len(vectors))]
        own = own if keys is None else keys[number]
        table = {
            "image_path": own,
            "caption": [f"caption {k}" for k in own],
            "NSFW": ["UNLIKELY"] * len(own),
            "url": [f"http://example.org/{k}.jpg" for k in own],
            "key": own,
            "width": [256] * len(own),
        }
        pd.DataFrame(table).to_parquet(folder / "metadata" / f"metadata_{number}.parquet")
    return folder


def picture(number, size=(48, 64)):
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 255, (4, 4, 3))
    return np.kron(coarse, np.ones((size[0] // 4, size[1] // 4, 1))).astype(np.uint8)


def png(number):
    content = io.BytesIO()
    Image.fromarray(picture(number)).save(content, "PNG")
    return content.getvalue()


def write_pictures(folder: Path, count):
    (folder / "sub").mkdir(parents=True)
    for i in range(count):
        place = folder / ("sub" if i % 2 else ".") / f"{i:03d}.png"
        place.write_bytes(png(i))
        place.with_suffix(".txt").write_text(f"a scene {i}\n")
    return folder


def write_shard(path: Path, numbers):
    """Write a shard as img2dataset does: key.png, key.txt, key.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for n in numbers:
            told = {"caption": f"scene {n}", "url": f"http://example.org/{n}", "key": f"{n:09d}"}
            members = {
                "png": png(n),
                "txt": f"scene {n}".encode(),
                "json": json.dumps(told).encode(),
            }
            for name, content in members.items():
                info = tarfile.TarInfo(f"{n:09d}.{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path
