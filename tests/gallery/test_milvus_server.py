"""The Milvus back-end by address: a server that is not there, dies, comes back."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from milvus_gallery import build, free_port, opened, queries_near, small_gallery, start_server

from mindeye.gallery import milvus
from mindeye.gallery.exact import ExactSearch
from mindeye.gallery.milvus import MilvusCollection, MilvusError


def test_an_address_where_nothing_listens_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus, "TIMEOUT", 0.3)
    monkeypatch.setattr(milvus, "ATTEMPTS", 2)
    gallery = small_gallery(tmp_path / "gallery", (5,))
    uri = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(MilvusError, match=f"{uri} does not answer"):
        build(gallery, uri=uri)


def test_a_server_that_dies_mid_insert_keeps_what_it_has_and_a_second_build_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, port = small_gallery(tmp_path / "gallery", (2000,)), free_port()
    uri = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(milvus, "BATCH", 100)
    process = start_server(tmp_path / "server.db", port)
    sent, firsts = MilvusCollection._sent, []

    def dies(self: MilvusCollection, first: int, size: int) -> object:
        firsts.append(first)
        for count in sent(self, first, size):
            if count == 900 and len(firsts) == 1:
                process.kill()
                process.wait()
                monkeypatch.setattr(milvus, "TIMEOUT", 1.0)
                monkeypatch.setattr(milvus, "ATTEMPTS", 2)
            yield count

    monkeypatch.setattr(MilvusCollection, "_sent", dies)
    with pytest.raises(MilvusError, match=r"upsert.*stays"):
        build(gallery, uri=uri, index="flat")
    monkeypatch.setattr(milvus, "TIMEOUT", 5.0)
    monkeypatch.setattr(milvus, "ATTEMPTS", 5)
    process = start_server(tmp_path / "server.db", port)
    try:
        # gRPC lets some seconds pass before it dials again where it was refused in this process
        deadline = time.monotonic() + 60
        while len(firsts) < 2 and time.monotonic() < deadline:
            with contextlib.suppress(MilvusError):
                build(gallery, uri=uri, index="flat")
            time.sleep(0.2)
        # the last batch that was committed is sent again, no more
        assert firsts == [0, 800]
        queries = queries_near(gallery)
        exact = ExactSearch(gallery.vectors).search(queries, 16)
        with opened(gallery, uri=uri) as collection:
            assert collection.count() == 2000
            np.testing.assert_array_equal(collection.search(queries, 16).rows, exact.rows)
    finally:
        process.kill()
        process.wait()


def test_a_server_that_comes_back_in_time_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, port = small_gallery(tmp_path / "gallery", (600,)), free_port()
    uri = f"http://127.0.0.1:{port}"
    processes = [start_server(tmp_path / "server.db", port)]
    sent = MilvusCollection._sent

    def restart() -> None:
        processes.append(start_server(tmp_path / "server.db", port))

    timer = threading.Timer(0.5, restart)

    def dies_once(self: MilvusCollection, first: int, size: int) -> object:
        for count in sent(self, first, size):
            if count == 300:
                processes[0].kill()
                processes[0].wait()
                timer.start()
            yield count

    monkeypatch.setattr(MilvusCollection, "_sent", dies_once)
    monkeypatch.setattr(milvus, "BATCH", 100)
    monkeypatch.setattr(milvus, "TIMEOUT", 5.0)
    monkeypatch.setenv("MILVUS_TOKEN", "root:tell-nobody")
    try:
        build(gallery, uri=uri, index="flat")
        with opened(gallery, uri=uri) as collection:
            assert collection.count() == 600
        files = [path for path in (tmp_path / "gallery").rglob("*") if path.is_file()]
        assert tmp_path / "gallery" / "index" / "milvus.json" in files
        assert not [path for path in files if b"tell-nobody" in path.read_bytes()]
    finally:
        timer.join()
        for process in processes:
            process.kill()
            process.wait()
