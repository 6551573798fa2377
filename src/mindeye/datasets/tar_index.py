"""Where every sample's members lie in webdataset shards, so that any of them is read at will.

A shard is a plain tar file; members whose names agree up to the first dot are one sample, what
follows the dot is the member's key (webdataset's format description). The library streams shards
from the first byte to the last, which suits training. A preparation wants something else: first
the few bytes of every sample that say what it is, later the betas of one session, later the
pictures. One pass over the tar headers tells where each member begins.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.files import NPY_ERRORS


@dataclass(frozen=True)
class Sample:
    """One sample of a shard.

    Parameters
    ----------
    shard
        The tar file.
    key
        Name of the sample, which its members share.
    members
        First byte and number of bytes of every member by its name ("jpg", "coco73k.npy" ...).
    """

    shard: Path
    key: str
    members: Mapping[str, tuple[int, int]]

    def __str__(self) -> str:
        return f"sample {self.key} of {self.shard}"

    def read(self, name: str) -> bytes:
        """Return a member's bytes.

        Raises
        ------
        DataError
            If it is missing, or the shard cannot be read or ends before it does.
        """
        if name not in self.members:
            raise DataError(f"{self} has no member {name!r}; it has {sorted(self.members)}")
        start, size = self.members[name]
        try:
            with self.shard.open("rb") as file:
                file.seek(start)
                content = file.read(size)
        except OSError as error:
            raise DataError(f"{self.shard} cannot be read: {error}") from error
        if len(content) != size:
            raise DataError(f"{self}: {name} is cut off; fetch the shard again")
        return content

    def array(self, name: str) -> NDArray[Any]:
        """Return a member that is an .npy file; raises DataError if it is none."""
        content = io.BytesIO(self.read(name))
        try:
            np.lib.format.read_magic(content)
            content.seek(0)
            return np.asarray(np.load(content, allow_pickle=False))
        except NPY_ERRORS as error:
            raise DataError(f"{self}: {name} is not a plain .npy array: {error}") from error

    def number(self, name: str) -> int:
        """Return a member that holds one whole number; raises DataError if it does not."""
        array = self.array(name)
        if array.size != 1 or array.dtype.kind not in "iuf" or not float(array.item()).is_integer():
            raise DataError(f"{self}: {name} holds {array.tolist()}, not one whole number")
        return int(array.item())


def index_shard(path: Path) -> list[Sample]:
    """Return a shard's samples in the order of the file.

    Raises
    ------
    DataError
        If the file is missing, no plain tar, cut off, holds the same member twice, or a name that
        is not of the form key.member.
    """
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    end = 0
    try:
        # "r:" refuses compressed files: their members have no place of their own in the file.
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                end = info.offset_data + info.size
                if info.isreg():
                    _add(samples, info, path)
        size = path.stat().st_size
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise DataError(
            f"{path} is missing, cut off or not a plain tar file ({error}); fetch it again"
        ) from error
    if not samples:
        raise DataError(f"{path} holds no samples")
    # A file cut exactly between two members reads like a whole one, but for the end mark: two
    # blocks of zeros behind the last member, which is padded to a block.
    if size < (-(-end // tarfile.BLOCKSIZE) + 2) * tarfile.BLOCKSIZE:
        raise DataError(f"{path} is cut off: it lacks the end of a tar file; fetch it again")
    return [Sample(path, key, members) for key, members in samples.items()]


def _add(samples: dict[str, dict[str, tuple[int, int]]], info: tarfile.TarInfo, path: Path) -> None:
    folder, _, name = info.name.rpartition("/")
    key, _, member = name.partition(".")
    if not key or not member or info.sparse is not None:
        raise DataError(f"{path} holds {info.name!r}, which is no member of a sample")
    known = samples.setdefault(f"{folder}/{key}" if folder else key, {})
    if member in known:
        raise DataError(f"{path} holds {info.name!r} twice")
    known[member] = (info.offset_data, info.size)


def find_shards(folder: Path, stem: str) -> list[Path]:
    """Return the shards ``{stem}0.tar``, ``{stem}1.tar`` ... of a folder, in their order.

    Raises
    ------
    DataError
        If a number is left out.
    """
    pattern = re.compile(re.escape(stem) + r"(\d{1,6})\.tar")
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    numbers = sorted(int(m[1]) for n in names if (m := pattern.fullmatch(n)) is not None)
    for expected, number in enumerate(numbers):
        if number != expected:
            raise DataError(
                f"{folder}/{stem}{expected}.tar is missing, there are shards up to "
                f"{numbers[-1]}; fetch it, or the trials of that shard would be left out"
            )
    return [folder / f"{stem}{number}.tar" for number in numbers]
