"""Download a file over HTTP: continued where it was cut, verified, then moved to its place.

While it grows, `NAME.part` lies beside the target with `NAME.part.etag`, the server's mark of the
content it belongs to. Only a part under the same mark is continued, so that no file is ever pieced
together from two versions. The target itself changes by one rename of the verified whole.

Python's own HTTP client is used for public buckets of S3 too, which answer ordinary requests:
`download_file` of boto3 starts a cut file of 39.6 GB anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from mindeye import __version__
from mindeye.errors import CheckpointError, DataError, MindEyeError
from mindeye.files import naming_full_disk, sha256, write_text
from mindeye.progress import bytes_bar
from mindeye.weights.checks import check_space

BLOCK = 1 << 16
"""Bytes read at once; also what a cut connection may lose at most."""

PROGRESS = 1 << 20
"""Bytes; a try that brought this much does not count as one that brought nothing."""

LONGEST_PAUSE = 60.0
"""Seconds; pauses between tries double up to this."""


BROKEN = (http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError, ValueError)
"""What Python's client raises when a connection breaks off; a full disk is another OSError."""


class TransferError(MindEyeError):
    """A connection that failed or broke off; the same command goes on later."""


class ChangedError(TransferError):
    """A file on the server is no longer the one that was announced."""


class AbsentError(DataError):
    """A file that the server does not have."""


class RefusedError(DataError):
    """A file that the server does not give out."""


@dataclass(frozen=True)
class RemoteFile:
    """A file as its server announces it.

    Parameters
    ----------
    url
        Address of the file.
    size
        Length of the file in bytes.
    etag
        Mark that the server gives this content, in quotes; empty where it gives none. S3 uses the
        MD5 of files uploaded in one piece (Amazon S3 API reference, type Object).
    sha256
        First digits of the SHA-256 that is published for the file, empty where there is none.
    """

    url: str
    size: int
    etag: str
    sha256: str = ""

    @property
    def mark(self) -> str:
        """Text that tells this content from any other of the same name."""
        return f"{self.size} {self.etag}\n"


class _SameServer(urllib.request.HTTPRedirectHandler):
    """Follows redirects only where they stay on the server that the user named."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, *rest: Any) -> Any:
        headers, address = rest
        here, there = urlsplit(req.full_url), urlsplit(urljoin(req.full_url, address))
        if (here.scheme, here.netloc) != (there.scheme, there.netloc):
            fp.close()
            raise RefusedError(
                f"{req.full_url} redirects to another server, {there.scheme}://{there.netloc}, "
                "which is not followed; if you trust it, name it as the mirror"
            )
        return super().redirect_request(req, fp, code, msg, headers, address)


@contextlib.contextmanager
def opened(
    url: str, *, timeout: float, method: str = "GET", headers: Mapping[str, str] | None = None
) -> Iterator[Any]:
    """Open an address, http or https, and turn what fails inside the block into named errors.

    Raises
    ------
    AbsentError, RefusedError, ChangedError, TransferError, DataError
        If the server has no such file, does not give it out, has another one now, cannot be
        reached or breaks off, or answers anything else.
    """
    agent = {"User-Agent": f"mindeye/{__version__}", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers={**agent, **(headers or {})}, method=method)
    try:
        with urllib.request.build_opener(_SameServer).open(request, timeout=timeout) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        error.close()
        raise _refusal(url, error.code) from error
    except urllib.error.URLError as error:
        raise TransferError(
            f"no connection for {url}: {error.reason}; is there a network?"
        ) from error
    except BROKEN as error:
        raise TransferError(f"{url}: the transfer broke off ({error})") from error


def _refusal(url: str, status: int) -> MindEyeError:
    """Return the error for a server's answer that is not the file."""
    if status in (404, 410):
        return AbsentError(f"{url} is not on its server ({status})")
    if status in (401, 403):
        return RefusedError(f"{url} is not given out by its server ({status})")
    if status in (412, 416):
        return ChangedError(f"{url} was changed on its server since it was announced")
    if status >= 500 or status in (408, 429):
        return TransferError(f"{url}: the server cannot answer now ({status})")
    return DataError(f"{url}: the server answers {status}")


def announced(url: str, *, timeout: float, digest: str = "") -> RemoteFile:
    """Ask a server for size and mark of a file; see `opened` for the errors."""
    with opened(url, timeout=timeout, method="HEAD") as answer:
        length, etag = answer.headers.get("Content-Length", ""), answer.headers.get("ETag", "")
    if not re.fullmatch(r"[0-9]+", length):
        raise TransferError(f"{url}: the server does not say how large the file is")
    return RemoteFile(url, int(length), etag, digest)


class Downloader:
    """Downloads files one after another: one connection fills an ordinary line.

    Parameters
    ----------
    attempts
        Number of tries in a row without progress, and of restarts from the first byte, after which
        a file is given up.
    bar
        Progress bar (`mindeye.progress.bytes_bar`) that stands at what is kept of all files.
    timeout
        Seconds without a byte after which a connection counts as cut.
    wait
        Function that sleeps for the given number of seconds between tries.
    """

    def __init__(
        self,
        *,
        attempts: int,
        bar: Any,
        timeout: float,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.attempts = attempts
        self.bar = bar
        self.timeout = timeout
        self.wait = wait
        self.transferred = 0

    def fetch(self, file: RemoteFile, target: Path) -> None:
        """Download a file, verify it and move it to its place.

        Raises
        ------
        TransferError
            If connections keep breaking off or the content keeps failing its check; what came is
            kept, and the same call goes on from there.
        CheckpointError
            If the whole file has another SHA-256 than the published one; it is deleted.
        MindEyeError
            If the disk is full.
        DataError
            If the file is gone or cannot be written.
        """
        part = part_of(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with naming_full_disk(part, "it goes on from there"):
                self._persist(file, target)
        except OSError as error:
            raise DataError(f"cannot write {part}: {error.strerror or error}") from error

    def _persist(self, file: RemoteFile, target: Path) -> None:
        first = self.bar.n - kept_bytes(file, target)
        idle = restarts = 0
        while True:
            before = kept_bytes(file, target)
            try:
                self._try(file, target, first)
                return
            except TransferError as error:
                kept = kept_bytes(file, target)
                idle = 0 if kept - before >= PROGRESS else idle + 1
                restarts += isinstance(error, ChangedError)
                tries = max(idle, restarts)
                if tries >= self.attempts:
                    raise TransferError(
                        f"{error}; given up after {tries} tries, {kept} of {file.size} bytes are "
                        f"kept in {part_of(target)}: the same command goes on from there"
                    ) from error
                if isinstance(error, ChangedError):
                    with contextlib.suppress(TransferError):
                        file = announced(file.url, timeout=self.timeout, digest=file.sha256)
            self.wait(min(LONGEST_PAUSE, 2.0 ** (tries - 1)))

    def _try(self, file: RemoteFile, target: Path, first: int) -> None:
        """Continue the part until it is whole, then verify and move it; the bar is at `first`."""
        part = part_of(target)
        kept = kept_bytes(file, target)
        if not kept:
            # First without the old bytes, then under the new mark: never old bytes under it.
            part.unlink(missing_ok=True)
            write_text(_mark_of(target), file.mark)
            part.touch()
        if kept < file.size:
            self._append(file, part, kept, first)
        _verify(file, part)
        os.replace(part, target)
        _mark_of(target).unlink(missing_ok=True)

    def _append(self, file: RemoteFile, part: Path, start: int, first: int) -> None:
        """Write the bytes from `start` on, or all where the server ignores that."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        headers |= {"If-Match": file.etag} if file.etag else {}
        with opened(file.url, timeout=self.timeout, headers=headers) as answer:
            end, total = _extent(answer)
            # A server may ignore If-Match, so that mark and size are compared here as well.
            if answer.headers.get("ETag", file.etag) != file.etag:
                raise ChangedError(f"{file.url} was changed on its server since it was announced")
            if total not in (None, file.size):
                raise ChangedError(
                    f"{file.url}: the server sends {total} bytes but announced {file.size}"
                )
            if end not in (0, start):
                raise TransferError(f"{file.url}: bytes from {start} asked, from {end} sent")
            self.bar.n = first + end
            with part.open("r+b") as handle:
                handle.truncate(end)
                handle.seek(end)
                while block := answer.read(BLOCK):
                    end += len(block)
                    if end > file.size:
                        raise ChangedError(f"{file.url}: more than {file.size} bytes came")
                    handle.write(block)
                    handle.flush()  # A kill loses nothing that came.
                    self.transferred += len(block)
                    self.bar.update(len(block))
                os.fsync(handle.fileno())
        if end < file.size:
            raise TransferError(f"{file.url}: {end} of the {file.size} bytes announced came")


def _verify(file: RemoteFile, part: Path) -> None:
    """Check size, MD5 where the server's mark is one, and SHA-256; delete what fails."""
    known = re.fullmatch(r'"?([0-9a-fA-F]{32})"?', file.etag)
    if part.stat().st_size != file.size or (known and _md5(part) != known[1].lower()):
        part.unlink()
        raise ChangedError(f"{file.url}: the bytes that came fail the check by size and MD5")
    if file.sha256 and not (found := sha256(part)).startswith(file.sha256):
        part.unlink()
        part.with_name(f"{part.name}.etag").unlink(missing_ok=True)
        raise CheckpointError(
            f"{file.url} came whole but is not the published file, it was deleted: its SHA-256 "
            f"begins with {found[: len(file.sha256)]}, not {file.sha256}"
        )


def _extent(answer: Any) -> tuple[int, int | None]:
    """Return offset of the first byte and size of the whole file, None where nobody says."""
    match = re.fullmatch(r"bytes ([0-9]+)-[0-9]+/([0-9]+)", answer.headers.get("Content-Range", ""))
    if match:
        return int(match[1]), int(match[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"[0-9]+", length) else None


def part_of(target: Path) -> Path:
    """Return where a file lies while it grows."""
    return target.with_name(target.name + ".part")


def _mark_of(target: Path) -> Path:
    """Return the file that says which content the part belongs to."""
    return target.with_name(target.name + ".part.etag")


def kept_bytes(file: RemoteFile, target: Path) -> int:
    """Return how many bytes of exactly this content lie in the part; 0 if it is another's."""
    part, mark = part_of(target), _mark_of(target)
    if not (part.is_file() and mark.is_file()) or mark.read_bytes() != file.mark.encode():
        return 0
    size = part.stat().st_size
    return size if size <= file.size else 0


def _md5(path: Path) -> str:
    """Return a file's MD5, a check against accidents and not against forgery."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def download_all(
    files: Mapping[Path, RemoteFile],
    *,
    attempts: int,
    timeout: float,
    wait: Callable[[float], None],
    advice: str,
) -> int:
    """Download files one after another under a progress bar, once it is clear that they fit.

    Parameters
    ----------
    files
        Files as their servers announced them, by the place they go to.
    attempts, timeout, wait
        How a connection that breaks off is taken up again, see `Downloader`.
    advice
        What the user can do where they do not fit on the disk, for the message.

    Returns
    -------
    int
        Number of bytes that came over the network.
    """
    kept = {target: kept_bytes(file, target) for target, file in files.items()}
    check_space({target: file.size - kept[target] for target, file in files.items()}, advice)
    total = sum(file.size for file in files.values())
    with bytes_bar("fetch", total=total, done=sum(kept.values())) as bar:
        downloader = Downloader(attempts=attempts, bar=bar, timeout=timeout, wait=wait)
        for target, file in files.items():
            downloader.fetch(file, target)
    return downloader.transferred
