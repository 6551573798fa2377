"""Tiny models at random, in the folders that real ones come in."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def wake(model: Any, seed: int = 0) -> Any:
    """Give every weight a size at which the tokens of two pictures differ."""
    rng = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=rng)
    return model.eval()


def natural(count: int, size: int | None = None) -> list[Any]:
    """Return natural pictures of Pillow; skips the test where there are none."""
    from PIL import Image

    path = SHARED / "imagenet_sample_128" / "images.npz"
    if not path.is_file():
        pytest.skip("no natural pictures beside the repository")
    found = np.load(path)
    jpeg, offset = found["jpeg"], found["offset"]
    pictures = [
        Image.open(io.BytesIO(jpeg[offset[i] : offset[i + 1]].tobytes())).convert("RGB")
        for i in range(count)
    ]
    return pictures if size is None else [p.resize((size, size), 3) for p in pictures]


def as_images(pictures: list[Any]) -> torch.Tensor:
    codes = np.stack([np.asarray(p) for p in pictures])
    return torch.from_numpy(codes).permute(0, 3, 1, 2).float() / 255


def clip(folder: Path) -> Any:
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(**LAYERS, image_size=56, patch_size=14, projection_dim=24)
    model = wake(CLIPVisionModelWithProjection(config))
    model.save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}}
    CLIPImageProcessor(**sizes).save_pretrained(folder)
    return model


def dino(folder: Path, registers: int = 0) -> Any:
    from transformers import (
        BitImageProcessor,
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    if registers:
        own = Dinov2WithRegistersConfig(
            **sizes, image_size=70, patch_size=14, num_register_tokens=registers
        )
        model = Dinov2WithRegistersModel(own)
    else:
        model = Dinov2Model(Dinov2Config(**sizes, image_size=70, patch_size=14))
    wake(model).save_pretrained(folder)
    BitImageProcessor(
        size={"shortest_edge": 64},
        crop_size={"height": 56, "width": 56},
        resample=3,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(folder)
    return model


def siglip(folder: Path) -> Any:
    """A whole SigLIP with its text tower, as published; SigLIP 2 of fixed size is this class."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    text = {**LAYERS, "vocab_size": 50, "max_position_embeddings": 8}
    vision = {**LAYERS, "image_size": 48, "patch_size": 16}
    model = wake(SiglipModel(SiglipConfig(text_config=text, vision_config=vision)))
    model.save_pretrained(folder)
    SiglipImageProcessor(size={"height": 48, "width": 48}, resample=2).save_pretrained(folder)
    return model


def naflex(folder: Path) -> Any:
    from transformers import Siglip2Config, Siglip2ImageProcessor, Siglip2Model

    text = {**LAYERS, "vocab_size": 50, "max_position_embeddings": 8}
    vision = {**LAYERS, "num_patches": 16, "patch_size": 8}
    model = wake(Siglip2Model(Siglip2Config(text_config=text, vision_config=vision)))
    model.save_pretrained(folder)
    Siglip2ImageProcessor(patch_size=8, max_num_patches=16).save_pretrained(folder)
    return model


TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
TOWERS: dict[str, dict[str, Any]] = {
    "vit": {"image_size": 56, "layers": 2, "width": 32, "head_width": 16, "patch_size": 14},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
}


def open_clip_model(folder: Path, tower: str = "vit") -> Any:
    import open_clip
    from safetensors.torch import save_file

    config = {"embed_dim": 24, "vision_cfg": TOWERS[tower], "text_cfg": TEXT}
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic"}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    )
    model = wake(open_clip.CLIP(**config))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return model


def timm_model(folder: Path, architecture: str = "convnext_atto", size: int = 64) -> Any:
    import timm
    from timm.models import save_for_hf

    # 8 classes, since a tiny model's config must come along with its weights
    model = timm.create_model(architecture, num_classes=8, pretrained=False)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1
    save_for_hf(
        model.eval(), str(folder), safe_serialization=True,
        data_config={"input_size": (3, size, size)},
    )  # fmt: skip
    return model


FOLDERS: dict[str, Callable[[Path], Any]] = {
    "clip": clip,
    "dinov2": dino,
    "dinov2 with registers": lambda folder: dino(folder, 4),
    "siglip": siglip,
    "siglip2 naflex": naflex,
    "open_clip vit": open_clip_model,
    "open_clip resnet": lambda folder: open_clip_model(folder, "resnet"),
    "timm": timm_model,
}
