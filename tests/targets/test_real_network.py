"""A real pretrained network on natural pictures: EfficientNet-Lite0."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from model_folders import SHARED, as_images, natural

from mindeye.targets.encoders import TimmEncoder, load_encoder

CPU = torch.device("cpu")
FILE = SHARED / "weights" / "efficientnet_lite0_fp16.safetensors"
NAME = f"timm:tf_efficientnet_lite0:{FILE}"
COUNT = 100


@pytest.fixture(scope="module")
def encoder() -> TimmEncoder:
    if not FILE.is_file():
        pytest.skip("no weights beside the repository")
    found = load_encoder(NAME, device=CPU)
    assert isinstance(found, TimmEncoder)
    return found


def test_it_knows_what_it_sees(encoder: TimmEncoder) -> None:
    """Top-1 of about .72 on the whole sample says that weights, pixels and layers are wired."""
    pictures = natural(COUNT)
    with np.load(SHARED / "imagenet_sample_128" / "images.npz") as found:
        labels = torch.from_numpy(found["imagenet_class"][:COUNT].astype(np.int64))
    right = 0
    for first in range(0, COUNT, 20):
        images = as_images(pictures[first : first + 20])
        with torch.inference_mode():
            logits = encoder.model(encoder._pixels(images))
        right += int((logits.argmax(1) == labels[first : first + 20]).sum())
    assert 0.6 <= right / COUNT <= 0.85


def test_its_grid_and_pooled_features_have_the_published_shapes(encoder: TimmEncoder) -> None:
    images = as_images(natural(2))
    assert tuple(encoder.encode(images).shape) == (2, 49, 320)
    assert encoder.mean.flatten().tolist() == pytest.approx([127 / 255] * 3)
    assert encoder.deviation.flatten().tolist() == pytest.approx([128 / 255] * 3)
    pooled = load_encoder(NAME, device=CPU, tokens="pooled")
    assert tuple(pooled.encode(images).shape) == (2, 1, 1280)


def test_a_folder_as_timm_writes_it_gives_the_same_grid(
    encoder: TimmEncoder, tmp_path: Path
) -> None:
    from timm.models import save_for_hf

    save_for_hf(encoder.model, str(tmp_path), safe_serialization=True)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["pretrained_cfg"] |= {"mean": [127 / 255] * 3, "std": [128 / 255] * 3}
    path.write_text(json.dumps(config))
    images = as_images(natural(2))
    again = load_encoder(str(tmp_path), device=CPU)
    torch.testing.assert_close(again.encode(images), encoder.encode(images))
