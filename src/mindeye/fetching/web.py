"""Files of an ordinary web server, in the shape in which `fetching.transfer` asks for them.

Python's own HTTP client: sizes by HEAD, bytes by GET from any offset, both under the mark (ETag)
that the server gave. Only http and https are spoken, whatever an address or a redirect says.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from mindeye import __version__
from mindeye.errors import DataError, MindEyeError, UsageError
from mindeye.fetching.bucket import (
    BLOCK,
    AbsentError,
    Answer,
    Bucket,
    ChangedError,
    RefusedError,
    RemoteFile,
    TransferError,
)


class WebFiles(Bucket):
    """Files by name, each at its own address.

    Parameters
    ----------
    addresses
        Name of a file -> where it is, beginning with http:// or https://.
    timeout
        Seconds without a byte after which a connection counts as cut.

    Raises
    ------
    UsageError
        If an address is of another kind.
    """

    def __init__(self, addresses: Mapping[str, str], timeout: int = 60) -> None:
        super().__init__(None)
        for address in addresses.values():
            if not address.startswith(("http://", "https://")):
                raise UsageError(f"{address!r} is no address of a server; write https://HOST")
        self._addresses = dict(addresses)
        self._timeout = timeout

    def head(self, key: str) -> RemoteFile:
        """Return size and mark of one file; errors as in `Bucket.head`."""
        with _named(key), self._open(key, {}, "HEAD") as answer:
            length = answer.headers.get("Content-Length", "")
            etag = answer.headers.get("ETag", "")
        if not re.fullmatch(r"[0-9]+", length):
            raise TransferError(f"{key}: the server does not say how large the file is")
        return RemoteFile(key, int(length), etag)

    def listed(self, prefix: str) -> list[RemoteFile]:
        """Return the files whose name begins with `prefix`."""
        return [self.head(key) for key in self._addresses if key.startswith(prefix)]

    def read(self, file: RemoteFile, start: int) -> Answer:
        """Ask for the bytes of a file from an offset on; errors as in `Bucket.read`."""
        asked = {"Range": f"bytes={start}-"} if start else {}
        if file.etag:
            asked["If-Match"] = file.etag
        with _named(file.key):
            answer = self._open(file.key, asked, "GET")
        begin, total = _extent(answer)
        etag = answer.headers.get("ETag", file.etag)
        if (file.etag and etag != file.etag) or (total is not None and total != file.size):
            answer.close()
            raise ChangedError(f"{file.key} is no longer the file that the server announced")
        return Answer(begin, _blocks(answer, file.key))

    def _open(self, key: str, headers: dict[str, str], method: str) -> Any:
        agent = {"User-Agent": f"mindeye/{__version__}", "Accept-Encoding": "identity"}
        request = urllib.request.Request(
            self._addresses[key], headers={**agent, **headers}, method=method
        )
        return urllib.request.urlopen(request, timeout=self._timeout)


def _extent(answer: Any) -> tuple[int, int | None]:
    """Return offset of the first byte and size of the whole file, None where it is not told."""
    match = re.fullmatch(r"bytes ([0-9]+)-[0-9]+/([0-9]+)", answer.headers.get("Content-Range", ""))
    if match:
        return int(match[1]), int(match[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"[0-9]+", length) else None


def _blocks(answer: Any, key: str) -> Iterator[bytes]:
    """Yield an answer's bytes and close it, also where the reader stops early."""
    with contextlib.closing(answer):
        while True:
            with _named(key):
                block = answer.read(BLOCK)
            if not block:
                return
            yield block


@contextlib.contextmanager
def _named(key: str) -> Iterator[None]:
    """Turn what Python's client raises into the errors of a transfer."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise _refusal(key, error.code) from error
    except urllib.error.URLError as error:
        raise TransferError(
            f"no connection for {key}: {error.reason}; is there a network?"
        ) from error
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise TransferError(f"{key}: the transfer broke off ({error})") from error


def _refusal(key: str, status: int) -> MindEyeError:
    """Return the error for a server's answer that is not the file."""
    if status in (404, 410):
        return AbsentError(f"{key} is not on its server any more ({status})")
    if status in (401, 403):
        return RefusedError(f"{key} is not given out by its server ({status})")
    if status in (412, 416):
        return ChangedError(f"{key} was changed on its server since it was announced")
    if status >= 500 or status in (408, 429):
        return TransferError(f"{key}: the server cannot answer now ({status})")
    return DataError(f"{key}: the server answers {status}")
