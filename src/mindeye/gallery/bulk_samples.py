"""Pictures, captions and addresses out of one shard of img2dataset or any webdataset."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mindeye.datasets.tar_index import Sample
from mindeye.errors import DataError

PICTURES = ("jpg", "jpeg", "png", "webp")
"""Members that are a sample's picture, the first that is there; img2dataset writes one of them."""

FORMATS = ("JPEG", "PNG", "WEBP")


class PictureSample(NamedTuple):
    """A sample that can be embedded: its key, caption and address ("" without), its picture."""

    key: str
    caption: str
    url: str
    picture: NDArray[np.uint8]


def read_samples(samples: list[Sample]) -> Iterator[PictureSample | str]:
    """Yield every sample of a shard, or, of one that cannot be used, why.

    Among millions of pictures out of the web some never open; they cost themselves and not their
    shard. A shard that is cut off is another matter and was refused when it was indexed.
    """
    for sample in samples:
        try:
            caption, url = _words(sample)
            yield PictureSample(sample.key, caption, url, _picture(sample))
        except DataError as error:
            yield str(error)


def _picture(sample: Sample) -> NDArray[np.uint8]:
    """Return a sample's picture (H, W, 3), 0..255."""
    name = next((name for name in PICTURES if name in sample.members), "")
    if not name:
        raise DataError(
            f"{sample} has no picture; it has {', '.join(sorted(sample.members))}, none of "
            f"{', '.join(PICTURES)}"
        )
    try:
        with Image.open(io.BytesIO(sample.read(name)), formats=FORMATS) as picture:
            return np.asarray(picture.convert("RGB"), dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{sample}: {name} is not a readable picture ({error})") from error


def _words(sample: Sample) -> tuple[str, str]:
    """Return caption and address: .txt before .json for the one, .json for the other."""
    told = _told(sample)
    caption = str(told.get("caption") or "")
    if "txt" in sample.members:
        caption = sample.read("txt").decode("utf-8", errors="replace").strip()
    return caption, str(told.get("url") or "")


def _told(sample: Sample) -> dict[str, Any]:
    """Return what a sample's .json says, nothing without one."""
    if "json" not in sample.members:
        return {}
    try:
        content = json.loads(sample.read("json"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{sample}: json is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{sample}: json holds a {type(content).__name__}, not fields")
    return content
