"""Folders that are torn, incomplete, unsafe or of another kind are named, and quickly."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from model_folders import FOLDERS, open_clip_model

from mindeye.errors import CheckpointError, ConfigError
from mindeye.targets.encoders import OpenClipEncoder, load_encoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sound")
    made = {}
    for kind in ("clip", "dinov2", "siglip", "open_clip vit", "timm"):
        made[kind] = root / kind.replace(" ", "_")
        FOLDERS[kind](made[kind])
    return made


def weights(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


def cut(folder: Path) -> None:
    path = weights(folder)
    path.write_bytes(path.read_bytes()[:-500])


def pickled(folder: Path) -> None:
    from safetensors.torch import load_file

    path = weights(folder)
    torch.save(load_file(path), folder / "pytorch_model.bin")
    path.unlink()


def seeing(found: dict[str, torch.Tensor]) -> list[str]:
    """Return names of weights, without those of a text tower."""
    return [k for k in sorted(found) if "vis" in k] or sorted(found)


def lacking(folder: Path) -> None:
    """One weight less, which transformers would draw at random without an error."""
    from safetensors.torch import load_file, save_file

    found = load_file(weights(folder))
    found.pop(next(k for k in seeing(found) if "norm" in k or "ln_" in k))
    save_file(found, weights(folder), metadata={"format": "pt"})


def wider(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    found = load_file(weights(folder))
    key = next(k for k in seeing(found) if found[k].ndim == 1)
    found[key] = torch.cat([found[key], found[key]])
    save_file(found, weights(folder), metadata={"format": "pt"})


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "torn": (cut, "a download broke off"),
    "pointer": (
        lambda f: weights(f).write_text("version https://git-lfs.github.com/spec/v1\nsize 3\n"),
        "git-LFS pointer",
    ),
    "pickle": (pickled, "is a pickle, which can run code"),
    "no weights": (lambda f: weights(f).unlink(), "holds no|none of|no model.safetensors"),
    "lacking": (lacking, "missing|does not fit|Missing|holds no"),
    "wider": (wider, "holds no|does not fit"),
}


@pytest.mark.parametrize("kind", ["clip", "dinov2", "siglip", "open_clip vit", "timm"])
@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_of_the_weights_is_named(
    kind: str, fault: str, sound: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sound[kind], folder)
    plant, said = FAULTS[fault]
    plant(folder)
    with pytest.raises(CheckpointError, match=said) as caught:
        load_encoder(str(folder), device=CPU)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["clip", "dinov2", "siglip", "timm"])
@pytest.mark.parametrize("content", ["{", "[]"])
def test_broken_settings_are_named(
    kind: str, content: str, sound: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(sound[kind], folder)
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json (is broken|holds no settings)"):
        load_encoder(str(folder), device=CPU)


def test_a_missing_processor_is_named_unless_it_is_clips(
    sound: dict[str, Path], tmp_path: Path
) -> None:
    for kind in ("clip", "dinov2"):
        shutil.copytree(sound[kind], tmp_path / kind)
        (tmp_path / kind / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no preprocessor_config\.json"):
        load_encoder(str(tmp_path / "dinov2"), device=CPU)
    images = torch.rand(1, 3, 56, 56)
    plain = load_encoder(str(tmp_path / "clip"), device=CPU)
    expected = load_encoder(str(sound["clip"]), device=CPU)
    assert torch.equal(plain.encode(images), expected.encode(images))


def test_an_encoder_inside_a_pipeline_uses_the_processor_beside_it(
    sound: dict[str, Path], tmp_path: Path
) -> None:
    inner, beside = tmp_path / "image_encoder", tmp_path / "feature_extractor"
    shutil.copytree(sound["clip"], inner)
    beside.mkdir()
    processor = json.loads((inner / "preprocessor_config.json").read_text())
    (inner / "preprocessor_config.json").unlink()
    content = {**processor, "image_mean": [0.1, 0.2, 0.3]}
    (beside / "preprocessor_config.json").write_text(json.dumps(content))
    (tmp_path / "model_index.json").write_text('{"_class_name": "SomePipeline"}')
    encoder: Any = load_encoder(str(inner), device=CPU)
    assert encoder.preprocessing.mean == (0.1, 0.2, 0.3)
    with pytest.raises(CheckpointError, match="perhaps its folder image_encoder is meant"):
        load_encoder(str(tmp_path), device=CPU)


def test_another_kind_is_told_with_the_kinds_that_are_known(
    sound: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copy(weights(sound["clip"]), tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match=r"\(bert\); known kinds: clip, .*open_clip, timm"):
        load_encoder(str(tmp_path), device=CPU)


def test_a_folder_for_both_libraries_is_read_by_the_one_whose_weights_are_there(
    sound: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(sound["clip"], tmp_path / "both")
    open_clip_model(tmp_path / "both")
    assert isinstance(load_encoder(str(tmp_path / "both"), device=CPU), OpenClipEncoder)
    (tmp_path / "both" / "open_clip_model.safetensors").unlink()
    assert not isinstance(load_encoder(str(tmp_path / "both"), device=CPU), OpenClipEncoder)


def test_towers_that_do_not_pool_by_a_class_token_are_refused(
    sound: dict[str, Path], tmp_path: Path
) -> None:
    import open_clip
    from safetensors.torch import save_file

    shutil.copytree(sound["open_clip vit"], tmp_path / "m")
    path = tmp_path / "m" / "open_clip_config.json"
    settings = json.loads(path.read_text())
    settings["model_cfg"]["vision_cfg"]["pool_type"] = "avg"
    path.write_text(json.dumps(settings))
    model = open_clip.CLIP(**settings["model_cfg"])
    save_file(model.state_dict(), tmp_path / "m" / "open_clip_model.safetensors")
    with pytest.raises(CheckpointError, match="does not pool by a class token"):
        load_encoder(str(tmp_path / "m"), device=CPU)
    settings["model_cfg"]["text_cfg"]["hf_model_name"] = "xlm-roberta-base"
    path.write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match="look for online"):
        load_encoder(str(tmp_path / "m"), device=CPU)


def test_an_architecture_that_timm_does_not_know_is_named(
    sound: dict[str, Path], tmp_path: Path
) -> None:
    file = weights(sound["timm"])
    with pytest.raises(CheckpointError, match="knows no architecture 'convnext_yotta'"):
        load_encoder(f"timm:convnext_yotta:{file}", device=CPU)
    with pytest.raises(CheckpointError, match="does not fit its architecture"):
        load_encoder(f"timm:convnext_tiny:{file}", device=CPU)
    with pytest.raises(CheckpointError, match="there is no safetensors file"):
        load_encoder(f"timm:convnext_atto:{tmp_path / 'none.safetensors'}", device=CPU)


def test_a_fingerprint_tells_versions_of_the_library_that_decides(
    sound: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import metadata

    for kind, library in (("timm", "timm"), ("open_clip vit", "open_clip_torch")):
        before = load_encoder(str(sound[kind]), device=CPU).fingerprint
        real = metadata.version
        with monkeypatch.context() as patch:
            patch.setattr(
                metadata,
                "version",
                lambda name, real=real, library=library: "0" if name == library else real(name),
            )
            assert load_encoder(str(sound[kind]), device=CPU).fingerprint != before


def test_an_unknown_id_is_told_without_a_network() -> None:
    with pytest.raises(ConfigError, match="unknown encoder 'openai/clip-vit-huge'; known: zoo"):
        load_encoder("openai/clip-vit-huge", device=CPU)
