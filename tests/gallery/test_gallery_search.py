"""Search finds what is nearest: exact, by index, and with the scores of the stored vectors."""

from __future__ import annotations

import json
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pytest
from made_galleries import built, clustered, made, write_clip_retrieval, write_pictures

from mindeye.cli import main
from mindeye.errors import ConfigError, DataError, UsageError
from mindeye.gallery.build import IdSet
from mindeye.gallery.check import check_gallery
from mindeye.gallery.config import IndexConfig
from mindeye.gallery.exact import ExactSearch
from mindeye.gallery.faiss_index import factory
from mindeye.gallery.gallery import Gallery


def naive(gallery, queries, k):
    """All scores in double precision, equal ones by row."""
    stored = gallery.vectors.take(np.arange(len(gallery))).astype(np.float64)
    scores = queries.astype(np.float64) @ stored.T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(scores, rows, axis=1)


@pytest.mark.parametrize("chunk", [1, 7, 64, 10_000])
@pytest.mark.parametrize("part", [0, 90])
def test_exact_search_is_the_naive_one_whatever_the_chunks(tmp_path, chunk, part):
    gallery = made(tmp_path, clustered(500), part=part)
    queries = clustered(20, seed=9)
    found = ExactSearch(gallery.vectors, chunk=chunk).search(queries, 11)
    rows, scores = naive(gallery, queries, 11)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)


def test_equal_vectors_come_in_the_order_of_rows(tmp_path):
    once = clustered(50)
    gallery = made(tmp_path, np.concatenate([once] * 9), part=60)
    found = ExactSearch(gallery.vectors, chunk=17).search(once[:5], 5)
    np.testing.assert_array_equal(found.rows, np.arange(5)[:, None] + 50 * np.arange(5))
    assert (found.scores == found.scores[:, :1]).all()


def test_k_of_all_gives_every_row_once(tmp_path):
    gallery = made(tmp_path, clustered(33))
    found = gallery.searcher.search(clustered(4, seed=2), 33)
    assert (np.sort(found.rows, axis=1) == np.arange(33)).all()


@pytest.mark.parametrize("index", ["flat", "hnsw", "ivfflat", "ivfsq8", "ivfpq", "IVF8,PQ16x4np"])
def test_an_index_with_enough_effort_agrees_with_the_exact_search(tmp_path, index):
    options = {"nprobe": 99, "ef": 600, "rerank": 700, "pq": 8, "nlist": 8}
    gallery = made(tmp_path, clustered(700), part=150, backend="faiss", index=index, **options)
    queries = clustered(25, seed=3)
    found = Gallery.open(tmp_path / "g").searcher.search(queries, 10)
    rows, scores = naive(gallery, queries, 10)
    assert (found.rows == rows).mean() > 0.98  # HNSW may miss one
    np.testing.assert_allclose(found.scores, scores, atol=2e-3)
    check_gallery(gallery)


def test_reranking_gives_back_what_codes_lost(tmp_path):
    vectors = clustered(2000, width=64, clusters=5, spread=1.0)
    gallery = made(tmp_path, vectors, backend="faiss", index="ivfpq", pq=8, nlist=4, nprobe=4)
    queries = clustered(40, width=64, seed=4, clusters=5)
    rows, _ = naive(gallery, queries, 10)

    def recall(rerank):
        found = gallery.with_options(rerank=rerank).searcher.search(queries, 10).rows
        return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, rows, strict=True)])

    plain, few, many = recall(0), recall(100), recall(800)
    assert plain < few - 0.1
    assert many > 0.97


def test_a_resumed_index_is_that_of_an_uninterrupted_build(tmp_path, monkeypatch):
    from mindeye.gallery import faiss_index

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    options = {"index": "ivfpq", "pq": 8, "nlist": 4}
    whole = made(tmp_path / "a", clustered(900), part=300, backend="faiss", **options)
    monkeypatch.setattr(faiss_index, "ADD", 100)
    monkeypatch.setattr(faiss_index, "KEEP_EVERY", 0.0)
    write, calls = faiss_index._write, []

    def stopping(index, path):
        write(index, path)
        calls.append(path.name)
        if len(calls) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(faiss_index, "_write", stopping)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "b", clustered(900), part=300, backend="faiss", **options)
    with pytest.raises(DataError, match="an index that holds 500 vectors"):
        Gallery.open(tmp_path / "b" / "g").search(clustered(1))
    monkeypatch.setattr(faiss_index, "_write", write)
    monkeypatch.setattr(faiss_index, "_trained", None)  # it is trained already
    resumed = made(tmp_path / "b", clustered(900), part=300, backend="faiss", **options)
    content = [(g.path / "index" / "index.faiss").read_bytes() for g in (whole, resumed)]
    assert content[0] == content[1]
    assert sorted(p.name for p in (resumed.path / "index").iterdir()) == [
        "index.faiss",
        "index.json",
    ]


def test_an_index_grows_with_its_gallery(tmp_path):
    made(tmp_path, clustered(400), backend="faiss", index="ivfflat", nlist=4, nprobe=4)
    np.save(tmp_path / "more.npy", clustered(100, seed=7))
    gallery = Gallery.open(tmp_path / "g").add(tmp_path / "more.npy")
    found = gallery.searcher.search(clustered(100, seed=7), 1)
    np.testing.assert_array_equal(found.rows[:, 0], 400 + np.arange(100))


def test_an_index_of_other_vectors_is_refused(tmp_path):
    gallery = made(tmp_path, clustered(60), backend="faiss", index="flat")
    index = faiss.index_factory(32, "Flat", faiss.METRIC_INNER_PRODUCT)
    index.add(clustered(59))
    faiss.write_index(index, str(gallery.path / "index" / "index.faiss"))
    with pytest.raises(DataError, match="holds 59 vectors"):
        Gallery.open(tmp_path / "g").search(clustered(1))
    content = (gallery.path / "index" / "index.faiss").read_bytes()
    (gallery.path / "index" / "index.faiss").write_bytes(content[:50])
    with pytest.raises(DataError, match="cut off or no index of faiss"):
        Gallery.open(tmp_path / "g").search(clustered(1))
    (gallery.path / "index" / "index.json").unlink()
    with pytest.raises(DataError, match="no index"):
        Gallery.open(tmp_path / "g").search(clustered(1))


def test_options_that_do_not_fit_are_named(tmp_path):
    few = clustered(60)
    with pytest.raises(DataError, match="at least 256 vectors"):
        made(tmp_path, few, backend="faiss", index="ivfpq")
    with pytest.raises(ConfigError, match="makes no index 'Nonsense'"):
        made(tmp_path, few, backend="faiss", index="Nonsense")
    with pytest.raises(ConfigError, match="nprobe is -1"):
        IndexConfig(nprobe=-1)
    with pytest.raises(ConfigError, match="does not divide the width 32"):
        factory(IndexConfig(index="ivfpq", pq=5), 1000, 32)


def clip_retrieval_index(folder, vectors, name="image.index", text="IVF4,Flat"):
    index = faiss.index_factory(vectors.shape[1], text, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    folder.mkdir()
    faiss.write_index(index, str(folder / name))
    (folder / "metadata").mkdir()
    half = len(vectors) // 2
    # 10 sorts before 2: whoever made the index read the tables by their names
    for table, rows in (("metadata_10", range(half)), ("metadata_2", range(half, len(vectors)))):
        columns = {"image_path": [f"p{r}" for r in rows], "caption": [f"c{r}" for r in rows]}
        pd.DataFrame(columns).to_parquet(folder / "metadata" / f"{table}.parquet")
    return index


@pytest.mark.parametrize("name", ["image.index", "knn.index"])
def test_index_folders_of_others_are_asked_as_they_are(tmp_path, name):
    vectors, queries = clustered(300), clustered(10, seed=3)
    index = clip_retrieval_index(tmp_path / "i", vectors, name)
    gallery = Gallery.open(tmp_path / "i")
    found = gallery.search(queries, 5)
    scores, rows = index.search(queries, 5)
    np.testing.assert_allclose(found["score"], scores.reshape(-1), atol=1e-6)
    assert found["id"].tolist() == [f"p{r}" for r in rows.reshape(-1)]
    wide = gallery.with_options(nprobe=4).searcher.search(queries, 5)
    np.testing.assert_array_equal(wide.rows[:, 0], (queries @ vectors.T).argmax(axis=1))
    check_gallery(gallery)


def test_an_index_without_its_metadata_is_refused(tmp_path):
    clip_retrieval_index(tmp_path / "i", clustered(100))
    (tmp_path / "i" / "metadata" / "metadata_2.parquet").unlink()
    with pytest.raises(DataError, match=r"holds 100 vectors, but .* describes 50"):
        Gallery.open(tmp_path / "i")
    (tmp_path / "i" / "metadata" / "metadata_10.parquet").unlink()
    with pytest.raises(DataError, match="describes 0"):
        Gallery.open(tmp_path / "i")
    with pytest.raises(DataError, match="is no gallery"):
        Gallery.open(tmp_path)


def test_distances_of_an_index_become_cosines(tmp_path):
    vectors, queries = clustered(300), clustered(10, seed=3)
    clip_retrieval_index(tmp_path / "i", vectors)
    index = faiss.IndexFlatL2(32)
    index.add(vectors)
    faiss.write_index(index, str(tmp_path / "i" / "image.index"))
    found = Gallery.open(tmp_path / "i").searcher.search(queries, 3)
    np.testing.assert_allclose(found.scores[:, 0], (queries @ vectors.T).max(axis=1), atol=1e-5)


def test_queries_of_another_width_encoder_or_kind_are_refused(tmp_path, capsys):
    gallery = made(tmp_path, clustered(20))
    with pytest.raises(DataError, match=r"width 16.*width 32"):
        gallery.search(clustered(2, 16))
    with pytest.raises(DataError, match="row 0: the embedding holds NaN"):
        gallery.search(np.full((2, 32), np.nan, np.float32))
    with pytest.raises(UsageError, match="is no query"):
        gallery.search(tmp_path / "q.txt")
    with pytest.raises(UsageError, match="k is 0"):
        gallery.search(clustered(2), 0)
    queries = clustered(3)
    np.save(tmp_path / "q.npy", queries * 5)
    found = gallery.search(str(tmp_path / "q.npy"), 20)
    np.testing.assert_allclose(found["score"], gallery.search(queries, 20)["score"], atol=1e-6)
    words = ["gallery", "search", str(tmp_path / "g"), "--query", str(tmp_path / "q.npy")]
    assert main(words) == 0
    assert "3 of 3 queries were not of norm 1 and were normalised" in capsys.readouterr().out


def test_damage_is_found_by_the_check(tmp_path):
    made(tmp_path, clustered(40), part=20)
    path = tmp_path / "g" / "parts" / "00001.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"00001.npy is .*not what was written"):
        check_gallery(Gallery.open(tmp_path / "g"))
    path.write_bytes(content[:-200])
    torn = Gallery.open(tmp_path / "g")
    with pytest.raises(DataError, match=r"00001.npy is missing or not a plain .npy"):
        torn.search(clustered(1))


def test_ids_are_new_once_in_a_list_and_over_lists():
    ids = IdSet()
    assert ids.add(["a", "b", "a"]).tolist() == [True, True, False]
    assert ids.add(["d", "b", "e", "e"]).tolist() == [True, False, True, False]


def test_the_command_builds_and_finds_its_own_picture(tmp_path, capsys):
    source = write_pictures(tmp_path / "p", 6)
    folder, answers, strip = tmp_path / "g", tmp_path / "a.json", tmp_path / "a.png"
    assert main(["gallery", "build", str(source), "--out", str(folder), "--encoder", "zoo"]) == 0
    query = ["gallery", "search", str(folder), "--query", str(source / "sub" / "003.png")]
    more = ["--k", "9", "--json", str(answers), "--pictures", str(strip)]
    assert main([*query, *more]) == 0
    told = capsys.readouterr().out
    assert "k is 9, the gallery has 6" in told
    assert "a scene 3" in told
    answer = json.loads(answers.read_text())["queries"][0]
    assert answer["id"][0] == "sub/003.png"
    assert answer["caption"][0] == "a scene 3"
    assert len(answer["rows"]) == 6
    assert answer["scores"][0] == pytest.approx(1, abs=1e-3)
    assert strip.read_bytes().startswith(b"\x89PNG")
    assert main(["gallery", "check", str(folder)]) == 0
    assert main(["gallery", "info", str(folder)]) == 0
    assert "zoo_clip_pooled" in capsys.readouterr().out
    assert main(["gallery", "info", str(tmp_path)]) == 2
    write_clip_retrieval(tmp_path / "e", [clustered(4)])
    assert main(["gallery", "add", str(folder), str(tmp_path / "e")]) == 2
    assert "width 32" in capsys.readouterr().err


def test_a_second_build_keeps_the_index_that_the_gallery_has(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "e.npy", rng.standard_normal((60, 8)).astype(np.float32))
    first = built(tmp_path / "e.npy", tmp_path / "g", "flat").info
    again = built(tmp_path / "e.npy", tmp_path / "g").info
    assert (again.backend, again.options) == ("faiss", first.options)
