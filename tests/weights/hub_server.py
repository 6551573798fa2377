"""A server on 127.0.0.1 with the few addresses of the hub that a download uses, and faults.

Addresses and headers are those that huggingface_hub 2.4 asks for: `model_info` and the HEAD and
GET of `hf_hub_download`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class SmallHub:
    """What the server holds and which faults it has."""

    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: tuple[str, ...] = ("main", "v2.0", COMMIT)
    licence: str = "mit"
    gated: bool = False
    lost: set[str] = field(default_factory=set)
    """Paths that are listed but not there."""
    cut: dict[str, int] = field(default_factory=dict)
    """Path -> how many more times its transfer breaks off half way."""
    altered: set[str] = field(default_factory=set)
    announced: dict[str, int] = field(default_factory=dict)
    silent: float = 0.0
    """Seconds before anything is answered."""
    status: int = 0
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Range of every request."""
    tokens: list[str | None] = field(default_factory=list)
    """Authorization of every request."""
    address: str = ""

    def asked_for(self, path: str) -> list[tuple[str, str]]:
        """Method and Range of the requests for a file."""
        return [(method, rng) for method, url, rng in self.requests if url.endswith(f"/{path}")]


class _Handler(BaseHTTPRequestHandler):
    hub: SmallHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range", "")))
        self.hub.tokens.append(self.headers.get("Authorization"))
        time.sleep(self.hub.silent)
        if self.hub.status:
            self._send(self.hub.status, {}, b"")
        elif path.startswith("/api/models/"):
            self._list(path.removeprefix("/api/models/"))
        else:
            self._file(path, body=body)

    def _list(self, path: str) -> None:
        identity, _, revision = path.partition("/revision/")
        files = self.hub.models.get(identity)
        if files is None:
            # To people who are not logged in the hub says 401, not 404, of what is not there.
            self._send(401, {"X-Error-Code": "RepoNotFound"}, b"{}")
        elif revision not in self.hub.revisions:
            self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
        else:
            siblings = [self._sibling(name, content) for name, content in files.items()]
            content = {"id": identity, "sha": COMMIT, "siblings": siblings,
                       "cardData": {"license": self.hub.licence}}  # fmt: skip
            self._send(200, {"Content-Type": "application/json"}, json.dumps(content).encode())

    def _sibling(self, name: str, content: bytes) -> dict[str, Any]:
        size = self.hub.announced.get(name, len(content))
        found: dict[str, Any] = {"rfilename": name, "size": size, "blobId": "0" * 40}
        if not name.endswith(".json"):
            digest = hashlib.sha256(content).hexdigest()
            found["lfs"] = {"size": size, "sha256": digest, "pointerSize": 134}
        return found

    def _file(self, path: str, *, body: bool) -> None:
        identity, _, rest = path.strip("/").partition("/resolve/")
        name = rest.partition("/")[2]
        content = self.hub.models[identity].get(name)
        if content is None or name in self.hub.lost:
            self._send(404, {"X-Error-Code": "EntryNotFound"}, b"")
            return
        if self.hub.gated:
            self._send(401, {"X-Error-Code": "GatedRepo"}, b"")
            return
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        if name in self.hub.altered:
            content = bytes(len(content))
        start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cut = body and self.hub.cut.get(name, 0) > 0
        self._send(206 if start else 200, headers, content[start:], body=body, cut=cut)
        if cut:
            self.hub.cut[name] -= 1
            self.close_connection = True

    def _send(
        self,
        status: int,
        headers: dict[str, str],
        content: bytes,
        *,
        body: bool = True,
        cut: bool = False,
    ) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        with suppress(BrokenPipeError, ConnectionResetError):  # the asker has given up
            self.end_headers()
            if not body or self.command == "HEAD":
                return
            self.wfile.write(content[: len(content) // 2] if cut else content)


@contextmanager
def serving(hub: SmallHub) -> Iterator[SmallHub]:
    """Serve a hub until the block ends."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
