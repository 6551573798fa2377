"""Weights are found by name without a network; what is not whole is refused by name."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_models import ADAPTER, CLIP, VERSATILE, pickle_bytes, safetensors_bytes, write_model

from mindeye.errors import CheckpointError, ConfigError
from mindeye.weights.find import find_weights
from mindeye.weights.record import record_of
from mindeye.weights.table import MODELS
from mindeye.zoo import zoo_folder

PRIOR = "kandinsky-community/kandinsky-2-2-prior"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("find_weights went online")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("MINDEYE_WEIGHTS", "HF_HUB_CACHE", "HF_HOME", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The root with a whole CLIP in it; returns CLIP's folder."""
    return write_model(tmp_path / CLIP.replace("/", "--"), CLIP)


def refused(name: str, root: Path | None, kind: type[Exception] = CheckpointError) -> str:
    start = time.perf_counter()
    with pytest.raises(kind) as caught:
        find_weights(name, root)
    assert time.perf_counter() - start < 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def licence(path: Path) -> str:
    return record_of(path)["licence"]


def cached(root: Path, identity: str) -> Path:
    """Write a model as the hub's client caches it: blobs, and a snapshot of links to them."""
    plain = write_model(root / "plain", identity)
    top = root / f"models--{identity.replace('/', '--')}"
    snapshot = top / "snapshots" / ("f" * 40)
    for number, file in enumerate(p for p in plain.rglob("*") if p.is_file()):
        blob = top / "blobs" / str(number)
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, blob)
        link = snapshot / file.relative_to(plain)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return top


@pytest.mark.parametrize(
    ("layout", "how"),
    [
        ("ORG--NAME", "argument"),
        ("ORG/NAME", "MINDEYE_WEIGHTS"),
        ("cache by commit", "argument"),
        ("cache by ref", "HF_HUB_CACHE"),
    ],
)
def test_a_hub_id_is_found_in_every_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, how: str
) -> None:
    model = MODELS[CLIP]
    if layout.startswith("ORG"):
        expected = write_model(tmp_path / CLIP.replace("/", layout[3:-4]), CLIP)
    else:
        top = cached(tmp_path, CLIP)
        expected = top / "snapshots" / ("f" * 40)
        if layout == "cache by commit":
            expected = expected.rename(expected.with_name(model.revision))
        else:
            (top / "refs").mkdir()
            (top / "refs" / model.revision).write_text("f" * 40)
    root = tmp_path if how == "argument" else None
    if root is None:
        monkeypatch.setenv(how, str(tmp_path))
    assert find_weights(CLIP, root) == expected


def test_the_argument_goes_before_the_environment(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINDEYE_WEIGHTS", str(tmp_path / "elsewhere"))
    assert find_weights(CLIP, tmp_path) == folder
    assert "elsewhere" in refused(CLIP, None, ConfigError)


def test_another_revision_in_the_cache_is_not_taken_for_ours(tmp_path: Path) -> None:
    cached(tmp_path, CLIP)
    said = refused(CLIP, tmp_path)
    assert MODELS[CLIP].revision in said
    assert "f" * 40 in said


@pytest.mark.parametrize("kind", ["clip", "vae", "generator"])
def test_local_folders_are_returned_as_they_are(kind: str) -> None:
    assert find_weights(str(zoo_folder(kind))) == zoo_folder(kind)


def test_a_part_needs_only_what_lies_in_it(tmp_path: Path) -> None:
    folder = write_model(tmp_path / PRIOR, PRIOR)
    (folder / "image_processor" / "preprocessor_config.json").unlink()
    assert find_weights(f"{PRIOR}/image_encoder", tmp_path) == folder / "image_encoder"
    assert "image_processor/preprocessor_config.json" in refused(PRIOR, tmp_path)
    assert "has no text_encoder" in refused(f"{PRIOR}/text_encoder", tmp_path)


def test_a_single_file_is_found_and_checked(tmp_path: Path) -> None:
    folder = write_model(tmp_path / ADAPTER, ADAPTER)
    name = "sdxl_models/ip-adapter_sdxl.safetensors"
    assert find_weights(f"{ADAPTER}/{name}", tmp_path) == folder / name
    (folder / name).write_bytes(b"")
    assert "is empty" in refused(f"{ADAPTER}/{name}", tmp_path)


def test_an_unknown_id_lists_close_and_known_ones(tmp_path: Path) -> None:
    said = refused("openai/clip-vit-large-patch15", tmp_path, ConfigError)
    assert f"did you mean {CLIP}" in said
    assert all(identity in said for identity in MODELS)
    assert "mindeye fetch models" in said


@pytest.mark.parametrize("name", ["", "no/such", "/no/such/folder", f"{CLIP}/../../secret"])
def test_names_that_are_nothing_are_refused(tmp_path: Path, name: str) -> None:
    refused(name, tmp_path, ConfigError)


def test_a_missing_model_says_how_to_fetch_it(tmp_path: Path) -> None:
    assert f"mindeye fetch models {CLIP} --root" in refused(CLIP, tmp_path)


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def _pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "lacks model.safetensors"),
    "empty": (lambda p: p.write_bytes(b""), "is empty"),
    "torn": (_torn, "a download broke off"),
    "grown": (_grown, "no whole safetensors"),
    "pointer": (_pointer, "git-LFS pointer"),
    "html": (lambda p: p.write_text("<html>not found</html>"), "no whole safetensors"),
    "list for a header": (lambda p: p.write_bytes(b"\2\0\0\0\0\0\0\0[]"), "no whole safetensors"),
}


@pytest.mark.parametrize(
    ("fault", "named"),
    [*((fault, "by its id") for fault in FAULTS), ("missing", "by its folder"),
     ("torn", "by its folder")],
)  # fmt: skip
def test_weights_that_are_not_whole_are_refused(
    folder: Path, tmp_path: Path, fault: str, named: str
) -> None:
    plant, said = FAULTS[fault]
    plant(folder / "model.safetensors")
    if named == "by its folder" and fault == "missing":
        said = "holds no weights"
    assert said in refused(CLIP if named == "by its id" else str(folder), tmp_path)


@pytest.mark.parametrize("content", [None, b""])
def test_settings_that_are_missing_are_named(
    folder: Path, tmp_path: Path, content: bytes | None
) -> None:
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_bytes(content)
    assert "lacks config.json" in refused(CLIP, tmp_path)


@pytest.mark.parametrize("named", ["by its id", "by its folder"])
def test_a_missing_shard_is_named(folder: Path, tmp_path: Path, named: str) -> None:
    name = CLIP if named == "by its id" else str(folder)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    assert "model-00002-of-00002" in refused(name, tmp_path)
    (folder / "model-00002-of-00002.safetensors").write_bytes(safetensors_bytes())
    assert find_weights(name, tmp_path) == folder


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"weight_map": {"a": "../b.safetensors"}}'])
def test_an_index_that_is_none_or_leaves_the_folder_is_refused(
    folder: Path, tmp_path: Path, content: str
) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    assert "model.safetensors.index.json" in refused(CLIP, tmp_path)


def test_a_download_of_its_own_that_broke_off_is_seen(folder: Path) -> None:
    (folder / "model.safetensors.1234.incomplete").write_bytes(b"half")
    assert "broke off" in refused(str(folder), None)


@pytest.mark.parametrize("named", ["by its id", "by its folder"])
def test_pickles_alone_are_refused_unless_allowed(tmp_path: Path, named: str) -> None:
    folder = write_model(tmp_path / VERSATILE, VERSATILE, pickled=True)
    name = VERSATILE if named == "by its id" else str(folder)
    said = refused(name, tmp_path)
    assert ".bin is a pickle" in said
    assert "--allow-pickles" in said
    assert find_weights(name, tmp_path, allow_pickles=True) == folder
    (folder / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        find_weights(name, tmp_path, allow_pickles=True)


def test_pickles_beside_safetensors_do_no_harm(folder: Path, tmp_path: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle_bytes())
    assert find_weights(CLIP, tmp_path) == folder
    assert find_weights(str(folder)) == folder


def test_licences_are_known_of_fetched_cached_and_cloned_models(
    folder: Path, tmp_path: Path
) -> None:
    clip, adapter = MODELS[CLIP].licence, MODELS[ADAPTER].licence
    assert licence(folder / "model.safetensors") == clip
    assert licence(write_model(tmp_path / ADAPTER, ADAPTER) / "models") == adapter
    snapshot = cached(tmp_path / "cache", CLIP) / "snapshots" / ("f" * 40)
    assert record_of(snapshot)["commit"] == "f" * 40
    assert licence(snapshot) == clip
    assert licence(tmp_path) == ""
