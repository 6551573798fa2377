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
from made_galleries import built
from milvus_gallery import TWINS, build, collection_of, opened, queries_near, small_gallery

from mindeye.cli import main
from mindeye.errors import ConfigError, DataError
from mindeye.gallery import milvus
from mindeye.gallery.config import IndexConfig
from mindeye.gallery.exact import ExactSearch
from mindeye.gallery.gallery import Gallery


def rows_in(gallery: Gallery) -> list[int]:
    """Return the rows that the collection of a gallery holds, in order."""
    with opened(gallery) as collection:
        found = collection.call("query", filter="row >= 0", limit=10_000)
    return sorted(int(line["row"]) for line in found)


def test_flat_finds_what_the_exact_search_finds_ties_by_row(tmp_path: Path) -> None:
    gallery = small_gallery(tmp_path / "gallery")
    build(gallery, index="flat", rerank=0)
    queries = queries_near(gallery)
    with opened(gallery, rerank=0) as collection:
        # the 60 rows of one vector are asked for in part, whole, and as part of everything
        for k in (1, 16, 30, 700):
            exact = ExactSearch(gallery.vectors).search(queries, k)
            found = collection.search(queries, k)
            np.testing.assert_array_equal(found.rows, exact.rows)
            np.testing.assert_array_equal(found.scores, exact.scores)
            twins = list(TWINS)[: min(k, len(TWINS))]
            assert found.rows[0, : len(twins)].tolist() == twins


def test_more_neighbours_than_rows_are_all_rows(tmp_path: Path) -> None:
    gallery = small_gallery(tmp_path / "gallery", (9, 4))
    build(gallery, index="flat")
    with opened(gallery) as collection:
        found = collection.search(queries_near(gallery), 50)
        nobody = collection.search(np.zeros((0, 24), np.float32), 3)
    assert found.rows.shape == (7, 13)
    assert (np.sort(found.rows, axis=1) == np.arange(13)).all()
    assert nobody.rows.shape == (0, 3)


def test_approximate_indices_replace_each_other_find_most_and_score_exactly(
    tmp_path: Path,
) -> None:
    gallery = small_gallery(tmp_path / "gallery")
    queries = queries_near(gallery, 20)[1:]
    exact = ExactSearch(gallery.vectors).search(queries, 10)
    for index in ("hnsw", "ivf_flat", "ivf_sq8", "auto"):
        build(gallery, index=index)
        with opened(gallery, index=index, nprobe=32, ef=256) as collection:
            found = collection.search(queries, 10)
            kind = collection.call("describe_index", "vector")["index_type"]
        assert kind == collection.kind == milvus.kind_of(IndexConfig("milvus", index))
        pairs = zip(found.rows, exact.rows, strict=True)
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in pairs]) >= 0.95
        near = gallery.vectors.take(found.rows).reshape(19, 10, 24)
        scores = np.einsum("qrd,qd->qr", near, queries)
        np.testing.assert_allclose(found.scores, scores, atol=1e-6)
        assert (np.diff(found.scores, axis=1) <= 0).all()


def test_a_second_build_inserts_nothing_and_an_addition_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus, "BATCH", 50)
    gallery = small_gallery(tmp_path / "gallery", (300, 200))
    less = dataclasses.replace(gallery.info, parts=gallery.info.parts[:1])
    first = Gallery(less, gallery.path, gallery.tables)
    build(first, index="flat")
    build(first, index="flat")
    assert rows_in(first) == list(range(300))
    with pytest.raises(DataError, match=r"holds 300 rows, .* has 500"):
        collection_of(gallery).opened()
    build(gallery, index="hnsw")
    assert rows_in(gallery) == list(range(500))
    with opened(gallery) as collection:
        assert collection.kind == "HNSW"


def test_a_collection_of_another_gallery_is_refused(tmp_path: Path) -> None:
    gallery = small_gallery(tmp_path / "a", (50, 10))
    build(gallery, index="flat")
    less = dataclasses.replace(gallery.info, parts=gallery.info.parts[:1])
    with pytest.raises(DataError, match="10 rows more"):
        build(Gallery(less, gallery.path, gallery.tables), index="flat")
    other = small_gallery(tmp_path / "b", (50, 10), seed=1)
    stolen = dataclasses.replace(other.info.parts[0], sha256=gallery.info.parts[0].sha256)
    info = dataclasses.replace(other.info, parts=(stolen, *other.info.parts[1:]))
    (tmp_path / "b" / "index").symlink_to(tmp_path / "a" / "index")
    with pytest.raises(DataError, match="other vectors than this gallery"):
        build(Gallery(info, other.path, other.tables), index="flat")


def test_a_build_that_was_killed_goes_on(tmp_path: Path) -> None:
    gallery = small_gallery(tmp_path / "gallery", (1500, 1000))
    code = (
        "from contextlib import closing; from mindeye.gallery import milvus; "
        "from mindeye.gallery.config import IndexConfig; "
        "from mindeye.gallery.gallery import Gallery; "
        f"gallery = Gallery.open({str(gallery.path)!r}); "
        "sent, milvus.BATCH = milvus.MilvusCollection._sent, 10\n"
        "def telling(*given):\n"
        "    for count in sent(*given):\n"
        "        print(count, flush=True)\n"
        "        yield count\n"
        "milvus.MilvusCollection._sent = telling\n"
        "config = IndexConfig('milvus', 'flat')\n"
        "folder = gallery.path / 'index'\n"
        "milvus.MilvusCollection(folder, gallery.info, gallery.vectors, config).build()"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    while int(child.stdout.readline()) < 500:
        pass
    # while it has the files, nobody else may
    with pytest.raises(ConfigError, match="another process has it, and it lets in one at a time"):
        build(gallery, index="flat")
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "gallery" / "index" / "milvus.json").exists()
    with pytest.raises(DataError, match=r"milvus\.json is missing"):
        collection_of(gallery).opened()
    build(gallery, index="flat")
    assert rows_in(gallery) == list(range(2500))
    queries = queries_near(gallery)
    exact = ExactSearch(gallery.vectors).search(queries, 16)
    with opened(gallery) as collection:
        np.testing.assert_array_equal(collection.search(queries, 16).rows, exact.rows)


def test_closing_lets_another_process_in(tmp_path: Path) -> None:
    gallery = small_gallery(tmp_path / "gallery", (20,))
    build(gallery, index="flat")
    opened(gallery).__exit__()
    place = str(tmp_path / "gallery" / "index" / "milvus.db")
    code = f"from pymilvus import MilvusClient; MilvusClient({place!r}); print('in')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "in", answer.stderr


def test_a_gallery_is_built_asked_and_grown_through_the_door(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 8)).astype(np.float32)
    np.save(tmp_path / "e.npy", vectors[:50])
    gallery = built(tmp_path / "e.npy", tmp_path / "g", "milvus")
    assert gallery.search(vectors[:50], 1)["id"].tolist() == [f"e:{i}" for i in range(50)]
    gallery.add(vectors[50:], [f"new{i}" for i in range(10)])
    assert gallery.search(vectors[50:], 1)["id"].tolist() == [f"new{i}" for i in range(10)]
    assert json.loads((tmp_path / "g" / "index" / "milvus.json").read_text())["count"] == 60


def test_bad_addresses_and_indices_are_named() -> None:
    bad = {
        "holds no user or password": "http://me:secret@host:19530",
        "is no address of a Milvus": "host:19530",
        "looks like http": "ftp://host",
    }
    for problem, uri in bad.items():
        with pytest.raises(ConfigError, match=problem) as caught:
            IndexConfig("milvus", uri=uri)
        assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="no index 'tree'"):
        milvus.kind_of(IndexConfig("milvus", "tree"))
    with pytest.raises(ConfigError, match="colour"):
        IndexConfig.of("milvus", {"colour": "red"})


def test_a_password_in_an_address_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.eye(8, dtype=np.float32))
    words = ["gallery", "build", str(tmp_path / "vectors.npy"), "--out", str(tmp_path / "out")]
    assert main([*words, "--backend", "milvus", "--uri", "http://me:secret@127.0.0.1:9"]) == 2
    assert not (tmp_path / "out").exists()
