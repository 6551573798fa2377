"""A real HTTP server on 127.0.0.1 that answers as S3 does, over a small bucket, with faults.

Answers HEAD, GET, Range, If-Match and ListObjectsV2 as the Amazon S3 API reference describes
them, path-style. Counts every byte of a body that it sends.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "natural-scenes-dataset"

Fault = Callable[["Handler", str, bytes, int], None]
"""Answers a GET in its own way: handler, key, all bytes of the file, first byte asked for."""


class BucketServer(ThreadingHTTPServer):
    """The bucket: files by key, and what is wrong with them."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.etags: dict[str, str] = {}
        self.announced: dict[str, int] = {}
        """Sizes that HEAD gives instead of the right ones."""
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        """Faults of the next GETs of a key, one each; after the last all is well."""
        self.always: dict[str, Fault] = {}
        self.refused: dict[str, int] = {}
        """Status of all answers about a key, such as 403."""
        self.redirects: dict[str, str] = {}
        """Addresses that requests for a key are sent on to."""
        self.page = 1000
        self.extra_listed: list[str] = []
        self.sent: Counter[str] = Counter()
        self.requests: list[tuple[str, str, str | None]] = []
        self.conditions: list[str | None] = []
        """The If-Match of every GET."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def etag(self, key: str) -> str:
        return f'"{self.etags.get(key) or hashlib.md5(self.files[key]).hexdigest()}"'

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: BucketServer

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        key = self._key("HEAD")
        if key is not None:
            size = self.server.announced.get(key, len(self.server.files[key]))
            self.head(200, size, {"ETag": self.server.etag(key), "Accept-Ranges": "bytes"})

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        if query.get("list-type") == ["2"]:
            self._list(query.get("prefix", [""])[0], query.get("continuation-token", ["0"])[0])
            return
        key = self._key("GET")
        if key is None:
            return
        data = self.server.files[key]
        asked = self.headers.get("Range")
        self.server.conditions.append(self.headers.get("If-Match"))
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        fault = self.server.always.get(key)
        if self.server.faults[key]:
            fault = self.server.faults[key].pop(0)
        if fault is not None:
            fault(self, key, data, start)
        elif self.headers.get("If-Match", self.server.etag(key)) != self.server.etag(key):
            self.error(412, "PreconditionFailed")
        elif start >= len(data) > 0:
            self.error(416, "InvalidRange")
        else:
            self.answer(key, data, start)

    def answer(self, key: str, data: bytes, start: int, *, until: int | None = None) -> None:
        """Send a file from `start`; break the connection off at `until`."""
        facts = {"ETag": self.server.etag(key)}
        if start:
            facts["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.head(206 if start else 200, len(data) - start, facts)
        self.body(key, data[start:until])
        if until is not None:
            self.cut()

    def head(self, status: int, length: int | None, facts: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in facts.items():
            self.send_header(name, value)
        if length is None:
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def body(self, key: str, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()
        self.server.sent[key] += len(data)

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def error(self, status: int, code: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()
        self.head(status, len(text), {"Content-Type": "application/xml"})
        if self.command != "HEAD":
            self.wfile.write(text)

    def _key(self, verb: str) -> str | None:
        """Return the key asked for, or answer that there is none."""
        path = unquote(urlsplit(self.path).path)
        key = path.removeprefix(f"/{BUCKET}/")
        self.server.requests.append((verb, key, self.headers.get("Range")))
        if key in self.server.redirects:
            self.head(302, 0, {"Location": self.server.redirects[key]})
            return None
        status = self.server.refused.get(key, 200 if key in self.server.files else 404)
        if status != 200:
            self.error(status, {403: "AccessDenied", 404: "NoSuchKey"}.get(status, "Odd"))
            return None
        return key

    def _list(self, prefix: str, token: str) -> None:
        self.server.requests.append(("LIST", prefix, None))
        keys = sorted(k for k in self.server.files if k.startswith(prefix))
        keys += self.server.extra_listed
        first, last = int(token), int(token) + self.server.page
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><ETag>{escape(self.server.etag(key))}</ETag>"
            f"<Size>{len(self.server.files[key])}</Size></Contents>"
            for key in keys[first:last]
        )
        more = last < len(keys)
        following = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
        text = (
            "<?xml version='1.0' encoding='UTF-8'?>"
            "<ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{following}{rows}</ListBucketResult>"
        ).encode()
        self.head(200, len(text), {"Content-Type": "application/xml"})
        self.wfile.write(text)


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[BucketServer]:
    """Serve a bucket while the block runs."""
    server = BucketServer(files)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def cut_after(count: int) -> Fault:
    """Break the connection off `count` bytes after the first one asked for."""
    return lambda handler, key, data, start: handler.answer(key, data, start, until=start + count)


def status(code: int) -> Fault:
    """Answer with an error."""
    return lambda handler, key, data, start: handler.error(code, "Fault")


def slow(seconds: float) -> Fault:
    """Answer rightly after a while."""

    def answer(handler: Handler, key: str, data: bytes, start: int) -> None:
        time.sleep(seconds)
        handler.answer(key, data, start)

    return answer


def swapped(other: bytes) -> Fault:
    """Send other bytes under the same mark and size."""
    return lambda handler, key, data, start: handler.answer(key, other, start)


def whole_file(handler: Handler, key: str, data: bytes, start: int) -> None:
    """Ignore Range and If-Match: send all from the first byte."""
    handler.answer(key, data, 0)


def endless(extra: int) -> Fault:
    """Give no length and send more than there is."""

    def answer(handler: Handler, key: str, data: bytes, start: int) -> None:
        handler.head(200, None, {"ETag": handler.server.etag(key)})
        handler.body(key, data + b"x" * extra)

    return answer


def short(missing: int) -> Fault:
    """End cleanly before the last bytes, with a Content-Length that fits what is sent."""

    def answer(handler: Handler, key: str, data: bytes, start: int) -> None:
        facts = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        part = data[start : len(data) - missing]
        handler.head(206, len(part), {"ETag": handler.server.etag(key), **facts})
        handler.body(key, part)

    return answer


def replaced(new: bytes, etag: str = "") -> Fault:
    """Put another content in the bucket after the first half of the old one, then break off."""

    def answer(handler: Handler, key: str, data: bytes, start: int) -> None:
        handler.answer(key, data, start, until=start + (len(data) - start) // 2)
        handler.server.files[key] = new
        handler.server.etags[key] = etag

    return answer


def held(count: int, release: threading.Event) -> Fault:
    """Stop after `count` bytes until released, for at most 20 s; then break off."""

    def answer(handler: Handler, key: str, data: bytes, start: int) -> None:
        handler.head(200, len(data) - start, {"ETag": handler.server.etag(key)})
        handler.body(key, data[start : start + count])
        release.wait(20)
        handler.cut()

    return answer
