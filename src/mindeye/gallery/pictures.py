"""Pictures of a gallery: read from files and shards, found again by their place, and drawn."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torchvision.utils import make_grid

from mindeye.data.images import read_picture
from mindeye.datasets.picture_folder import is_inside
from mindeye.errors import DataError, MissingDependencyError
from mindeye.files import atomic_path

PICTURES = ("jpg", "jpeg", "png", "webp")
"""Members that are a sample's picture, the first that is there; img2dataset writes one of them."""

FORMATS = ("JPEG", "PNG", "WEBP")

END_MARK = 1024
"""Zero bytes at the end of every tar file."""

SIDE = 128
GAP = 4
FRAME = 4
PICKED = (20, 140, 60)
ABSENT = 230

Picture = NDArray[np.uint8]


class PictureSample(NamedTuple):
    """A picture that opened, with its texts.

    Attributes
    ----------
    id, caption, url
        Texts, empty where there are none; the id of a shard's sample is its key.
    where
        Path of the picture below its source, or SHARD.tar/KEY.
    picture
        Pixels (H, W, 3), 0..255.
    """

    id: str
    caption: str
    url: str
    where: str
    picture: Picture


def read_files(files: Sequence[Path], folder: Path) -> Iterator[PictureSample | str]:
    """Yield pictures of a folder, or why one does not open; a .txt beside one is its caption."""
    for path in files:
        name, beside = path.relative_to(folder).as_posix(), path.with_suffix(".txt")
        try:
            caption = ""
            if beside.is_file():
                caption = beside.read_text(encoding="utf-8", errors="replace").strip()
            yield PictureSample(name, caption, "", name, read_picture(path))
        except DataError as error:
            yield str(error)


def read_shard(shard: Path) -> Iterator[PictureSample | str]:
    """Yield every sample of a shard, or, of one that cannot be used, why.

    Among millions of pictures out of the web some never open; they cost themselves and not their
    shard. Raises DataError if the shard is missing, no tar file, or cut off.
    """
    try:
        from webdataset.tariterators import group_by_keys, tar_file_expander
    except ImportError as error:
        raise MissingDependencyError("webdataset", "shards") from error
    try:
        with shard.open("rb") as stream:
            # A shard that was cut between two members would read as a whole one.
            size = stream.seek(0, io.SEEK_END)
            stream.seek(max(0, size - END_MARK))
            if stream.read() != bytes(END_MARK):
                raise DataError(
                    f"{shard} is cut off: it lacks the end of a tar file; fetch it again"
                )
            stream.seek(0)
            source = [{"url": str(shard), "stream": stream}]
            for sample in group_by_keys(tar_file_expander(source)):
                yield _sample(sample, shard)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise DataError(f"{shard} is cut off or not a plain tar file ({error.args[0]})") from error


def _sample(sample: Mapping[str, Any], shard: Path) -> PictureSample | str:
    """Return a sample with its texts: caption out of .txt before .json, address out of .json."""
    key = str(sample["__key__"])
    name = next((name for name in PICTURES if name in sample), "")
    if not name:
        there = ", ".join(sorted(n for n in sample if not n.startswith("__")))
        return f"sample {key} of {shard} has no picture; it has {there}"
    try:
        texts = json.loads(sample.get("json", b"{}"))
        caption = str(texts.get("caption") or "")
        if "txt" in sample:
            caption = sample["txt"].decode("utf-8", errors="replace").strip()
        picture, url = _decoded(sample[name]), str(texts.get("url") or "")
        return PictureSample(key, caption, url, f"{shard.name}/{key}", picture)
    except (DataError, ValueError, RecursionError, AttributeError) as error:
        return f"sample {key} of {shard}: {name} or json cannot be read: {error}"


def _decoded(content: bytes) -> Picture:
    return read_picture(io.BytesIO(content), name="the picture", formats=FORMATS)


class PictureFinder:
    """Reads pictures by their place below a folder; keeps the last shard open.

    Looking into a shard takes longer than reading from it, so that pictures are best asked for
    shard after shard.
    """

    def __init__(self) -> None:
        self._shard: Path | None = None
        self._archive: tarfile.TarFile | None = None
        self._members: dict[str, tarfile.TarInfo] = {}

    def find(self, root: Path, where: str) -> Picture | None:
        """Return the picture (H, W, 3) of a path, or of SHARD.tar/KEY, below the folder `root`.

        None where it is absent or does not open; a name that leads out is not followed.
        """
        name, _, key = where.partition("/")
        try:
            if not is_inside(where):
                return None
            if (root / where).is_file():
                return read_picture(root / where)
            if name.endswith(".tar") and (root / name).is_file():
                return self._in_shard(root / name, key)
        except (tarfile.TarError, EOFError, OSError, ValueError, DataError):
            pass
        return None

    def _in_shard(self, shard: Path, key: str) -> Picture | None:
        if shard != self._shard or self._archive is None:
            if self._archive is not None:
                self._archive.close()
            self._shard, self._members = shard, {}
            self._archive = tarfile.open(shard)  # noqa: SIM115
            for info in self._archive:
                stem, _, suffix = info.name.rpartition(".")
                if info.isreg():  # suffixes in any case of letters, as webdataset reads them
                    self._members[f"{stem}.{suffix.lower()}"] = info
        name = next((f"{key}.{p}" for p in PICTURES if f"{key}.{p}" in self._members), "")
        file = self._archive.extractfile(self._members[name]) if name else None
        return None if file is None else _decoded(file.read())


def fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    """Return a picture at a size (H, W), covering it with its middle; unchanged if it has it."""
    if picture.shape[:2] == size:
        return picture
    method = Image.Resampling.BICUBIC
    return np.asarray(ImageOps.fit(Image.fromarray(picture), (size[1], size[0]), method))


def write_sheet(
    path: Path, lines: Sequence[Sequence[Picture | None]], picks: Sequence[int] = ()
) -> None:
    """Write lines of pictures (H, W, 3), as many in each, as a PNG; grey where one is not at hand.

    `picks` has the number of the picture to frame in every line; by default none is.
    """
    tiles = []
    for number, line in enumerate(lines):
        pick = picks[number] if len(picks) else -1
        tiles += [_tile(picture, place == pick) for place, picture in enumerate(line)]
    batch = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2)
    grid = make_grid(batch, nrow=len(lines[0]), padding=GAP, pad_value=255)
    with atomic_path(path) as temporary:
        Image.fromarray(grid.permute(1, 2, 0).numpy()).save(temporary, "PNG")


def _tile(picture: Picture | None, is_pick: bool) -> Picture:
    tile = Image.new("RGB", (SIDE, SIDE), (ABSENT,) * 3)
    if picture is not None:
        small = ImageOps.contain(Image.fromarray(picture), (SIDE, SIDE))
        tile.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    if is_pick:
        side = SIDE - 2 * FRAME
        inner = tile.crop((FRAME, FRAME, FRAME + side, FRAME + side))
        tile = ImageOps.expand(inner, FRAME, PICKED)
    return np.asarray(tile)
