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
from made_galleries import clustered, picture, write_clip_retrieval, write_pictures, write_shard

from mindeye.data.images import to_images
from mindeye.errors import ConfigError, DataError, UsageError
from mindeye.gallery.build import BuildConfig, add_to_gallery, build_gallery
from mindeye.gallery.check import check_gallery, describe
from mindeye.gallery.faiss_options import FaissOptions
from mindeye.gallery.sources import SourceConfig
from mindeye.gallery.store import open_gallery, read_info
from mindeye.gallery.strip import pictures_of
from mindeye.targets.encoders import load_encoder


def config(**reading):
    return BuildConfig(reading=SourceConfig(**reading))


def digests(folder):
    return [(p.name, p.rows, p.sha256, p.table_sha256) for p in read_info(folder).parts]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_published_embeddings_keep_order_texts_and_directions(tmp_path, dtype):
    files = [clustered(30, seed=i) for i in range(12)]  # file 10 comes after 9, not after 1
    source = write_clip_retrieval(tmp_path / "laion", files, dtype=dtype)
    gallery = build_gallery(source, tmp_path / "g", config(part=20)).gallery
    joined = np.concatenate(files)
    assert len(gallery) == len(joined)
    assert [p.rows for p in gallery.info.parts[:2]] == [20, 10]
    np.testing.assert_allclose(gallery.vectors.take(np.arange(len(joined))), joined, atol=1e-3)
    line = gallery.metadata(np.array([10 * 30 + 7, 0])).iloc[0]
    assert line["id"] == "000100007"
    assert line["caption"] == "caption 000100007"
    assert line["url"] == "http://example.org/000100007.jpg"
    assert check_gallery(open_gallery(tmp_path / "g"))[-1].startswith("64 of 64")


def test_pictures_of_a_folder_are_embedded_as_the_encoder_does(tmp_path):
    source = write_pictures(tmp_path / "pictures", 10)
    gallery = build_gallery(source, tmp_path / "g", config(encoder="zoo", part=4)).gallery
    table = gallery.metadata(np.arange(10))
    place = table["id"].tolist().index("sub/003.png")
    assert table["caption"][place] == "a scene 3"
    encoder = load_encoder("zoo", device=torch.device("cpu"), tokens="pooled")
    expected = encoder.encode(to_images(picture(3)[None]))[0, 0].numpy()
    np.testing.assert_allclose(gallery.vectors.take(np.array([place]))[0], expected, atol=2e-3)
    np.testing.assert_array_equal(pictures_of(gallery, np.array([place]))[0], picture(3))


def test_shards_keep_key_caption_and_url_and_are_added_to(tmp_path):
    write_shard(tmp_path / "a" / "00000.tar", range(5))
    write_shard(tmp_path / "b" / "00001.tar", range(4, 8))
    build_gallery(tmp_path / "a", tmp_path / "g", config(encoder="zoo"))
    built = add_to_gallery(tmp_path / "g", tmp_path / "b", SourceConfig())
    table = built.gallery.metadata(np.arange(8))
    assert table["id"].tolist() == [f"{n:09d}" for n in range(8)]
    assert table["caption"][6] == "scene 6"
    assert table["url"][6] == "http://example.org/6"
    assert "1 were left out since their id was there before" in built.notes[0]
    np.testing.assert_array_equal(pictures_of(built.gallery, np.array([6]))[0], picture(6))


def test_a_shard_that_came_later_is_taken_in_by_the_same_source(tmp_path):
    write_shard(tmp_path / "s" / "00000.tar", range(3))
    build_gallery(tmp_path / "s", tmp_path / "g", config(encoder="zoo"))
    write_shard(tmp_path / "s" / "00001.tar", range(3, 5))
    built = build_gallery(tmp_path / "s", tmp_path / "g", config(encoder="zoo"))
    assert len(built.gallery) == 5


def test_duplicate_ids_keep_the_first_and_are_counted(tmp_path):
    first, second = clustered(6, seed=1), clustered(6, seed=2)
    keys = [list("abcdea"), list("fbghij")]
    source = write_clip_retrieval(tmp_path / "e", [first, second], keys=keys)
    built = build_gallery(source, tmp_path / "g", config())
    table = built.gallery.metadata(np.arange(10))
    assert table["id"].tolist() == list("abcde") + list("fghij")
    kept = np.concatenate([first[:5], second[[0, 2, 3, 4, 5]]])
    np.testing.assert_allclose(built.gallery.vectors.take(np.arange(10)), kept, atol=1e-3)
    assert built.notes == ["2 were left out since their id was there before; the first is kept"]


def test_a_second_source_with_the_same_ids_needs_a_prefix_and_is_told_so(tmp_path):
    for name in ("one", "two"):
        write_clip_retrieval(tmp_path / name, [clustered(9, seed=len(name))])
    write_clip_retrieval(tmp_path / "three", [clustered(9, seed=9)])
    build_gallery(tmp_path / "one", tmp_path / "g", config())
    assert (
        "--id-prefix" in add_to_gallery(tmp_path / "g", tmp_path / "two", SourceConfig()).notes[-1]
    )
    built = add_to_gallery(tmp_path / "g", tmp_path / "three", SourceConfig(id_prefix="three/"))
    assert len(built.gallery) == 18
    assert built.notes == []


def test_vectors_of_another_norm_are_told_and_normalised(tmp_path):
    np.save(tmp_path / "e.npy", clustered(8) * np.array([1, 1, 7, 1, 1, 1, 1, 0.2])[:, None])
    built = build_gallery(tmp_path / "e.npy", tmp_path / "g", config())
    norms = np.linalg.norm(built.gallery.vectors.take(np.arange(8)), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-3)
    assert built.notes == ["2 vectors were not of norm 1 and were normalised"]
    assert "2 vectors were not of norm 1" in describe(built.gallery)["notes"]


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_rows_without_a_direction_are_refused_by_number_or_left_out(tmp_path, value):
    vectors = clustered(8)
    vectors[5] = value
    np.save(tmp_path / "e.npy", vectors)
    with pytest.raises(DataError, match="row 5: the embedding"):
        build_gallery(tmp_path / "e.npy", tmp_path / "g", config())
    built = build_gallery(tmp_path / "e.npy", tmp_path / "h", config(bad="skip"))
    assert len(built.gallery) == 7
    assert built.notes[0].startswith("1 were left out")
    assert built.gallery.metadata(np.array([5]))["id"][0] == "e:6"


WORKER = """
import os, sys, time
from pathlib import Path
from mindeye.gallery import build as module
from mindeye.gallery.sources import SourceConfig
slow = module.write_info
def write_info(folder, info):
    slow(folder, info)
    time.sleep(0.05)
module.write_info = write_info
module.build_gallery(Path(sys.argv[1]), Path(sys.argv[2]), module.BuildConfig(
    reading=SourceConfig(part=50)))
"""


def test_a_build_that_is_killed_goes_on_and_ends_with_the_same_bytes(tmp_path):
    keys = [[f"{i * 7 % 400}" for i in range(f * 300, f * 300 + 300)] for f in range(4)]
    files = [clustered(300, seed=i) for i in range(4)]
    source = write_clip_retrieval(tmp_path / "e", files, keys=keys)
    whole = build_gallery(source, tmp_path / "whole", config(part=50)).gallery
    assert len(whole) == 400  # 1200 rows, ids repeat
    cut = tmp_path / "cut"
    for parts in (3, 11):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(source), str(cut)],
            env={**os.environ, "MINDEYE_PROGRESS": "0"},
        )
        until = time.monotonic() + 60
        while time.monotonic() < until and worker.poll() is None:
            if (cut / "gallery.json").is_file() and len(read_info(cut).parts) >= parts:
                break
            time.sleep(0.01)
        assert worker.poll() is None, "the build was over before it could be killed"
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        assert parts <= len(read_info(cut).parts) < 24
    (cut / "parts" / ".00012.npy.x.part.npy").write_bytes(b"half of a part")
    with pytest.raises(DataError, match="was cut off after"):
        open_gallery(cut)
    resumed = build_gallery(source, cut, config(part=50)).gallery
    assert len(resumed) == 400
    assert digests(cut) == digests(tmp_path / "whole")
    names = sorted(p.name for p in (cut / "parts").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "whole" / "parts").iterdir())


def test_a_part_of_which_only_the_vectors_were_written_is_written_anew(tmp_path):
    source = write_clip_retrieval(tmp_path / "e", [clustered(40)])
    build_gallery(source, tmp_path / "g", config(part=10))
    expected = digests(tmp_path / "g")
    info = read_info(tmp_path / "g")
    from mindeye.gallery.store import write_info

    torn = type(info)(info.space, info.parts[:2], info.backend)
    write_info(tmp_path / "g", torn)
    (tmp_path / "g" / "parts" / "00002.npy").write_bytes(b"torn")
    build_gallery(source, tmp_path / "g", config(part=10))
    assert digests(tmp_path / "g") == expected


def test_another_backend_keeps_the_parts(tmp_path):
    source = write_clip_retrieval(tmp_path / "e", [clustered(40)])
    build_gallery(source, tmp_path / "g", config())
    stamp = (tmp_path / "g" / "parts" / "00000.npy").stat().st_mtime_ns
    faiss = BuildConfig(backend="faiss", faiss=FaissOptions(index="flat"))
    gallery = build_gallery(source, tmp_path / "g", faiss).gallery
    assert gallery.backend().name == "faiss"
    assert (tmp_path / "g" / "parts" / "00000.npy").stat().st_mtime_ns == stamp


def test_a_source_that_changed_since_is_refused(tmp_path):
    source = write_clip_retrieval(tmp_path / "e", [clustered(40)])
    build_gallery(source, tmp_path / "g", config())
    np.save(source / "img_emb" / "img_emb_0.npy", clustered(40, seed=5).astype(np.float16))
    with pytest.raises(DataError, match="has changed since the build began"):
        build_gallery(source, tmp_path / "g", config())


def test_another_source_is_not_built_over_a_gallery(tmp_path):
    for name in ("one", "two"):
        write_clip_retrieval(tmp_path / name, [clustered(9)])
    build_gallery(tmp_path / "one", tmp_path / "g", config())
    with pytest.raises(DataError, match="gallery add"):
        build_gallery(tmp_path / "two", tmp_path / "g", config())
    with pytest.raises(UsageError, match="not empty"):
        build_gallery(tmp_path / "two", tmp_path / "one", config())


def test_another_width_or_encoder_is_refused_with_both_named(tmp_path):
    source = write_clip_retrieval(tmp_path / "e", [clustered(9)])
    with pytest.raises(DataError, match=r"width 32.*zoo_clip_pooled gives 64"):
        build_gallery(source, tmp_path / "g", config(encoder="zoo"))
    build_gallery(source, tmp_path / "g", config(encoder="openai/clip-vit-large-patch14"))
    other = write_clip_retrieval(tmp_path / "o", [clustered(9, 16)])
    with pytest.raises(DataError, match=r"width 16.*width 32"):
        add_to_gallery(tmp_path / "g", other, SourceConfig())
    third = write_clip_retrieval(tmp_path / "t", [clustered(9)])
    with pytest.raises(DataError, match=r"ViT-H_pooled.*clip-vit-large-patch14_pooled"):
        add_to_gallery(tmp_path / "g", third, SourceConfig(encoder="laion/ViT-H"))


def cut(path: Path, share=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def test_truncated_files_are_named(tmp_path):
    source = write_clip_retrieval(tmp_path / "e", [clustered(300), clustered(300, seed=1)])
    cut(source / "metadata" / "metadata_1.parquet")
    with pytest.raises(DataError, match=r"metadata_1.parquet is missing, cut off"):
        build_gallery(source, tmp_path / "g", config())
    cut(source / "img_emb" / "img_emb_1.npy")
    with pytest.raises(DataError, match=r"img_emb_1.npy is missing or not a plain .npy"):
        build_gallery(source, tmp_path / "g", config())


def test_a_truncated_shard_is_named_and_what_came_before_stays(tmp_path):
    write_shard(tmp_path / "s" / "00000.tar", range(3))
    second = write_shard(tmp_path / "s" / "00001.tar", range(3, 6))
    content = second.read_bytes()
    cut(second)
    with pytest.raises(DataError, match=r"00001.tar is .*cut off"):
        build_gallery(tmp_path / "s", tmp_path / "g", config(encoder="zoo"))
    assert read_info(tmp_path / "g").count == 3
    second.write_bytes(content)
    assert len(build_gallery(tmp_path / "s", tmp_path / "g", config(encoder="zoo")).gallery) == 6


def test_missing_metadata_and_other_row_counts_are_named(tmp_path):
    source = write_clip_retrieval(tmp_path / "e", [clustered(9)])
    table = source / "metadata" / "metadata_0.parquet"
    moved = table.rename(tmp_path / "kept.parquet")
    with pytest.raises(DataError, match=r"img_emb_0.npy has no metadata"):
        build_gallery(source, tmp_path / "g", config())
    other = write_clip_retrieval(tmp_path / "o", [clustered(8)])
    (other / "metadata" / "metadata_0.parquet").rename(table)
    assert moved.is_file()
    with pytest.raises(DataError, match=r"9 vectors.*describes 8"):
        build_gallery(source, tmp_path / "g", config())


def test_empty_sources_are_named(tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        build_gallery(tmp_path / "nothing", tmp_path / "g", config())
    np.save(tmp_path / "none.npy", np.zeros((0, 8), dtype=np.float32))
    with pytest.raises(DataError, match="holds no vectors"):
        build_gallery(tmp_path / "none.npy", tmp_path / "g", config())
    np.save(tmp_path / "nan.npy", np.full((3, 8), np.nan, dtype=np.float32))
    with pytest.raises(DataError, match="left no vector"):
        build_gallery(tmp_path / "nan.npy", tmp_path / "h", config(bad="skip"))
    with pytest.raises(DataError, match="there is no source"):
        build_gallery(tmp_path / "absent", tmp_path / "g", config())
    write_pictures(tmp_path / "p", 2)
    with pytest.raises(ConfigError, match="--encoder"):
        build_gallery(tmp_path / "p", tmp_path / "g", config())


def test_a_picture_that_does_not_open_is_named_or_left_out(tmp_path):
    source = write_pictures(tmp_path / "p", 4)
    (source / "000.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"000.png is not a readable image.*--bad skip"):
        build_gallery(source, tmp_path / "g", config(encoder="zoo"))
    built = build_gallery(source, tmp_path / "h", config(encoder="zoo", bad="skip"))
    assert len(built.gallery) == 3
    assert "1 were left out" in built.notes[0]


def test_an_unknown_backend_lists_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match="exact, faiss, milvus"):
        build_gallery(tmp_path, tmp_path / "g", BuildConfig(backend="annoy"))
