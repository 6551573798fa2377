"""Where every sample's members lie in webdataset shards, so that any of them is read at will.

A shard is a plain tar file; members whose names agree up to the first dot are one sample, what
follows the dot is the member's key (webdataset's format description). The library streams shards
from the first byte to the last, which suits training. A preparation wants something else: first
the few bytes of every sample that say what it is, later the betas of one session, later the
pictures. Tar headers tell where each member begins, so one pass over the headers is enough and
nothing has to be spooled or held in memory.
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

BLOCK = 512
"""Bytes of a tar block; members are padded to it and the file ends with two blocks of zeros."""


@dataclass(frozen=True)
class Member:
    """A member's bytes within its shard."""

    start: int
    size: int


@dataclass(frozen=True)
class Sample:
    """One sample of a shard: its key and its members by name ("jpg", "coco73k.npy" ...)."""

    shard: Path
    key: str
    members: Mapping[str, Member]

    def __str__(self) -> str:
        return f"sample {self.key} of {self.shard}"

    def member(self, name: str) -> Member:
        """Return a member; raises DataError if there is none of that name."""
        if name not in self.members:
            raise DataError(f"{self} has no member {name!r}; it has {sorted(self.members)}")
        return self.members[name]

    def read(self, name: str) -> bytes:
        """Return a member's bytes.

        Raises
        ------
        DataError
            If it is missing, or the shard cannot be read or ends before it does.
        """
        member = self.member(name)
        try:
            with self.shard.open("rb") as file:
                file.seek(member.start)
                content = file.read(member.size)
        except OSError as error:
            raise DataError(f"{self.shard} cannot be read: {error}") from error
        if len(content) != member.size:
            raise DataError(f"{self}: {name} is cut off; fetch the shard again")
        return content

    def array(self, name: str) -> NDArray[Any]:
        """Return a member that is an .npy file; raises DataError if it is none."""
        content = self.read(name)
        try:
            array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
        except NPY_ERRORS as error:
            raise DataError(f"{self}: {name} is not a plain .npy array: {error}") from error
        if not isinstance(array, np.ndarray):
            raise DataError(f"{self}: {name} is an archive of arrays, not one .npy array")
        return array

    def number(self, name: str) -> int:
        """Return a member that holds one whole number, of shape () or (1,)."""
        array = self.array(name)
        if array.size != 1 or array.dtype.kind not in "iuf":
            raise DataError(
                f"{self}: {name} has shape {array.shape} and type {array.dtype}; it must hold one "
                "whole number"
            )
        value = float(array.reshape(()))
        if not value.is_integer():
            raise DataError(f"{self}: {name} is {value}; it must be a whole number")
        return int(value)

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Return shape and type of an .npy member without reading its content."""
        member = self.member(name)
        try:
            with self.shard.open("rb") as file:
                file.seek(member.start)
                start = io.BytesIO(file.read(min(member.size, 2 * BLOCK)))
            version = np.lib.format.read_magic(start)
            read = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read = np.lib.format.read_array_header_2_0
            shape, _, dtype = read(start)
        except NPY_ERRORS as error:
            raise DataError(f"{self}: {name} is not a plain .npy array: {error}") from error
        content = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if content != member.size - start.tell():
            raise DataError(
                f"{self}: {name} should hold {shape} of type {dtype} and has "
                f"{member.size - start.tell()} bytes instead of {content}"
            )
        return shape, dtype


def index_shard(path: Path) -> list[Sample]:
    """Return a shard's samples in the order of the file.

    Raises
    ------
    DataError
        If the file is missing, no plain tar, cut off, holds the same member twice, or a name that
        is not of the form key.member.
    """
    samples: dict[str, dict[str, Member]] = {}
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
    # A file cut exactly between two members reads like a whole one, but for the end mark.
    if size < -(-end // BLOCK) * BLOCK + 2 * BLOCK:
        raise DataError(f"{path} is cut off: it lacks the end of a tar file; fetch it again")
    return [Sample(path, key, members) for key, members in samples.items()]


def _add(samples: dict[str, dict[str, Member]], info: tarfile.TarInfo, path: Path) -> None:
    folder, _, name = info.name.rpartition("/")
    key, dot, member = name.partition(".")
    if not key or not dot or not member or info.sparse is not None:
        raise DataError(f"{path} holds {info.name!r}, which is no member of a sample")
    known = samples.setdefault(f"{folder}/{key}" if folder else key, {})
    if member in known:
        raise DataError(f"{path} holds {info.name!r} twice")
    known[member] = Member(info.offset_data, info.size)


def find_shards(folder: Path, stem: str, *, required: bool = True) -> list[Path]:
    """Return the shards ``{stem}0.tar``, ``{stem}1.tar`` ... of a folder, in their order.

    Parameters
    ----------
    folder
        Where they are.
    stem
        Name up to the number; may be empty.
    required
        Whether to refuse a folder that has none.

    Raises
    ------
    DataError
        If there is none, or a number is left out.
    """
    pattern = re.compile(re.escape(stem) + r"(\d{1,6})\.tar")
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    numbers = sorted(int(m[1]) for n in names if (m := pattern.fullmatch(n)) is not None)
    if not numbers:
        if required:
            raise DataError(f"no shards at {folder}/{stem}0.tar, {stem}1.tar ...")
        return []
    for expected, number in enumerate(numbers):
        if number != expected:
            raise DataError(
                f"{folder}/{stem}{expected}.tar is missing, there are shards up to "
                f"{numbers[-1]}; fetch it, or the trials of that shard would be left out"
            )
    return [folder / f"{stem}{number}.tar" for number in numbers]
