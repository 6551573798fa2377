"""Models are fetched from a hub on this machine by the hub's real client, with faults."""

from __future__ import annotations

import pickle
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import COMMIT, SmallHub, serving
from huggingface_hub import constants
from safetensors.torch import load_file
from small_models import ADAPTER, CLIP, STATE, VERSATILE, files_of, pickle_bytes

from mindeye.errors import CheckpointError, ConfigError, MindEyeError, UsageError
from mindeye.files import read_json
from mindeye.weights.fetch import FetchModelsConfig, fetch_models
from mindeye.weights.find import find_weights
from mindeye.weights.hub import HubError
from mindeye.weights.record import record_of
from mindeye.weights.table import MODELS

SOON = 2.0
"""Seconds within which an error has to be named."""


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def hub() -> Iterator[SmallHub]:
    commits = {model.revision for model in MODELS.values()}
    small = SmallHub({CLIP: files_of(CLIP)}, revisions=("main", COMMIT, *commits))
    with serving(small):
        yield small


def fetch(hub: SmallHub, root: Path, *names: str, **options: object) -> list[str]:
    lines: list[str] = []
    given = {"endpoint": hub.address, **options}
    fetch_models(names, FetchModelsConfig(root, **given), tell=lines.append)  # type: ignore[arg-type]
    return lines


def refused(hub: SmallHub, root: Path, *names: str, **options: object) -> str:
    start = time.perf_counter()
    with pytest.raises(MindEyeError) as caught:
        fetch(hub, root, *names, **options)
    assert time.perf_counter() - start < SOON
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_was_fetched_is_found_offline_with_licence_and_commit(
    hub: SmallHub, tmp_path: Path
) -> None:
    lines = fetch(hub, tmp_path, CLIP)
    found = find_weights(CLIP, tmp_path)
    for name, content in files_of(CLIP).items():
        assert (found / name).read_bytes() == content
    assert record_of(found / "model.safetensors") == {
        "id": CLIP, "revision": MODELS[CLIP].revision, "commit": COMMIT, "licence": "mit",
    }  # fmt: skip
    assert record_of(found)["licence"] == "mit"
    assert "about 1.71 GB" in lines[0]
    assert MODELS[CLIP].revision in lines[0]
    assert MODELS[CLIP].licence in lines[1]


def test_the_revision_of_the_table_is_what_is_asked_for(hub: SmallHub, tmp_path: Path) -> None:
    fetch(hub, tmp_path, CLIP)
    assert hub.requests[0][1] == f"/api/models/{CLIP}/revision/{MODELS[CLIP].revision}"
    fetch(hub, tmp_path / "other", CLIP, revision="main")
    asked = [url for _, url, _ in hub.requests if url.startswith("/api")]
    assert asked[1].endswith("/revision/main")


def test_nothing_but_what_the_table_names_is_downloaded(hub: SmallHub, tmp_path: Path) -> None:
    hub.models[CLIP] |= {"pytorch_model.bin": b"x", "tf_model.h5": b"x", "../evil.json": b"x"}
    fetch(hub, tmp_path / "root", CLIP)
    written = {p.name for p in tmp_path.rglob("*") if p.is_file() and ".cache" not in p.parts}
    assert written == {*files_of(CLIP), "mindeye_model.json"}


def test_a_second_call_asks_the_hub_for_nothing(hub: SmallHub, tmp_path: Path) -> None:
    fetch(hub, tmp_path, CLIP)
    before = len(hub.requests)
    assert f"{CLIP} is here already" in fetch(hub, tmp_path, CLIP)
    assert len(hub.requests) == before


def test_a_dry_run_needs_no_hub(tmp_path: Path) -> None:
    lines: list[str] = []
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        config = FetchModelsConfig(tmp_path / "root", dry_run=True, endpoint=address)
        assert fetch_models([VERSATILE], config, tell=lines.append) == []
    assert not (tmp_path / "root").exists()
    assert "about 4.99 GB" in lines[0]
    assert any("--allow-pickles" in line for line in lines)


def test_a_part_is_fetched_alone_and_others_beside_it_later(hub: SmallHub, tmp_path: Path) -> None:
    hub.models[ADAPTER] = files_of(ADAPTER)
    part = f"{ADAPTER}/sdxl_models/image_encoder"
    fetch(hub, tmp_path, part)
    assert find_weights(part, tmp_path).name == "image_encoder"
    with pytest.raises(CheckpointError, match=r"ip-adapter_sd15\.safetensors"):
        find_weights(ADAPTER, tmp_path)
    fetch(hub, tmp_path, ADAPTER)
    find_weights(ADAPTER, tmp_path)
    asked = hub.asked_for("sdxl_models/image_encoder/model.safetensors")
    assert [method for method, _ in asked].count("GET") == 1


def test_an_adapter_brings_its_base(hub: SmallHub, tmp_path: Path) -> None:
    base = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    hub.models |= {ADAPTER: files_of(ADAPTER), base: files_of(base)}
    fetch(hub, tmp_path, f"{ADAPTER}/models/ip-adapter_sd15.safetensors")
    assert find_weights(base, tmp_path).is_dir()
    assert find_weights(f"{ADAPTER}/models/ip-adapter_sd15.safetensors", tmp_path).is_file()


def test_weights_in_shards_are_fetched_with_all_of_them(hub: SmallHub, tmp_path: Path) -> None:
    whole = hub.models[CLIP].pop("model.safetensors")
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = b'{"weight_map": {"a": "%b", "b": "%b"}}' % tuple(s.encode() for s in shards)
    hub.models[CLIP] |= {"model.safetensors.index.json": index, shards[0]: whole, shards[1]: whole}
    fetch(hub, tmp_path, CLIP)
    found = find_weights(CLIP, tmp_path)
    (found / shards[1]).unlink()
    with pytest.raises(CheckpointError, match=shards[1]):
        find_weights(CLIP, tmp_path)


def test_a_transfer_that_breaks_off_goes_on_where_it_was(
    hub: SmallHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What has not filled a block of 10 MB is not kept.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1)
    hub.cut["model.safetensors"] = 1
    fetch(hub, tmp_path, CLIP)
    half = len(files_of(CLIP)["model.safetensors"]) // 2
    gets = [rng for method, rng in hub.asked_for("model.safetensors") if method == "GET"]
    assert gets == ["", f"bytes={half}-"]
    find_weights(CLIP, tmp_path)


def test_an_interrupted_call_is_resumed_with_what_is_missing(hub: SmallHub, tmp_path: Path) -> None:
    hub.lost = {"config.json"}
    assert "lacks a file" in refused(hub, tmp_path, CLIP)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        find_weights(CLIP, tmp_path)
    hub.lost = set()
    before = len(hub.asked_for("model.safetensors"))
    fetch(hub, tmp_path, CLIP)
    again = hub.asked_for("model.safetensors")[before:]
    assert not [method for method, _ in again if method == "GET"]
    find_weights(CLIP, tmp_path)


def test_bytes_that_are_not_what_was_announced_are_refused(hub: SmallHub, tmp_path: Path) -> None:
    hub.altered = {"model.safetensors"}
    assert "not the" in refused(hub, tmp_path, CLIP)
    assert not list(tmp_path.rglob("model.safetensors"))


def test_a_deleted_model_is_named(hub: SmallHub, tmp_path: Path) -> None:
    said = refused(hub, tmp_path, "facebook/dinov2-large")
    assert "facebook/dinov2-large is not at" in said
    assert "--endpoint" in said


def test_a_gated_model_says_where_to_accept_its_terms(hub: SmallHub, tmp_path: Path) -> None:
    hub.gated = True
    said = refused(hub, tmp_path, CLIP)
    assert "is gated" in said
    assert "HF_TOKEN" in said


def test_a_wrong_revision_is_named(hub: SmallHub, tmp_path: Path) -> None:
    assert "no revision 'v9'" in refused(hub, tmp_path, CLIP, revision="v9")


def test_a_revision_is_for_one_model(hub: SmallHub, tmp_path: Path) -> None:
    said = refused(hub, tmp_path, CLIP, "facebook/dinov2-large", revision="main")
    assert "these are 2" in said
    assert not hub.requests


def test_no_network_is_named(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gone = SmallHub(address=f"http://127.0.0.1:{nobody.getsockname()[1]}")
        assert "no connection" in refused(gone, tmp_path, CLIP)


def test_a_server_that_says_nothing_is_given_up(hub: SmallHub, tmp_path: Path) -> None:
    hub.silent = 4.0
    assert "did not answer within 1 s" in refused(hub, tmp_path, CLIP, timeout=1)


def test_a_server_in_trouble_is_named(hub: SmallHub, tmp_path: Path) -> None:
    hub.status = 503
    assert "answered 503" in refused(hub, tmp_path, CLIP)


def test_the_hub_switched_off_is_named(
    hub: SmallHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(hub, tmp_path, CLIP)


def test_what_does_not_fit_the_disk_is_refused_first(hub: SmallHub, tmp_path: Path) -> None:
    hub.announced["model.safetensors"] = 10**16
    said = refused(hub, tmp_path, CLIP)
    assert "free but" in said
    assert not hub.asked_for("config.json")


def test_a_root_that_is_a_file_is_refused(hub: SmallHub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "no folder" in refused(hub, tmp_path / "file", CLIP)


def test_an_unknown_name_lists_the_close_ones(hub: SmallHub, tmp_path: Path) -> None:
    said = refused(hub, tmp_path, "openai/clip-vit-large-patch")
    assert f"did you mean {CLIP}" in said
    with pytest.raises(ConfigError, match="no preset 'mindey'"):
        fetch(hub, tmp_path, "mindey")
    with pytest.raises(UsageError, match="no model to fetch"):
        fetch(hub, tmp_path, "demo")


def test_pickles_are_refused_before_anything_is_downloaded(hub: SmallHub, tmp_path: Path) -> None:
    hub.models[VERSATILE] = files_of(VERSATILE, pickled=True)
    said = refused(hub, tmp_path, CLIP, VERSATILE)
    assert "image_unet/diffusion_pytorch_model.bin" in said
    assert "--allow-pickles" in said
    assert not list(tmp_path.rglob("*.safetensors"))


def test_allowed_pickles_become_safetensors_and_go(hub: SmallHub, tmp_path: Path) -> None:
    hub.models[VERSATILE] = files_of(VERSATILE, pickled=True)
    fetch(hub, tmp_path, VERSATILE, allow_pickles=True)
    found = find_weights(VERSATILE, tmp_path)
    state = load_file(found / "image_encoder" / "model.safetensors")
    assert state.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor)
    assert not list(found.rglob("*.bin"))
    assert f"{VERSATILE} is here already" in fetch(hub, tmp_path, VERSATILE)


def test_rewritten_pickles_are_not_downloaded_again_after_an_interruption(
    hub: SmallHub, tmp_path: Path
) -> None:
    hub.models[VERSATILE] = files_of(VERSATILE, pickled=True)
    hub.lost = {"vae/diffusion_pytorch_model.bin"}
    refused(hub, tmp_path, VERSATILE, allow_pickles=True)
    hub.lost = set()
    fetch(hub, tmp_path, VERSATILE, allow_pickles=True)
    find_weights(VERSATILE, tmp_path)
    asked = hub.asked_for("image_unet/diffusion_pytorch_model.bin")
    assert [method for method, _ in asked].count("GET") == 1


def test_safetensors_are_preferred_where_both_are_there(hub: SmallHub, tmp_path: Path) -> None:
    hub.models[VERSATILE] = files_of(VERSATILE, pickled=True) | files_of(VERSATILE)
    fetch(hub, tmp_path, VERSATILE, allow_pickles=True)
    assert not [url for _, url, _ in hub.requests if url.endswith(".bin")]


class Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.mkdir, (self.path,)  # type: ignore[return-value]


@pytest.mark.parametrize("protocol", ["torch", "plain"])
def test_code_in_a_pickle_is_not_run(hub: SmallHub, tmp_path: Path, protocol: str) -> None:
    planted = {"a": Planted(tmp_path / "ran")}
    content = pickle_bytes(planted) if protocol == "torch" else pickle.dumps(planted)
    files = files_of(VERSATILE, pickled=True)
    hub.models[VERSATILE] = files | {"image_unet/diffusion_pytorch_model.bin": content}
    said = refused(hub, tmp_path / "root", VERSATILE, allow_pickles=True)
    assert "no plain file of tensors" in said
    assert not (tmp_path / "ran").exists()


def test_a_setting_that_the_revision_lacks_is_told_and_excused(
    hub: SmallHub, tmp_path: Path
) -> None:
    del hub.models[CLIP]["preprocessor_config.json"]
    lines = fetch(hub, tmp_path, CLIP)
    assert any("has no preprocessor_config.json" in line for line in lines)
    found = find_weights(CLIP, tmp_path)
    assert read_json(found / "mindeye_model.json")["absent"] == ["preprocessor_config.json"]


def test_errors_of_the_hub_are_of_one_kind(hub: SmallHub, tmp_path: Path) -> None:
    hub.gated = True
    with pytest.raises(HubError):
        fetch(hub, tmp_path, CLIP)


def test_the_users_token_goes_to_no_mirror(
    hub: SmallHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(hub, tmp_path / "mirror", CLIP)
    assert set(hub.tokens) == {None}
    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    fetch(hub, tmp_path / "hub", CLIP)
    assert "Bearer hf_secret" in hub.tokens
