"""Claims about feature networks: named when missing, never replaced, never downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mindeye.errors import CheckpointError, DataError
from mindeye.metrics import features


@pytest.fixture(autouse=True)
def no_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.delenv("MINDEYE_WEIGHTS", raising=False)


def test_networks_not_on_the_machine_are_all_named(tmp_path: Path) -> None:
    found, missing = features.available_extractors(tmp_path)
    assert found == []
    assert [m.metric for m in missing] == [
        "two_way_alexnet2",
        "two_way_alexnet5",
        "two_way_inception_v3",
        "two_way_clip_vit_l14",
        "distance_efficientnet_b1",
        "distance_swav",
    ]
    assert all("not on this machine" in m.why for m in missing)
    assert {m.how for m in missing} == {f"mindeye fetch metrics --out {tmp_path}"}


def test_looking_for_weights_opens_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("tried to connect")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    features.available_extractors(tmp_path)


def test_a_torn_weights_file_is_named_and_not_used(tmp_path: Path) -> None:
    (tmp_path / "alexnet-owt-7be5be79.pth").write_bytes(b"half a download")
    found, missing = features.available_extractors(tmp_path)
    assert found == []
    assert "alexnet-owt-7be5be79.pth" in missing[0].why
    assert "not on this machine" not in missing[0].why


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="AlexNet"):
        features.load_extractor("alexnet2", tmp_path / "x.pth")


@pytest.fixture(scope="module")
def alexnet_state() -> dict[str, Tensor]:
    from torchvision.models import alexnet

    torch.manual_seed(0)
    return alexnet(weights=None).state_dict()


def test_alexnet_layers_are_the_second_and_fifth_after_their_relu(
    tmp_path: Path, alexnet_state: dict[str, Tensor]
) -> None:
    from torchvision.models import alexnet
    from torchvision.models.feature_extraction import create_feature_extractor

    model = alexnet(weights=None).eval()
    model.load_state_dict(alexnet_state)
    save_file(alexnet_state, tmp_path / "alexnet-owt-7be5be79.safetensors")
    images = torch.rand(2, 3, 256, 256)
    mean, std = (
        torch.tensor(x)[:, None, None] for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    nodes = create_feature_extractor(model, ["features.4", "features.11"])
    with torch.no_grad():
        expected = nodes((images - mean) / std)
    found, _ = features.available_extractors(tmp_path)
    assert [one.name for one in found] == ["alexnet2", "alexnet5"]
    for one, node in zip(found, ("features.4", "features.11"), strict=True):
        torch.testing.assert_close(one.extract(images), expected[node].flatten(1))


def test_two_layers_come_from_one_pass_a_batch_and_equal_each_alone(
    tmp_path: Path, alexnet_state: dict[str, Tensor]
) -> None:
    save_file(alexnet_state, tmp_path / "alexnet-owt-7be5be79.safetensors")
    found, _ = features.available_extractors(tmp_path)
    images = torch.rand(33, 3, 40, 40)
    passes = []
    assert isinstance(found[0], features.LayerExtractor)
    found[0].network.module.register_forward_hook(lambda *_: passes.append(1))
    both = {one.name: rows for one, rows in features.extract_all(found, images)}
    assert len(passes) == 2  # 33 pictures in batches of 32
    for one in found:
        assert torch.equal(both[one.name], one.extract(images))
        assert both[one.name].shape[0] == 33
        assert not both[one.name].requires_grad


def test_another_networks_weights_under_the_published_name_are_not_used(
    tmp_path: Path, alexnet_state: dict[str, Tensor]
) -> None:
    path = tmp_path / "alexnet-owt-7be5be79.pth"
    torch.save(alexnet_state, path)
    found, missing = features.available_extractors(tmp_path)
    assert found == []
    assert "not the published file" in missing[0].why
    assert "7be5be79" in missing[1].why
    unverified = features.load_extractor("alexnet2", path, verify=False)
    assert unverified.extract(torch.rand(1, 3, 8, 8)).shape == (1, 192 * 31 * 31)


def test_a_supervised_resnet_is_not_taken_for_swav(tmp_path: Path) -> None:
    from torchvision.models import resnet50

    path = tmp_path / "swav_800ep_pretrain.pth.tar"
    torch.save(resnet50(weights=None).state_dict(), path)
    with pytest.raises(CheckpointError, match=r"supervised ResNet-50"):
        features.load_extractor("swav", path)


@pytest.mark.filterwarnings("ignore:NOTE. The nodes obtained by tracing")
@pytest.mark.parametrize(
    ("name", "builder", "width"),
    [("inception_v3", "inception_v3", 2048), ("efficientnet_b1", "efficientnet_b1", 1280)],
)
def test_pooled_networks_give_the_average_pool(
    tmp_path: Path, name: str, builder: str, width: int
) -> None:
    import torchvision.models
    from torchvision.models.feature_extraction import create_feature_extractor

    torch.manual_seed(0)
    kwargs = {"transform_input": True, "init_weights": False} if "inception" in name else {}
    model = getattr(torchvision.models, builder)(weights=None, **kwargs).eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    network = features.NETWORKS[name]
    images = torch.rand(1, 3, network.size, network.size)
    mean, std = (torch.tensor(x)[:, None, None] for x in network.statistics)
    with torch.no_grad():
        expected = create_feature_extractor(model, ["avgpool"])((images - mean) / std)["avgpool"]
    found = features.load_extractor(name, tmp_path / "w.pth").extract(images)
    torch.testing.assert_close(found, expected.flatten(1))
    assert found.shape == (1, width)


def test_swav_weights_lose_their_prefix_and_heads(tmp_path: Path) -> None:
    from torchvision.models import resnet50

    torch.manual_seed(0)
    model = resnet50(weights=None).eval()
    state = {f"module.{k}": v for k, v in model.state_dict().items() if not k.startswith("fc.")}
    state |= {
        "module.projection_head.0.weight": torch.zeros(1),
        "module.prototypes.weight": state["module.conv1.weight"],
    }
    # as files of 2020 are, before torch wrote zip archives
    path = tmp_path / "swav_800ep_pretrain.pth.tar"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    found, _ = features.available_extractors(tmp_path)
    assert [e.name for e in found] == ["swav"]
    assert found[0].comparison == "distance"
    model.fc = torch.nn.Identity()
    images = torch.rand(2, 3, 224, 224)
    mean, std = (torch.tensor(x)[:, None, None] for x in features.NETWORKS["swav"].statistics)
    with torch.no_grad():
        expected = model((images - mean) / std)
    # channels last adds up in another order; features are of size 6 here
    torch.testing.assert_close(found[0].extract(images), expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def small_clip(tmp_path: Path) -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        image_size=224, patch_size=56, projection_dim=12,
    )  # fmt: skip
    model = CLIPVisionModelWithProjection(config).eval()
    model.save_pretrained(tmp_path / "openai--clip-vit-large-patch14")
    return model


def test_clip_features_are_the_projected_image_embedding(
    tmp_path: Path, small_clip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mindeye.metrics.networks.CLIP_SHAPE", {"hidden_size": 16})
    found, _ = features.available_extractors(tmp_path)
    assert [e.name for e in found] == ["clip_vit_l14"]
    images = torch.rand(2, 3, 224, 224)
    mean, std = (
        torch.tensor(x)[:, None, None] for x in features.NETWORKS["clip_vit_l14"].statistics
    )
    with torch.no_grad():
        expected = small_clip(pixel_values=(images - mean) / std).image_embeds
    torch.testing.assert_close(found[0].extract(images), expected)


def test_a_clip_of_another_size_is_not_taken_for_the_large_one(
    tmp_path: Path, small_clip: Any
) -> None:
    _, missing = features.available_extractors(tmp_path)
    why = next(m.why for m in missing if m.name == "clip_vit_l14")
    assert "no CLIP ViT-L/14: its hidden_size is 16, not 1024" in why


def test_a_clip_that_lacks_a_tensor_is_not_filled_at_random(
    tmp_path: Path, small_clip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mindeye.metrics.networks.CLIP_SHAPE", {"hidden_size": 16})
    path = tmp_path / "openai--clip-vit-large-patch14" / "model.safetensors"
    state = load_file(path)
    del state["visual_projection.weight"]
    save_file(state, path, metadata={"format": "pt"})
    _, missing = features.available_extractors(tmp_path)
    why = next(m.why for m in missing if m.name == "clip_vit_l14")
    assert "missing, such as visual_projection.weight" in why


def test_an_empty_weights_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "alexnet-owt-7be5be79.pth").touch()
    with pytest.raises(CheckpointError, match="not the published file"):
        features.load_extractor("alexnet2", tmp_path / "alexnet-owt-7be5be79.pth")


def test_a_folder_of_weights_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        features.available_extractors(tmp_path / "nowhere")


@pytest.mark.parametrize("share", [0.001, 0.3, 0.99])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torn_files_of_both_formats_are_named(
    tmp_path: Path, alexnet_state: dict[str, Tensor], suffix: str, share: float
) -> None:
    some = {name: x for name, x in alexnet_state.items() if name.startswith("features")}
    path = tmp_path / f"x{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(some, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CheckpointError, match=r"AlexNet|safetensors|plain weights"):
        features.load_extractor("alexnet2", path)


@pytest.mark.parametrize("content", [{"a": 1}, {1: torch.ones(2)}, [1, 2], {"state_dict": {}}])
@pytest.mark.parametrize("name", ["alexnet2", "swav"])
def test_files_of_other_content_are_named(tmp_path: Path, content: Any, name: str) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth"):
        features.load_extractor(name, tmp_path / "x.pth")


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    class Touches:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"features.0.weight": Touches()}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="not a plain weights file"):
        features.load_extractor("alexnet2", tmp_path / "x.pth")
    assert not (tmp_path / "ran").exists()


def test_a_torn_clip_is_named(
    tmp_path: Path, small_clip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "openai--clip-vit-large-patch14"
    for name, count in (("model.safetensors", 500), ("config.json", 20)):
        (folder / name).write_bytes((folder / name).read_bytes()[:count])
        with pytest.raises(CheckpointError, match="no CLIPVisionModelWithProjection"):
            features.load_extractor("clip_vit_l14", folder)


def test_an_unknown_network_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match="alexnet2, alexnet5"):
        features.find_weights("vgg")


def test_an_extractor_works_in_batches_without_changing_features() -> None:
    extractor = features.FunctionExtractor("zoo_clip", lambda x: x.mean(dim=(2, 3)))
    images = torch.rand(70, 3, 4, 4)
    torch.testing.assert_close(extractor.extract(images), images.mean(dim=(2, 3)))
    assert isinstance(extractor, features.FeatureExtractor)
