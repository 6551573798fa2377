"""Second order finds among neighbours of one pooled embedding the picture with the right tokens."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch
from made_galleries import built, picture, write_shard
from PIL import Image

from mindeye.commands.gallery_of_run import lines_of_pictures, retrieved_pictures
from mindeye.data.images import to_images
from mindeye.errors import DataError
from mindeye.gallery.pictures import GAP, PICKED, SIDE, fitted, write_sheet
from mindeye.gallery.second_order import is_without_pictures, ranked, select
from mindeye.targets.encoders import load_encoder

ENCODER = load_encoder("pixels:32:16", device=torch.device("cpu"))
GREYS = np.array([10, 90, 170, 250], dtype=np.uint8)
SEEN = 11


def quarters(order):
    """A picture of four plain quarters; their order changes its tokens and not their mean."""
    grid = GREYS[list(order)].reshape(2, 2, 1)
    return np.kron(grid, np.ones((16, 16, 3), dtype=np.uint8))


PICTURES = np.stack([quarters(order) for order in list(permutations(range(4)))[:16]])


def tokens_of(pictures):
    return ENCODER.encode(to_images(pictures)).numpy()


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def made(folder, pictures=PICTURES):
    """A gallery of the mean tokens of pictures that lie in DIR/p; 3 rows a part."""
    (folder / "p").mkdir(parents=True)
    for i, each in enumerate(pictures):
        Image.fromarray(each).save(folder / "p" / f"{i:02d}.png")
    names = [f"{i:02d}.png" for i in range(len(pictures))]
    np.save(folder / "e.npy", tokens_of(pictures).mean(axis=1))
    table = {"id": [n[:2] for n in names], "where": names}
    pd.DataFrame(table).to_parquet(folder / "e.parquet")
    return built(folder / "e.npy", folder / "g"), folder / "p"


def test_the_picture_seen_is_picked_where_the_first_order_cannot_tell(tmp_path):
    gallery, root = made(tmp_path)
    brain = tokens_of(PICTURES[[SEEN]])
    found = gallery.searcher.search(unit(brain.mean(axis=1)), 16)
    assert np.ptp(found.scores) < 1e-3  # all alike: the first order is that of rounding
    assert found.rows[0, 0] != SEEN
    selection = select(gallery, found.rows, brain, ENCODER, root=root)
    assert found.rows[0, selection.picks[0]] == SEEN
    assert selection.scores[0, selection.picks[0]] == pytest.approx(1, abs=1e-6)
    assert (np.sort(selection.scores[0])[:-1] < 0.99).all()


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_scores_are_cosines_of_flattened_tokens_whatever_the_batch(tmp_path, batch_size):
    gallery, root = made(tmp_path)
    rng = np.random.default_rng(0)
    brain = rng.standard_normal((3, ENCODER.tokens, ENCODER.width)).astype(np.float16)
    rows = np.stack([rng.permutation(16)[:7] for _ in range(3)])
    found = select(gallery, rows, brain, ENCODER, root=root, batch_size=batch_size)
    near, flat = (
        tokens_of(PICTURES).reshape(16, -1).astype(float),
        brain.reshape(3, -1).astype(float),
    )
    lengths = np.linalg.norm(near, axis=1)[rows] * np.linalg.norm(flat, axis=1)[:, None]
    cosines = np.einsum("qd,qkd->qk", flat, near[rows]) / lengths
    np.testing.assert_allclose(found.scores, cosines, atol=1e-5)
    np.testing.assert_array_equal(found.picks, cosines.argmax(axis=1))
    np.testing.assert_array_equal(np.argsort(found.ranks, axis=1), np.argsort(-cosines, axis=1))
    again = select(gallery, rows, brain, ENCODER, root=root, batch_size=batch_size)
    np.testing.assert_array_equal(found.scores, again.scores)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_of_equal_pictures_the_first_order_decides(tmp_path, batch_size):
    twice = np.concatenate([PICTURES[:4], PICTURES[:4]])
    gallery, root = made(tmp_path, twice)
    rows = np.array([[6, 2, 1, 5], [1, 5, 6, 2]])
    brain = tokens_of(PICTURES[[2, 2]])
    found = select(gallery, rows, brain, ENCODER, root=root, batch_size=batch_size)
    assert found.picks.tolist() == [0, 2]
    assert found.ranks.tolist() == [[0, 1, 2, 3], [2, 3, 0, 1]]


def test_ranks_by_hand():
    nothing = -np.inf
    scores = np.array([[0.2, 0.9, 0.5], [0.1, nothing, nothing], [0.3, 0.3 + 1e-8, 0.1]])
    found = ranked(scores.astype(np.float32))
    assert found.ranks.tolist() == [[2, 0, 1], [0, 1, 2], [0, 1, 2]]
    assert found.picks.tolist() == [1, 0, 0]


def test_places_without_an_answer_are_never_picked(tmp_path):
    gallery, root = made(tmp_path)
    rows = np.array([[3, SEEN, -1, -1]])
    found = select(gallery, rows, tokens_of(PICTURES[[SEEN]]), ENCODER, root=root)
    assert found.picks.tolist() == [1]
    assert np.isneginf(found.scores[0, 2:]).all()
    assert found.ranks.tolist() == [[1, 0, 2, 3]]


def test_tokens_of_another_encoder_are_refused_and_both_named(tmp_path):
    gallery, root = made(tmp_path)
    rows = np.zeros((2, 1), dtype=np.int64)
    other = np.ones((2, 257, 768), dtype=np.float32)
    with pytest.raises(DataError, match=rf"\(2, 257, 768\); {ENCODER.id} gives 4 x 256"):
        select(gallery, rows, other, ENCODER, root=root)
    brain = tokens_of(PICTURES[:2])
    brain[1, 2, 3] = np.nan
    with pytest.raises(DataError, match="predicted tokens, row 1: the embedding holds NaN"):
        select(gallery, rows, brain, ENCODER, root=root)


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG torn"])
def test_a_neighbour_whose_picture_is_gone_or_torn_is_named(tmp_path, content):
    gallery, root = made(tmp_path)
    (root / "07.png").unlink()
    if content is not None:
        (root / "07.png").write_bytes(content)
    with pytest.raises(DataError, match=r"row 7 .*\(id '07'\) is missing or not readable: 07.png"):
        select(gallery, np.array([[1, 7]]), tokens_of(PICTURES[:1]), ENCODER, root=root)
    # others are not in its way
    select(gallery, np.array([[1, 6]]), tokens_of(PICTURES[:1]), ENCODER, root=root)


def test_names_in_a_table_lead_nowhere_else(tmp_path):
    Image.fromarray(PICTURES[0]).save(tmp_path / "outside.png")
    (tmp_path / "p").mkdir()
    np.save(tmp_path / "e.npy", tokens_of(PICTURES[:1]).mean(axis=1))
    pd.DataFrame({"id": ["a"], "where": ["../outside.png"]}).to_parquet(tmp_path / "e.parquet")
    gallery = built(tmp_path / "e.npy", tmp_path / "g")
    with pytest.raises(DataError, match="is missing or not readable"):
        select(gallery, np.array([[0]]), tokens_of(PICTURES[:1]), ENCODER, root=tmp_path / "p")


def test_embeddings_alone_are_told_from_pictures_that_have_gone(tmp_path):
    gallery, root = made(tmp_path / "a")
    rows = np.arange(5)
    assert is_without_pictures(gallery, rows)
    assert not is_without_pictures(gallery, rows, root=root)
    source = tmp_path / "a" / "p"
    for path in source.iterdir():  # now beside the embeddings, which is their source
        path.rename(tmp_path / "a" / path.name)
    assert not is_without_pictures(gallery, rows)


def test_retrieved_pictures_have_the_size_of_what_was_seen(tmp_path):
    gallery, root = made(tmp_path)
    rows = np.array([3, 3, 9])
    same = retrieved_pictures(gallery, rows, (32, 32), root)
    np.testing.assert_array_equal(same, PICTURES[rows])
    assert retrieved_pictures(gallery, rows, (20, 40), root).shape == (3, 20, 40, 3)
    with pytest.raises(DataError, match="query 1 has no answer"):
        retrieved_pictures(gallery, np.array([0, -1]), (32, 32), root)
    wide = np.zeros((32, 96, 3), dtype=np.uint8)
    wide[:, 32:64] = 200  # the middle third is what is kept
    assert (fitted(wide, (32, 32)) == 200).all()


def test_the_sheet_frames_the_pick_and_leaves_absent_pictures_grey(tmp_path):
    gallery, root = made(tmp_path)
    (line,) = lines_of_pictures(gallery, np.array([[3, -1, 5]]), root=root)
    assert line[1] is None
    path = tmp_path / "s.png"
    write_sheet(path, [line], picks=[2])
    sheet = np.asarray(Image.open(path))
    framed = (sheet[GAP + SIDE // 2] == PICKED).all(axis=1)
    starts = np.flatnonzero(framed[1:] & ~framed[:-1]) + 1
    # the left and right edges of the third tile
    assert int(starts[0]) == GAP + 2 * (SIDE + GAP)
    assert (sheet[GAP + SIDE // 2, GAP + SIDE + GAP + SIDE // 2] == 230).all()


def test_pictures_come_out_of_many_shards(tmp_path):
    for n in range(5):
        write_shard(tmp_path / "s" / f"{n:05d}.tar", [2 * n, 2 * n + 1])
    gallery = built(tmp_path / "s", tmp_path / "g", encoder="zoo")
    zoo = load_encoder("zoo", device=torch.device("cpu"))
    seen = [picture(n) for n in (9, 0, 7)]
    brain = np.concatenate([zoo.encode(to_images(p[None])).numpy() for p in seen])
    rows = np.tile(np.arange(10), (3, 1))
    found = select(gallery, rows, brain, zoo, batch_size=3)
    assert rows[np.arange(3), found.picks].tolist() == [9, 0, 7]
    same = retrieved_pictures(gallery, np.array([9, 0, 7]), (48, 64), None)
    np.testing.assert_array_equal(same, np.stack(seen))
