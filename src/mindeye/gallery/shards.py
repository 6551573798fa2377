"""Pictures, captions and addresses in shards of img2dataset or any webdataset."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindeye.data.images import read_picture
from mindeye.errors import DataError, MissingDependencyError

PICTURES = ("jpg", "jpeg", "png", "webp")
"""Members that are a sample's picture, the first that is there; img2dataset writes one of them."""

FORMATS = ("JPEG", "PNG", "WEBP")

END_MARK = 1024
"""Zero bytes at the end of every tar file."""


class PictureSample(NamedTuple):
    """A sample that can be embedded.

    Attributes
    ----------
    key
        Key of the sample, unique in its shard.
    caption, url
        Texts, empty where there are none.
    picture
        Pixels (H, W, 3), 0..255.
    """

    key: str
    caption: str
    url: str
    picture: NDArray[np.uint8]


def read_shard(shard: Path) -> Iterator[PictureSample | str]:
    """Yield every sample of a shard, or, of one that cannot be used, why.

    Among millions of pictures out of the web some never open; they cost themselves and not their
    shard.

    Raises
    ------
    DataError
        If the shard is missing, no tar file, or cut off.
    MissingDependencyError
        If webdataset is not installed.
    """
    try:
        from webdataset.tariterators import group_by_keys, tar_file_expander
    except ImportError as error:
        raise MissingDependencyError("webdataset", "shards") from error
    refuse_cut(shard)
    try:
        with shard.open("rb") as stream:
            source = [{"url": str(shard), "stream": stream}]
            for sample in group_by_keys(tar_file_expander(source)):
                yield _sample(sample, shard)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise DataError(f"{shard} is cut off or not a plain tar file ({error.args[0]})") from error


def refuse_cut(shard: Path) -> None:
    """Refuse a shard that lacks the end of a tar file; one cut between two members reads whole.

    Raises
    ------
    DataError
        If it is missing or cut off; names it.
    """
    try:
        with shard.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - END_MARK))
            is_whole = file.read() == bytes(END_MARK)
    except OSError as error:
        raise DataError(f"{shard} cannot be read: {error}") from error
    if not is_whole:
        raise DataError(f"{shard} is cut off: it lacks the end of a tar file; fetch it again")


class PictureFinder:
    """Reads pictures at will, by file or by shard and key; keeps the last shard open.

    Looking into a shard takes longer than reading from it, so that pictures are best asked for
    shard after shard.
    """

    def __init__(self) -> None:
        self._shard: Path | None = None
        self._archive: tarfile.TarFile | None = None
        self._members: dict[str, tarfile.TarInfo] = {}

    def find(self, shard: Path, key: str) -> NDArray[np.uint8] | None:
        """Return the picture (H, W, 3) of a sample, None where there is none that opens."""
        try:
            if shard != self._shard:
                self._open(shard)
            name = next((f"{key}.{p}" for p in PICTURES if f"{key}.{p}" in self._members), "")
            if not name or self._archive is None:
                return None
            file = self._archive.extractfile(self._members[name])
            return None if file is None else decoded_picture(file.read())
        except (tarfile.TarError, EOFError, OSError, ValueError, DataError):
            return None

    def _open(self, shard: Path) -> None:
        if self._archive is not None:
            self._archive.close()
        self._shard, self._members = shard, {}
        self._archive = tarfile.open(shard)  # noqa: SIM115
        for info in self._archive:
            stem, _, suffix = info.name.rpartition(".")
            if info.isreg():  # suffixes in any case of letters, as webdataset reads them
                self._members[f"{stem}.{suffix.lower()}"] = info


def decoded_picture(content: bytes) -> NDArray[np.uint8]:
    """Return the picture (H, W, 3) in the bytes of a file; raises DataError if it does not open."""
    return read_picture(io.BytesIO(content), name="the picture", formats=FORMATS)


def _sample(sample: Mapping[str, Any], shard: Path) -> PictureSample | str:
    """Return a sample with its texts: caption out of .txt before .json, address out of .json."""
    key = str(sample["__key__"])
    name = next((name for name in PICTURES if name in sample), "")
    if not name:
        there = ", ".join(sorted(n for n in sample if not n.startswith("__")))
        return f"sample {key} of {shard} has no picture; it has {there}"
    try:
        told = json.loads(sample.get("json", b"{}"))
        caption = str(told.get("caption") or "")
        if "txt" in sample:
            caption = sample["txt"].decode("utf-8", errors="replace").strip()
        picture = decoded_picture(sample[name])
        return PictureSample(key, caption, str(told.get("url") or ""), picture)
    except (DataError, ValueError, RecursionError, AttributeError) as error:
        return f"sample {key} of {shard}: {name} or json cannot be read: {error}"
