"""Bulk embedding without Ray: layout, values, restarts, broken shards and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from bulk_shards import a_picture, a_sample, encoded, write_shard, write_shards

from mindeye.data.images import to_images
from mindeye.errors import ConfigError, DataError, UsageError
from mindeye.gallery.bulk import embed_shards
from mindeye.gallery.config import BulkConfig
from mindeye.gallery.sources import shards_in, square
from mindeye.targets.encoders import load_encoder
from mindeye.targets.encoders.preprocessing import Preprocessing


class Embedded(NamedTuple):
    rows: int
    done: int
    before: int
    lost: int
    left_out: list[str]


ZOO = BulkConfig("zoo", batch_size=4)


def embed(source: Path, out: Path) -> Embedded:
    before, now = embed_shards(source, out, ZOO)
    every = [*before, *now]
    lines = [line for outcome in every for line in outcome.left_out]
    lost = sum(outcome.lost for outcome in every)
    return Embedded(sum(outcome.rows for outcome in every), len(now), len(before), lost, lines)


def content(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def pair(out: Path, number: int) -> tuple[np.ndarray, pd.DataFrame]:
    vectors = np.load(out / "img_emb" / f"img_emb_{number:05d}.npy")
    return vectors, pd.read_parquet(out / "metadata" / f"metadata_{number:05d}.parquet")


def test_every_row_is_the_unit_embedding_of_its_picture(tmp_path: Path) -> None:
    source = write_shards(tmp_path / "shards", 2, 6)
    told = embed(source, tmp_path / "out")
    assert (told.rows, told.done, told.before) == (12, 2, 0)
    encoder = load_encoder("zoo", device=torch.device("cpu"), tokens="pooled")
    for shard in range(2):
        vectors, table = pair(tmp_path / "out", shard)
        assert vectors.dtype == np.float16
        assert list(table.caption) == [f"caption {n}" for n in range(shard * 6, shard * 6 + 6)]
        assert list(table.url)[1] == f"https://x.invalid/{shard * 6 + 1}.png"
        assert table.image_path[0] == f"{shard:05d}.tar/{shard * 6:09d}"
        for row, number in enumerate(range(shard * 6, shard * 6 + 6)):
            image = to_images(a_picture(number, 30 + number % 7, 45 + number % 5)[None])
            alone = encoder.encode(square(image, encoder))[0, 0].numpy()
            np.testing.assert_allclose(vectors[row], alone, atol=1e-3)
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        np.testing.assert_allclose(norms, 1, atol=1e-3)


def test_a_picture_of_any_shape_is_cut_as_the_encoders_own_preprocessing_cuts_it() -> None:
    encoder = load_encoder("zoo", device=torch.device("cpu"))
    image = to_images(a_picture(3, 90, 131)[None])
    alone, squared = encoder.encode(image), encoder.encode(square(image, encoder))
    torch.testing.assert_close(squared, alone, atol=0, rtol=0)


def test_an_encoder_that_cuts_the_middle_out_itself_cuts_the_same() -> None:
    # DINOv2's processor: the shorter side to 256, then 224 out of the middle
    own = Preprocessing(20, (0.0,) * 3, (1.0,) * 3, edge=26)
    encoder = SimpleNamespace(preprocessing=own, size=26)
    for height, width in ((90, 131), (131, 90), (26, 40), (10, 13)):
        image = to_images(a_picture(3, height, width)[None])
        squared = square(image, encoder)
        assert squared.shape == (1, 3, 26, 26)
        torch.testing.assert_close(own.fit(squared), own.fit(image), atol=0, rtol=0)


def test_a_second_call_embeds_only_what_is_missing(tmp_path: Path) -> None:
    source, out = write_shards(tmp_path / "shards", 3, 3), tmp_path / "out"
    embed(source, out)
    first = content(out)
    gone = out / "img_emb" / "img_emb_00001.npy"
    gone.unlink()
    kept = out / "img_emb" / "img_emb_00000.npy"
    stamp = kept.stat().st_mtime_ns
    told = embed(source, out)
    assert (told.done, told.before, told.rows) == (1, 2, 9)
    assert content(out) == first
    assert kept.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("fault", ["rows", "cut table", "other shard"])
def test_a_pair_that_does_not_belong_together_is_made_again(tmp_path: Path, fault: str) -> None:
    source, out = write_shards(tmp_path / "shards", 2, 3), tmp_path / "out"
    embed(source, out)
    first = content(out)
    table = out / "metadata" / "metadata_00000.parquet"
    if fault == "rows":
        vectors = out / "img_emb" / "img_emb_00000.npy"
        np.save(vectors, np.load(vectors)[:2])
    elif fault == "cut table":
        table.write_bytes(table.read_bytes()[:-9])
    else:
        table.write_bytes((out / "metadata" / "metadata_00001.parquet").read_bytes())
    assert embed(source, out).done == 1
    assert content(out) == first


def test_what_a_killed_worker_left_half_written_is_removed(tmp_path: Path) -> None:
    source, out = write_shards(tmp_path / "shards", 1, 3), tmp_path / "out"
    left = out / "img_emb" / ".img_emb_00000.npy.abc.part.npy"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    embed(source, out)
    assert sorted(p.name for p in left.parent.iterdir()) == ["img_emb_00000.npy"]


def test_a_changed_shard_is_embedded_again(tmp_path: Path) -> None:
    source, out = write_shards(tmp_path / "shards", 1, 2), tmp_path / "out"
    embed(source, out)
    write_shard(source / "00000.tar", [a_sample(n) for n in range(9)])
    assert embed(source, out).rows == 9
    assert len(pair(out, 0)[0]) == 9


def test_a_truncated_shard_is_named_at_the_end_and_the_others_are_done(tmp_path: Path) -> None:
    source, out = write_shards(tmp_path / "shards", 3, 3), tmp_path / "out"
    shard = source / "00001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"1 of 3 shards .*00001\.tar .*cut off"):
        embed(source, out)
    names = sorted(p.name for p in (out / "img_emb").iterdir())
    assert names == ["img_emb_00000.npy", "img_emb_00002.npy"]
    shard.write_bytes(whole)
    assert (embed(source, out).done, len(pair(out, 1)[0])) == (1, 3)
    assert list(pair(out, 1)[1].key) == [f"{n:09d}" for n in (3, 4, 5)]


def test_an_unreadable_picture_costs_itself_and_is_told(tmp_path: Path) -> None:
    samples = [
        a_sample(0),
        a_sample(1, png=encoded(a_picture(1))[:60]),
        a_sample(2, png=None),
        a_sample(3, json=b"{"),
        a_sample(4, png=None, jpg=encoded(a_picture(4), "JPEG"), txt=None),
    ]
    write_shard(tmp_path / "shards" / "00000.tar", samples)
    told = embed(tmp_path / "shards", tmp_path / "out")
    assert (told.rows, told.lost) == (2, 3)
    assert [line.split(" of ")[0] for line in told.left_out] == [
        "sample 000000001", "sample 000000002", "sample 000000003"
    ]  # fmt: skip
    vectors, table = pair(tmp_path / "out", 0)
    assert list(table.key) == ["000000000", "000000004"]
    assert list(table.caption) == ["caption 0", "caption 4"]
    assert len(vectors) == 2
    assert len(told.left_out) == told.lost
    # told again by the call that finds them done
    assert embed(tmp_path / "shards", tmp_path / "out").left_out == told.left_out


def test_a_shard_without_any_readable_picture_is_broken(tmp_path: Path) -> None:
    write_shard(tmp_path / "shards" / "a.tar", [a_sample(0, png=b"no picture")])
    with pytest.raises(DataError, match=r"a\.tar has no readable picture"):
        embed(tmp_path / "shards", tmp_path / "out")


def test_shards_keep_their_numbers_when_others_come(tmp_path: Path) -> None:
    source, out = tmp_path / "shards", tmp_path / "out"
    write_shard(source / "b.tar", [a_sample(1)])
    embed(source, out)
    write_shard(source / "a.tar", [a_sample(0)])
    embed(source, out)
    assert [pair(out, n)[1].shard[0] for n in (0, 1)] == ["b.tar", "a.tar"]


def test_shards_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("x10.tar", "x9.tar", "x2.tar"):
        write_shard(tmp_path / name, [a_sample(0)])
    assert [p.name for p in shards_in(tmp_path)] == ["x2.tar", "x9.tar", "x10.tar"]


def test_a_folder_of_another_encoders_embeddings_is_refused_with_both_named(tmp_path: Path) -> None:
    source, out = write_shards(tmp_path / "shards", 1, 2), tmp_path / "out"
    embed(source, out)
    place = out / "bulk.json"
    told = json.loads(place.read_text())
    told["encoder"] |= {"id": "another", "width": 7}
    place.write_text(json.dumps(told))
    with pytest.raises(UsageError, match=r"'another'.*'width': 7.*zoo_clip"):
        embed(source, out)
    place.write_text(place.read_text()[:-20])
    with pytest.raises(DataError, match="damaged"):
        embed(source, out)


def test_bad_calls_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no shards at"):
        embed(tmp_path / "none", tmp_path / "out")
    with pytest.raises(DataError, match="no shards at"):
        embed(tmp_path, tmp_path / "out")
    write_shards(tmp_path, 1, 1)
    with pytest.raises(ConfigError, match="unknown encoder"):
        embed_shards(tmp_path, tmp_path / "out", BulkConfig("nothing"))
    with pytest.raises(ConfigError, match="batch_size"):
        BulkConfig("zoo", batch_size=0)
    with pytest.raises(ConfigError, match="workers"):
        BulkConfig("zoo", workers=-1)
    assert not (tmp_path / "out").exists()
