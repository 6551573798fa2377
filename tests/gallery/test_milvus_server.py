"""The Milvus back-end by address: a server that is not there, dies, comes back."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from milvus_gallery import free_port, queries_near, small_gallery, start_server

from mindeye.errors import ConfigError
from mindeye.gallery import milvus
from mindeye.gallery.exact import ExactBackend
from mindeye.gallery.milvus_collection import Collection
from mindeye.gallery.milvus_server import MilvusError

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")


def test_an_address_where_nothing_listens_is_told_after_the_attempts(tmp_path: Path) -> None:
    gallery = small_gallery(tmp_path / "gallery", (5,))
    uri = f"http://127.0.0.1:{free_port()}"
    options = {"uri": uri, "timeout": 0.3, "attempts": 3, "wait": 0.05}
    start = time.monotonic()
    with pytest.raises(MilvusError, match=rf"{uri} does not answer .*3 attempts"):
        milvus.build(gallery, options)
    assert time.monotonic() - start < 30


def test_an_index_that_lite_does_not_build_is_refused_behind_an_address_too(
    tmp_path: Path,
) -> None:
    gallery, port = small_gallery(tmp_path / "gallery", (5,)), free_port()
    process = start_server(tmp_path / "server.db", port)
    try:
        with pytest.raises(ConfigError, match="does not build ivf_pq"):
            milvus.build(gallery, {"uri": f"http://127.0.0.1:{port}", "index": "ivf_pq"})
    finally:
        process.kill()
        process.wait()


def test_a_server_that_dies_mid_insert_keeps_what_it_has_and_a_second_build_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, port = small_gallery(tmp_path / "gallery", (2000,)), free_port()
    options = {
        "uri": f"http://127.0.0.1:{port}", "index": "flat", "batch": 100,
        "timeout": 5.0, "attempts": 3, "wait": 0.5,
    }  # fmt: skip
    process = start_server(tmp_path / "server.db", port)
    sent, firsts = Collection._sent, []

    def dies(self: Collection, vectors: object, first: int, size: int) -> object:
        firsts.append(first)
        for row in sent(self, vectors, first, size):
            if row == 899 and len(firsts) == 1:
                process.kill()
                process.wait()
            yield row

    monkeypatch.setattr(Collection, "_sent", dies)
    with pytest.raises(MilvusError, match=r"while inserting rows 900 to 999 .*stays"):
        milvus.build(gallery, options)
    process = start_server(tmp_path / "server.db", port)
    try:
        # gRPC itself lets some seconds pass before it dials again where it was refused
        milvus.build(gallery, {**options, "attempts": 30})
        # the last batch that was committed is sent again, no more
        assert firsts == [0, 800]
        queries = queries_near(gallery)
        exact = ExactBackend(gallery.vectors).search(queries, 16)
        with milvus.open(gallery.with_options(**options)) as backend:
            assert backend.collection.count() == 2000
            np.testing.assert_array_equal(backend.search(queries, 16).rows, exact.rows)
    finally:
        process.kill()
        process.wait()


def test_a_server_that_comes_back_in_time_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, port = small_gallery(tmp_path / "gallery", (600,)), free_port()
    processes = [start_server(tmp_path / "server.db", port)]
    sent = Collection._sent

    def restart() -> None:
        processes.append(start_server(tmp_path / "server.db", port))

    def dies_once(self: Collection, vectors: object, first: int, size: int) -> object:
        for row in sent(self, vectors, first, size):
            if row == 299:
                processes[0].kill()
                processes[0].wait()
                threading.Timer(0.5, restart).start()
            yield row

    monkeypatch.setattr(Collection, "_sent", dies_once)
    monkeypatch.setenv("MILVUS_TOKEN", "root:tell-nobody")
    options = {"uri": f"http://127.0.0.1:{port}", "index": "flat", "batch": 100,
               "timeout": 5.0, "attempts": 9, "wait": 0.2}  # fmt: skip
    try:
        milvus.build(gallery, options)
        with milvus.open(gallery.with_options(**options)) as backend:
            assert backend.collection.count() == 600
        files = [path for path in gallery.path.rglob("*") if path.is_file()]
        assert gallery.index / "milvus.json" in files
        assert not [path for path in files if b"tell-nobody" in path.read_bytes()]
    finally:
        for process in processes:
            process.kill()
            process.wait()
