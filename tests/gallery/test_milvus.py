"""The Milvus back-end on Milvus Lite: equal to the exact one, resumed, and its errors."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from milvus_gallery import (
    TWINS,
    queries_near,
    small_gallery,
)

from mindeye.cli import main
from mindeye.errors import ConfigError, DataError, UsageError
from mindeye.gallery import milvus
from mindeye.gallery.exact import ExactBackend
from mindeye.gallery.milvus_collection import Collection
from mindeye.gallery.milvus_options import MilvusOptions, build_params, place_of, read_options
from mindeye.gallery.milvus_server import Server
from mindeye.gallery.store import Gallery

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")


def rows_in(gallery: Gallery, **options: object) -> list[int]:
    """Return the rows that the collection of a gallery holds, in order."""
    told = json.loads((gallery.index / "milvus.json").read_text())
    asked = read_options(options)
    with Server(place_of(gallery.index, told["uri"]), asked) as server:
        Collection(server, told["collection"]).load()
        found = server.call(
            "reading", lambda c: c.query(told["collection"], filter="row >= 0", limit=10_000)
        )
    return sorted(int(line["row"]) for line in found)


@pytest.mark.parametrize("k", [1, 16, 30, 700])
def test_flat_finds_what_the_exact_backend_finds_ties_by_row(tmp_path: Path, k: int) -> None:
    gallery = small_gallery(tmp_path / "gallery")
    milvus.build(gallery, {"index": "flat", "rerank": 0})
    queries = queries_near(gallery)
    exact = ExactBackend(gallery.vectors).search(queries, k)
    with milvus.open(gallery) as backend:
        found = backend.search(queries, k)
    np.testing.assert_array_equal(found.rows, exact.rows)
    np.testing.assert_array_equal(found.scores, exact.scores)
    # the 60 rows of one vector are asked for in part, whole, and as part of everything
    twins = list(TWINS)[: min(k, len(TWINS))]
    assert found.rows[0, : len(twins)].tolist() == twins


def test_more_neighbours_than_rows_are_all_rows(tmp_path: Path) -> None:
    gallery = small_gallery(tmp_path / "gallery", (9, 4))
    milvus.build(gallery, {"index": "flat"})
    with milvus.open(gallery) as backend:
        found = backend.search(queries_near(gallery), 50)
        nobody = backend.search(np.zeros((0, 24), np.float32), 3)
    assert found.rows.shape == (7, 13)
    assert (np.sort(found.rows, axis=1) == np.arange(13)).all()
    assert nobody.rows.shape == (0, 3)


@pytest.mark.parametrize("index", ["hnsw", "ivf_flat", "IVF-SQ8", "auto"])
def test_approximate_indices_find_most_and_score_exactly(tmp_path: Path, index: str) -> None:
    gallery = small_gallery(tmp_path / "gallery")
    milvus.build(gallery, {"index": index})
    queries = queries_near(gallery, 20)[1:]
    exact = ExactBackend(gallery.vectors).search(queries, 10)
    with milvus.open(gallery.with_options(nprobe=32, ef=256)) as backend:
        found = backend.search(queries, 10)
        server = backend.collection.server
        told = server.call("asking", lambda c: c.describe_index(backend.collection.name, "vector"))
    assert told["index_type"] == MilvusOptions(index=index).kind
    recall = np.mean(
        [len(set(a) & set(b)) / 10 for a, b in zip(found.rows, exact.rows, strict=True)]
    )
    assert recall >= 0.95
    again = np.einsum("qrd,qd->qr", gallery.vectors.take(found.rows).reshape(19, 10, 24), queries)
    np.testing.assert_allclose(found.scores, again, atol=1e-6)
    assert (np.diff(found.scores, axis=1) <= 0).all()


@pytest.mark.parametrize("index", ["ivf_pq", "diskann"])
def test_lite_refuses_what_it_would_not_build(tmp_path: Path, index: str) -> None:
    gallery = small_gallery(tmp_path / "gallery", (5,))
    with pytest.raises(ConfigError, match=r"does not build .* flat, hnsw, ivf_flat"):
        milvus.build(gallery, {"index": index})
    assert not (gallery.index / "milvus.json").exists()


def test_a_second_build_inserts_nothing_and_an_addition_only_itself(tmp_path: Path) -> None:
    gallery = small_gallery(tmp_path / "gallery", (300, 200))
    less = dataclasses.replace(gallery.info, parts=gallery.info.parts[:1])
    first = Gallery(gallery.path, less)
    milvus.build(first, {"index": "flat", "batch": 50})
    milvus.build(first, {"index": "flat", "batch": 50})
    assert rows_in(first) == list(range(300))
    with pytest.raises(DataError, match=r"holds 300 rows, .* has 500"):
        milvus.open(gallery)
    milvus.build(gallery, {"index": "hnsw", "batch": 50})
    assert rows_in(gallery) == list(range(500))
    with milvus.open(gallery) as backend:
        assert backend.kind == "HNSW"


def test_rows_that_went_missing_before_the_last_are_brought_back(tmp_path: Path) -> None:
    gallery = small_gallery(tmp_path / "gallery", (300,))
    milvus.build(gallery, {"index": "flat", "batch": 50})
    told = json.loads((gallery.index / "milvus.json").read_text())
    with Server(place_of(gallery.index, ""), MilvusOptions()) as server:
        Collection(server, told["collection"]).load()
        server.call("deleting", lambda c: c.delete(told["collection"], ids=[3, 4, 5]))
    milvus.build(gallery, {"index": "flat", "batch": 50})
    assert rows_in(gallery) == list(range(300))


def test_a_collection_of_another_gallery_is_refused(tmp_path: Path) -> None:
    place = {"uri": str(tmp_path / "one.db"), "collection": "mine", "index": "flat"}
    milvus.build(small_gallery(tmp_path / "a", (50,)), place)
    with pytest.raises(DataError, match="another vector in row 0"):
        milvus.build(small_gallery(tmp_path / "b", (60,), seed=1), place)
    with pytest.raises(DataError, match="20 rows more"):
        milvus.build(small_gallery(tmp_path / "c", (30,)), place)


def test_a_build_that_was_killed_goes_on(tmp_path: Path) -> None:
    gallery = small_gallery(tmp_path / "gallery", (3000, 2500))
    code = (
        "from pathlib import Path; from mindeye.gallery import milvus, open_gallery; "
        f"gallery = open_gallery(Path({str(gallery.path)!r})); "
        "keep = milvus.Collection._sent\n"
        "def told(*given):\n"
        "    for row in keep(*given):\n"
        "        print(row, flush=True)\n"
        "        yield row\n"
        "milvus.Collection._sent = told\n"
        "milvus.build(gallery, {'index': 'flat', 'batch': 10})"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    while int(child.stdout.readline()) < 1000:
        pass
    # while it has the files, nobody else may
    with pytest.raises(ConfigError, match="another process has it, and it lets in one at a time"):
        milvus.build(gallery, {"index": "flat"})
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (gallery.index / "milvus.json").exists()
    with pytest.raises(DataError, match=r"milvus\.json is missing"):
        milvus.open(gallery)
    milvus.build(gallery, {"index": "flat"})
    assert rows_in(gallery) == list(range(5500))
    queries = queries_near(gallery)
    exact = ExactBackend(gallery.vectors).search(queries, 16)
    with milvus.open(gallery) as backend:
        np.testing.assert_array_equal(backend.search(queries, 16).rows, exact.rows)


def test_closing_lets_another_process_in(tmp_path: Path) -> None:
    gallery = small_gallery(tmp_path / "gallery", (20,))
    milvus.build(gallery, {"index": "flat"})
    milvus.open(gallery).close()
    place = place_of(gallery.index, "")
    code = f"from pymilvus import MilvusClient; MilvusClient({place!r}); print('in')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "in", answer.stderr


def test_bad_options_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = small_gallery(tmp_path / "gallery", (5,))
    bad = {
        "no index 'tree'": {"index": "tree"},
        "no option colour": {"colour": "red"},
        "option batch of .* is no int": {"batch": "many"},
        "option batch of a Milvus is 0": {"batch": 0},
        "holds no user or password": {"uri": "http://me:secret@host:19530"},
        "is no address of a Milvus": {"uri": "host:19530"},
        "looks like http": {"uri": "ftp://host"},
    }
    for problem, options in bad.items():
        with pytest.raises(ConfigError, match=problem) as caught:
            milvus.build(gallery, options)
        assert "secret" not in str(caught.value)
    wide = dataclasses.replace(
        gallery.info, space=dataclasses.replace(gallery.info.space, width=40_000)
    )
    with pytest.raises(ConfigError, match="40000 wide, Milvus takes 32768"):
        milvus.build(Gallery(gallery.path, wide), {})
    with pytest.raises(DataError, match="empty"):
        milvus.build(Gallery(gallery.path, dataclasses.replace(gallery.info, parts=())), {})


def test_a_password_in_an_address_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.eye(8, dtype=np.float32))
    words = ["gallery", "build", str(tmp_path / "vectors.npy"), "--out", str(tmp_path / "out")]
    assert main([*words, "--backend", "milvus", "--uri", "http://me:secret@127.0.0.1:9"]) == 2
    assert not (tmp_path / "out").exists()


def test_more_neighbours_than_milvus_gives_at_once_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = small_gallery(tmp_path / "gallery", (9,))
    milvus.build(gallery, {"index": "flat"})
    monkeypatch.setattr(milvus, "MOST_FETCHED", 3)
    with milvus.open(gallery) as backend:
        assert backend.search(queries_near(gallery), 3).rows.shape == (7, 3)
        with pytest.raises(UsageError, match="k is 4, a Milvus gives 3 at most"):
            backend.search(queries_near(gallery), 4)


def test_a_product_quantiser_has_codes_that_divide_the_width() -> None:
    for width in (768, 1024, 30, 7, 11):
        params = build_params("IVF_PQ", MilvusOptions(), 10_000, width)
        assert width % params["m"] == 0
        assert width // params["m"] <= 8
    assert build_params("IVF_FLAT", MilvusOptions(), 40_000, 8) == {"nlist": 800}
    assert build_params("IVF_FLAT", MilvusOptions(), 3, 8) == {"nlist": 1}
