"""Galleries are built whole: resumed, without repetition, with their texts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from made_galleries import (
    built,
    clustered,
    picture,
    write_clip_retrieval,
    write_pictures,
    write_shard,
)

from mindeye.cli import main
from mindeye.data.images import to_images
from mindeye.errors import ConfigError, DataError, UsageError
from mindeye.gallery.check import check_gallery, describe
from mindeye.gallery.config import IndexConfig, SourceConfig
from mindeye.gallery.faiss_index import FaissSearch
from mindeye.gallery.gallery import Gallery
from mindeye.gallery.store import read_info, write_info
from mindeye.targets.encoders import load_encoder


def digests(folder):
    return [(p.name, p.rows, p.sha256, p.table_sha256) for p in read_info(folder).parts]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_published_embeddings_keep_order_texts_and_directions(tmp_path, dtype):
    files = [clustered(30, seed=i) for i in range(12)]  # file 10 comes after 9, not after 1
    source = write_clip_retrieval(tmp_path / "laion", files, dtype=dtype)
    gallery = built(source, tmp_path / "g", part=20)
    joined = np.concatenate(files)
    assert len(gallery) == len(joined)
    assert [p.rows for p in gallery.info.parts[:2]] == [20, 10]
    np.testing.assert_allclose(gallery.vectors.take(np.arange(len(joined))), joined, atol=1e-3)
    line = gallery.table(np.array([10 * 30 + 7, 0])).iloc[0]
    assert line["id"] == "000100007"
    assert line["caption"] == "caption 000100007"
    assert line["url"] == "http://example.org/000100007.jpg"
    assert check_gallery(Gallery.open(tmp_path / "g"))[-1].startswith("64 of 64")


def test_pictures_of_a_folder_are_embedded_as_the_encoder_does(tmp_path):
    source = write_pictures(tmp_path / "pictures", 10)
    gallery = built(source, tmp_path / "g", encoder="zoo", part=4)
    table = gallery.table(np.arange(10))
    place = table["id"].tolist().index("sub/003.png")
    assert table["caption"][place] == "a scene 3"
    encoder = load_encoder("zoo", device=torch.device("cpu"), tokens="pooled")
    expected = encoder.encode(to_images(picture(3)[None]))[0, 0].numpy()
    np.testing.assert_allclose(gallery.vectors.take(np.array([place]))[0], expected, atol=2e-3)
    np.testing.assert_array_equal(next(gallery.pictures(np.array([place]))), picture(3))


def test_shards_keep_key_caption_and_url_and_are_added_to(tmp_path):
    write_shard(tmp_path / "a" / "00000.tar", range(5))
    write_shard(tmp_path / "b" / "00001.tar", range(4, 8))
    built(tmp_path / "a", tmp_path / "g", encoder="zoo")
    gallery = Gallery.open(tmp_path / "g").add(tmp_path / "b")
    table = gallery.table(np.arange(8))
    assert table["id"].tolist() == [f"{n:09d}" for n in range(8)]
    assert table["caption"][6] == "scene 6"
    assert table["url"][6] == "http://example.org/6"
    assert "1 were left out since their id was there before" in gallery.notes[0]
    np.testing.assert_array_equal(next(gallery.pictures(np.array([6]))), picture(6))


def test_a_shard_that_came_later_is_taken_in_by_the_same_source(tmp_path):
    write_shard(tmp_path / "s" / "00000.tar", range(3))
    built(tmp_path / "s", tmp_path / "g", encoder="zoo")
    write_shard(tmp_path / "s" / "00001.tar", range(3, 5))
    gallery = built(tmp_path / "s", tmp_path / "g", encoder="zoo")
    assert len(gallery) == 5


def test_duplicate_ids_keep_the_first_and_are_counted(tmp_path):
    first, second = clustered(6, seed=1), clustered(6, seed=2)
    keys = [list("abcdea"), list("fbghij")]
    source = write_clip_retrieval(tmp_path / "e", [first, second], keys=keys)
    gallery = built(source, tmp_path / "g")
    table = gallery.table(np.arange(10))
    assert table["id"].tolist() == list("abcde") + list("fghij")
    kept = np.concatenate([first[:5], second[[0, 2, 3, 4, 5]]])
    np.testing.assert_allclose(gallery.vectors.take(np.arange(10)), kept, atol=1e-3)
    assert gallery.notes == ["2 were left out since their id was there before; the first is kept"]


def test_a_second_source_with_the_same_ids_needs_a_prefix_and_is_told_so(tmp_path):
    for name in ("one", "two"):
        write_clip_retrieval(tmp_path / name, [clustered(9, seed=len(name))])
    write_clip_retrieval(tmp_path / "three", [clustered(9, seed=9)])
    built(tmp_path / "one", tmp_path / "g")
    assert "--id-prefix" in Gallery.open(tmp_path / "g").add(tmp_path / "two").notes[-1]
    gallery = Gallery.open(tmp_path / "g").add(
        tmp_path / "three", reading=SourceConfig(id_prefix="three/")
    )
    assert len(gallery) == 18
    assert gallery.notes == []


def test_vectors_of_another_norm_are_told_and_normalised(tmp_path):
    np.save(tmp_path / "e.npy", clustered(8) * np.array([1, 1, 7, 1, 1, 1, 1, 0.2])[:, None])
    gallery = built(tmp_path / "e.npy", tmp_path / "g")
    norms = np.linalg.norm(gallery.vectors.take(np.arange(8)), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-3)
    assert gallery.notes == ["2 vectors were not of norm 1 and were normalised"]
    assert "2 vectors were not of norm 1" in describe(gallery)["notes"]


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_rows_without_a_direction_are_refused_by_number_or_left_out(tmp_path, value):
    vectors = clustered(8)
    vectors[5] = value
    np.save(tmp_path / "e.npy", vectors)
    with pytest.raises(DataError, match="row 5: the embedding"):
        built(tmp_path / "e.npy", tmp_path / "g")
    gallery = built(tmp_path / "e.npy", tmp_path / "h", bad="skip")
    assert len(gallery) == 7
    assert gallery.notes[0].startswith("1 were left out")
    assert gallery.table(np.array([5]))["id"][0] == "e:6"


WORKER = """
import sys, time
from mindeye.gallery import build as module
from mindeye.gallery.config import SourceConfig
from mindeye.gallery.gallery import Gallery
slow = module.write_info
def write_info(folder, info):
    slow(folder, info)
    time.sleep(0.05)
module.write_info = write_info
Gallery.build(sys.argv[1], sys.argv[2], reading=SourceConfig(part=50))
"""


def test_a_build_that_is_killed_goes_on_and_ends_with_the_same_bytes(tmp_path):
    keys = [[f"{i * 7 % 400}" for i in range(f * 300, f * 300 + 300)] for f in range(4)]
    files = [clustered(300, seed=i) for i in range(4)]
    source = write_clip_retrieval(tmp_path / "e", files, keys=keys)
    whole = built(source, tmp_path / "whole", part=50)
    assert len(whole) == 400  # 1200 rows, ids repeat
    cut = tmp_path / "cut"
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(source), str(cut)],
        env={**os.environ, "MINDEYE_PROGRESS": "0"},
    )
    until = time.monotonic() + 60
    while time.monotonic() < until and worker.poll() is None:
        if (cut / "gallery.json").is_file() and len(read_info(cut).parts) >= 3:
            break
        time.sleep(0.01)
    assert worker.poll() is None, "the build was over before it could be killed"
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert 3 <= len(read_info(cut).parts) < 24
    (cut / "parts" / ".00012.npy.x.part.npy").write_bytes(b"half of a part")
    with pytest.raises(DataError, match="was cut off after"):
        Gallery.open(cut)
    resumed = built(source, cut, part=50)
    assert len(resumed) == 400
    assert digests(cut) == digests(tmp_path / "whole")
    names = sorted(p.name for p in (cut / "parts").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "whole" / "parts").iterdir())


def test_a_part_of_which_only_the_vectors_were_written_is_written_anew(tmp_path):
    source = write_clip_retrieval(tmp_path / "e", [clustered(40)])
    built(source, tmp_path / "g", part=10)
    expected = digests(tmp_path / "g")
    info = read_info(tmp_path / "g")
    torn = type(info)(info.space, info.parts[:2], info.backend)
    write_info(tmp_path / "g", torn)
    (tmp_path / "g" / "parts" / "00002.npy").write_bytes(b"torn")
    built(source, tmp_path / "g", part=10)
    assert digests(tmp_path / "g") == expected


def test_another_backend_keeps_the_parts(tmp_path):
    source = write_clip_retrieval(tmp_path / "e", [clustered(40)])
    built(source, tmp_path / "g")
    stamp = (tmp_path / "g" / "parts" / "00000.npy").stat().st_mtime_ns
    gallery = built(source, tmp_path / "g", "flat")
    assert isinstance(gallery.searcher, FaissSearch)
    assert (tmp_path / "g" / "parts" / "00000.npy").stat().st_mtime_ns == stamp


def test_a_source_that_changed_since_is_refused(tmp_path):
    source = write_clip_retrieval(tmp_path / "e", [clustered(40)])
    built(source, tmp_path / "g")
    np.save(source / "img_emb" / "img_emb_0.npy", clustered(40, seed=5).astype(np.float16))
    with pytest.raises(DataError, match="has changed since the build began"):
        built(source, tmp_path / "g")


def test_another_source_is_not_built_over_a_gallery(tmp_path):
    for name in ("one", "two"):
        write_clip_retrieval(tmp_path / name, [clustered(9)])
    built(tmp_path / "one", tmp_path / "g")
    with pytest.raises(DataError, match="gallery add"):
        built(tmp_path / "two", tmp_path / "g")
    with pytest.raises(UsageError, match="not empty"):
        built(tmp_path / "two", tmp_path / "one")


def test_another_width_or_encoder_is_refused_with_both_named(tmp_path):
    source = write_clip_retrieval(tmp_path / "e", [clustered(9)])
    with pytest.raises(DataError, match=r"width 32.*zoo_clip_pooled gives 64"):
        built(source, tmp_path / "g", encoder="zoo")
    built(source, tmp_path / "g", encoder="openai/clip-vit-large-patch14")
    other = write_clip_retrieval(tmp_path / "o", [clustered(9, 16)])
    with pytest.raises(DataError, match=r"width 16.*width 32"):
        Gallery.open(tmp_path / "g").add(other)
    third = write_clip_retrieval(tmp_path / "t", [clustered(9)])
    with pytest.raises(DataError, match=r"ViT-H_pooled.*clip-vit-large-patch14_pooled"):
        Gallery.open(tmp_path / "g").add(third, reading=SourceConfig(encoder="laion/ViT-H"))


def cut(path: Path, share=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def test_truncated_files_are_named(tmp_path):
    source = write_clip_retrieval(tmp_path / "e", [clustered(300), clustered(300, seed=1)])
    cut(source / "metadata" / "metadata_1.parquet")
    with pytest.raises(DataError, match=r"metadata_1.parquet is missing, cut off"):
        built(source, tmp_path / "g")
    cut(source / "img_emb" / "img_emb_1.npy")
    with pytest.raises(DataError, match=r"img_emb_1.npy is missing or not a plain .npy"):
        built(source, tmp_path / "g")


def test_a_truncated_shard_is_named_and_what_came_before_stays(tmp_path):
    write_shard(tmp_path / "s" / "00000.tar", range(3))
    second = write_shard(tmp_path / "s" / "00001.tar", range(3, 6))
    content = second.read_bytes()
    cut(second)
    with pytest.raises(DataError, match=r"00001.tar is .*cut off"):
        built(tmp_path / "s", tmp_path / "g", encoder="zoo")
    assert read_info(tmp_path / "g").count == 3
    second.write_bytes(content)
    assert len(built(tmp_path / "s", tmp_path / "g", encoder="zoo")) == 6


def test_missing_metadata_and_other_row_counts_are_named(tmp_path):
    source = write_clip_retrieval(tmp_path / "e", [clustered(9)])
    table = source / "metadata" / "metadata_0.parquet"
    moved = table.rename(tmp_path / "kept.parquet")
    with pytest.raises(DataError, match=r"img_emb_0.npy has no metadata"):
        built(source, tmp_path / "g")
    other = write_clip_retrieval(tmp_path / "o", [clustered(8)])
    (other / "metadata" / "metadata_0.parquet").rename(table)
    assert moved.is_file()
    with pytest.raises(DataError, match=r"9 vectors.*describes 8"):
        built(source, tmp_path / "g")


def test_empty_sources_are_named(tmp_path, capsys):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        built(tmp_path / "nothing", tmp_path / "g")
    np.save(tmp_path / "none.npy", np.zeros((0, 8), dtype=np.float32))
    with pytest.raises(DataError, match="holds no vectors"):
        built(tmp_path / "none.npy", tmp_path / "g")
    np.save(tmp_path / "nan.npy", np.full((3, 8), np.nan, dtype=np.float32))
    with pytest.raises(DataError, match="left no vector"):
        built(tmp_path / "nan.npy", tmp_path / "h", bad="skip")
    with pytest.raises(DataError, match="there is no source"):
        built(tmp_path / "absent", tmp_path / "g")
    write_pictures(tmp_path / "p", 2)
    assert main(["gallery", "build", str(tmp_path / "p"), "--out", str(tmp_path / "g")]) == 2
    assert "name one with --encoder" in capsys.readouterr().err


def test_a_picture_that_does_not_open_is_named_or_left_out(tmp_path):
    source = write_pictures(tmp_path / "p", 4)
    (source / "000.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"000.png is not a readable image.*--bad skip"):
        built(source, tmp_path / "g", encoder="zoo")
    gallery = built(source, tmp_path / "h", encoder="zoo", bad="skip")
    assert len(gallery) == 3
    assert "1 were left out" in gallery.notes[0]


def test_an_unknown_backend_lists_the_known_ones():
    with pytest.raises(ConfigError, match="exact, faiss, milvus"):
        IndexConfig(backend="annoy")
