"""One file from a bucket to its place: continued where it was cut, verified, then moved there.

While it grows, `NAME.part` lies beside the target with `NAME.part.etag`, the mark of the content
it belongs to. Only a part under the same mark is continued, so that no file is ever pieced
together from two versions. The target itself changes by one rename of the verified whole.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mindeye.errors import DataError
from mindeye.fetching.bucket import Bucket, ChangedError, RemoteFile, TransferError
from mindeye.files import naming_full_disk, write_text

PROGRESS = 1 << 20
"""Bytes; a try that brought this much does not count as one that brought nothing."""

LONGEST_PAUSE = 60.0
"""Seconds; pauses between tries double up to this."""


class Transfer:
    """Downloads files one after another.

    Parameters
    ----------
    bucket
        Bucket that the files come from.
    attempts
        Tries in a row without progress, and restarts from the first byte, before giving up.
    bar
        Counts bytes by `update(n)`; n is negative where bytes turned out useless.
    wait
        Sleeps for so many seconds.
    """

    def __init__(
        self, bucket: Bucket, *, attempts: int, bar: Any, wait: Callable[[float], None]
    ) -> None:
        self.bucket = bucket
        self.attempts = attempts
        self.bar = bar
        self.wait = wait
        self.transferred = 0

    def fetch(self, file: RemoteFile, target: Path) -> None:
        """Download a file, verify it and move it to its place.

        Raises
        ------
        TransferError
            If connections keep breaking off or the content keeps failing its check; what came is
            kept, and the same call goes on from there.
        MindEyeError
            If the disk is full.
        DataError
            If the file is gone or cannot be written.
        """
        part = part_of(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with naming_full_disk(part, "it goes on from there"):
                self._fetch(file, target)
        except OSError as error:
            raise DataError(f"cannot write {part}: {error.strerror or error}") from error

    def _fetch(self, file: RemoteFile, target: Path) -> None:
        idle = restarts = 0
        while True:
            before = kept_bytes(file, target)
            try:
                self._try(file, target)
            except TransferError as error:
                kept = kept_bytes(file, target)
                if isinstance(error, ChangedError):
                    restarts += 1
                    file = self._announced_anew(file, kept)
                idle = 0 if kept - before >= PROGRESS else idle + 1
                if max(idle, restarts) >= self.attempts:
                    raise TransferError(
                        f"{error}; given up after {max(idle, restarts)} tries, {kept} of "
                        f"{file.size} bytes are kept in {part_of(target)}: the same command goes "
                        "on from there"
                    ) from error
                self.wait(min(LONGEST_PAUSE, 2.0 ** (max(idle, restarts) - 1)))
            else:
                return

    def _announced_anew(self, file: RemoteFile, kept: int) -> RemoteFile:
        """Ask for mark and size again; a part under another mark is worth nothing."""
        with suppress(TransferError):
            now = self.bucket.head(file.key)
            if now != file:
                self.bar.update(-kept)
            return now
        return file

    def _try(self, file: RemoteFile, target: Path) -> None:
        """Continue the part until it is whole, then verify and move it."""
        part = part_of(target)
        kept = kept_bytes(file, target)
        if not kept:
            # First without the old bytes, then under the new mark: never old bytes under it.
            part.unlink(missing_ok=True)
            write_text(mark_of(target), _mark(file))
            part.touch()
        if kept < file.size:
            self._append(file, part, kept)
        self._verify(file, part)
        os.replace(part, target)
        mark_of(target).unlink(missing_ok=True)

    def _append(self, file: RemoteFile, part: Path, start: int) -> None:
        """Write the bytes from `start` on to an unbuffered file, so that a kill loses none."""
        answer = self.bucket.read(file, start)
        if answer.begin not in (0, start):
            raise TransferError(f"{file.key}: bytes from {start} asked, from {answer.begin} sent")
        self.bar.update(answer.begin - start)
        end = answer.begin
        with part.open("r+b", buffering=0) as handle:
            if end < start:
                handle.truncate(end)
            handle.seek(end)
            for block in answer.blocks:
                if end + len(block) > file.size:
                    raise ChangedError(f"{file.key}: more than {file.size} announced bytes came")
                _write(handle, block)
                end += len(block)
                self.transferred += len(block)
                self.bar.update(len(block))
            os.fsync(handle.fileno())
        if end < file.size:
            raise TransferError(f"{file.key}: {end} of the {file.size} bytes announced came")

    def _verify(self, file: RemoteFile, part: Path) -> None:
        """Check size and, where the server's mark is one, MD5; drop what fails."""
        size = part.stat().st_size
        known = re.fullmatch(r'"?([0-9a-fA-F]{32})"?', file.etag)
        if size == file.size and (known is None or md5(part) == known[1].lower()):
            return
        part.unlink()
        self.bar.update(-size)
        raise ChangedError(f"{file.key}: the bytes that came fail the check by size and MD5")


def part_of(target: Path) -> Path:
    """Return where a file lies while it grows."""
    return target.with_name(target.name + ".part")


def mark_of(target: Path) -> Path:
    """Return the file that says which content the part belongs to."""
    return target.with_name(target.name + ".part.etag")


def kept_bytes(file: RemoteFile, target: Path) -> int:
    """Return how many bytes of exactly this content lie in the part; 0 if it is another's."""
    part, mark = part_of(target), mark_of(target)
    if not (part.is_file() and mark.is_file()):
        return 0
    if mark.read_bytes() != _mark(file).encode():
        return 0
    size = part.stat().st_size
    return size if size <= file.size else 0


def md5(path: Path) -> str:
    """Return a file's MD5, a check against accidents and not against forgery."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _mark(file: RemoteFile) -> str:
    return f"{file.size} {file.etag}\n"


def _write(handle: Any, block: bytes) -> None:
    """Write all of a block; an unbuffered file may take it in pieces."""
    view = memoryview(block)
    while view:
        view = view[handle.write(view) :]
