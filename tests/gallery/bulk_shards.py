"""Shards as img2dataset leaves them, written by webdataset's own writer."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def a_picture(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    """Return smooth colours, so that JPEG changes little and every seed looks different."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(picture: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return file.getvalue()


def a_sample(number: int, **members: object) -> dict[str, object]:
    """Return a sample of picture `number`, of a shape of its own."""
    key = f"{number:09d}"
    sample: dict[str, object] = {
        "__key__": key,
        "png": encoded(a_picture(number, 30 + number % 7, 45 + number % 5)),
        "txt": f"caption {number}",
        "json": {"caption": f"caption {number}", "url": f"https://x.invalid/{number}.png"},
    }
    sample.update(members)
    return {name: value for name, value in sample.items() if value is not None}


def write_shard(path: Path, samples: list[dict[str, object]]) -> Path:
    import webdataset

    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path), encoder=True) as writer:
        for sample in samples:
            writer.write(sample)
    return path


def write_shards(folder: Path, shards: int, each: int) -> Path:
    """Write shards of `each` samples, numbered through."""
    for shard in range(shards):
        numbers = range(shard * each, (shard + 1) * each)
        write_shard(folder / f"{shard:05d}.tar", [a_sample(n) for n in numbers])
    return folder
