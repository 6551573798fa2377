"""Galleries from Python: in memory, on disk, asked with predictions; mistakes in one line."""

from __future__ import annotations

import doctest
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from made_galleries import clustered, picture, write_pictures

import mindeye
from mindeye.errors import ConfigError, DataError, MindEyeError, UsageError
from mindeye.gallery import gallery as door
from mindeye.retrieval import top_matches


def tokens_of(count: int, seed: int) -> np.ndarray:
    """Predicted or true tokens (count, 3, 8) of no particular norm, with equal rows among them."""
    tokens = np.random.default_rng(seed).standard_normal((count, 3, 8)).astype(np.float32)
    tokens[count // 2 :: 5] = tokens[0]
    return tokens


@pytest.mark.parametrize("kind", ["array", "tensor", "half", "prediction", "gallery"])
def test_retrieve_gives_the_order_ties_and_digits_of_a_runs_stage(kind: str) -> None:
    brain, true = tokens_of(7, 1), tokens_of(40, 2)
    brain[3] = true[0] * 5  # as near to all the equal rows
    ids = [f"s{i}" for i in range(40)]
    brain = brain.astype(np.float16) if kind == "half" else brain
    rows, scores = top_matches(brain, true, 12)
    prediction = {"tensor": torch.from_numpy(brain)}.get(kind, brain)
    if kind == "prediction":
        prediction = SimpleNamespace(retrieval=brain, ids=[f"q{i}" for i in range(7)])
    gallery = mindeye.Gallery.from_embeddings(true, ids) if kind == "gallery" else (true, ids)
    table = mindeye.retrieve(prediction, gallery, k=12)
    assert table["id"].tolist() == [ids[row] for row in rows.flatten().tolist()]
    np.testing.assert_array_equal(table["score"], scores.flatten())
    assert table["rank"].tolist() == list(range(12)) * 7
    names = [f"q{i}" for i in range(7)] if kind == "prediction" else list(range(7))
    assert table["query"].tolist() == np.repeat(names, 12).tolist()
    assert table["id"][3 * 12] == "s0"


def test_a_gallery_on_disk_answers_as_one_in_memory_up_to_float16(tmp_path: Path) -> None:
    vectors, ids = clustered(50), [f"p{i}" for i in range(50)]
    for index in ("exact", "flat"):
        stored = mindeye.Gallery.build(vectors, tmp_path / index, index=index, ids=ids)
        again = mindeye.Gallery.open(str(tmp_path / index))
        assert (len(again), again.ids) == (50, ids)
        queries = clustered(4, seed=3)
        near = mindeye.Gallery.from_embeddings(vectors, ids).search(queries, k=5)
        for gallery in (stored, again):
            found = gallery.search(queries, k=5)
            assert list(found) == ["query", "rank", "id", "score"]
            pd.testing.assert_frame_equal(found, near, atol=1e-3, check_dtype=False)


def test_pictures_in_memory_are_those_of_a_folder(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "p", 4)
    pictures = [picture(i) for i in range(4)]
    ids = [f"{'sub/' if i % 2 else ''}{i:03d}.png" for i in range(4)]
    memory = mindeye.Gallery.build(pictures, ids=ids)
    stored = mindeye.Gallery.build(folder, tmp_path / "g")
    assert sorted(memory.ids) == sorted(stored.ids)
    found = stored.search(folder / "sub" / "003.png", k=4)
    assert found["id"][0] == "sub/003.png"
    query = stored.vectors.take(np.array([stored.ids.index("sub/003.png")]))
    assert memory.search(query, k=1)["id"].tolist() == ["sub/003.png"]
    grown = stored.add(np.stack([picture(9)]), ["nine"])
    assert (len(grown), grown.ids[-1], len(mindeye.Gallery.open(tmp_path / "g"))) == (5, "nine", 5)


def test_mistakes_are_named_in_a_line(tmp_path: Path) -> None:
    vectors = clustered(5)
    gallery = mindeye.Gallery.from_embeddings(vectors, list("abcde"))
    mistakes = {
        "4 ids for 5 rows": (DataError, lambda: door.Gallery.from_embeddings(vectors, "abcd")),
        "'a' is there twice": (DataError, lambda: door.Gallery.from_embeddings(vectors, "aabcd")),
        "made of floats": (DataError, lambda: door.Gallery.from_embeddings([[1, 2]])),
        "k is 0": (UsageError, lambda: gallery.search(vectors, 0)),
        "width 7": (DataError, lambda: mindeye.retrieve(np.ones((2, 7)), gallery)),
        "holds NaN": (DataError, lambda: gallery.search(vectors * np.nan)),
        "queries are floats": (DataError, lambda: gallery.search([1, 2])),
        "needs a folder": (UsageError, lambda: door.Gallery.build(vectors, index="hnsw")),
        "is no source": (DataError, lambda: door.Gallery.build(np.ones(3), tmp_path / "g")),
        "no source": (DataError, lambda: door.Gallery.build(tmp_path / "none")),
        "is no gallery": (DataError, lambda: door.Gallery.open(tmp_path)),
        "no index 'tree'": (
            ConfigError,
            lambda: door.Gallery.build(
                vectors, tmp_path / "g", index=door.IndexConfig("milvus", "tree")
            ),
        ),
        "searched exactly": (UsageError, lambda: gallery.with_options(nprobe=3)),
        "is there twice": (DataError, lambda: gallery.add(vectors[:1], ["a"])),
        "1 ids for 2 predictions": (
            DataError,
            lambda: mindeye.retrieve(SimpleNamespace(retrieval=vectors[:2], ids=["x"]), gallery),
        ),
    }
    for message, (kind, call) in mistakes.items():
        with pytest.raises(MindEyeError, match=message) as caught:
            call()
        assert isinstance(caught.value, kind), message
        assert "\n" not in str(caught.value)


def test_the_examples_of_the_docstrings_run() -> None:
    assert doctest.testmod(door).failed == 0
