"""Full-size models without weights, on the meta device, against the table of shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mindeye.targets.encoders.open_clip import open_clip_tokens
from mindeye.targets.encoders.timm_maps import timm_tokens
from mindeye.targets.encoders.vision import clip_tokens, dino_tokens, siglip_output

SHAPES: dict[str, tuple[int, int, int]] = {
    "openai/clip-vit-large-patch14": (257, 768, 224),
    "open_clip RN50": (50, 1024, 224),
    "open_clip ViT-B-32": (50, 512, 224),
    "open_clip ViT-H-14": (257, 1024, 224),
    "open_clip ViT-bigG-14": (257, 1280, 224),
    "facebook/dinov2-large": (257, 1024, 224),
    "google/siglip2-so400m-patch14-384": (729, 1152, 384),
    "timm convnext_xlarge": (49, 2048, 224),
    "timm tf_efficientnet_lite0": (49, 320, 224),
}
"""Model -> tokens K, width D, side of its pictures."""


def clip() -> tuple[Any, Callable[..., Tensor]]:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        patch_size=14, image_size=224, projection_dim=768,
    )  # fmt: skip
    return CLIPVisionModelWithProjection(config), clip_tokens


def through_open_clip(name: str) -> tuple[Any, Callable[..., Tensor]]:
    import open_clip

    # a model's text tower is not asked for anything; a small one is soon built
    config = {**open_clip.get_model_config(name)}
    config["text_cfg"] = {**config["text_cfg"], "layers": 1}
    return open_clip.CLIP(**config).visual, open_clip_tokens


def dino() -> tuple[Any, Callable[..., Tensor]]:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=518,
        patch_size=14,
    )  # fmt: skip
    return Dinov2Model(config), dino_tokens


def siglip() -> tuple[Any, Callable[..., Tensor]]:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = SiglipVisionConfig(
        hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16,
        image_size=384, patch_size=14,
    )  # fmt: skip
    return SiglipVisionModel(config), lambda m, x: siglip_output(m, x).last_hidden_state


def through_timm(name: str) -> tuple[Any, Callable[..., Tensor]]:
    import timm

    return timm.create_model(name, pretrained=False), timm_tokens


BUILD: dict[str, Callable[[], tuple[Any, Callable[..., Tensor]]]] = {
    "openai/clip-vit-large-patch14": clip,
    "open_clip RN50": lambda: through_open_clip("RN50"),
    "open_clip ViT-B-32": lambda: through_open_clip("ViT-B-32"),
    "open_clip ViT-H-14": lambda: through_open_clip("ViT-H-14"),
    "open_clip ViT-bigG-14": lambda: through_open_clip("ViT-bigG-14"),
    "facebook/dinov2-large": dino,
    "google/siglip2-so400m-patch14-384": siglip,
    "timm convnext_xlarge": lambda: through_timm("convnext_xlarge"),
    "timm tf_efficientnet_lite0": lambda: through_timm("tf_efficientnet_lite0"),
}


def test_the_table_is_tested_as_a_whole() -> None:
    assert set(BUILD) == set(SHAPES)


@pytest.mark.parametrize("name", list(SHAPES))
def test_a_full_size_model_gives_the_shape_of_the_table(name: str) -> None:
    tokens, width, size = SHAPES[name]
    with torch.device("meta"), torch.inference_mode():
        model, tokens_of = BUILD[name]()
        found = tokens_of(model.eval(), torch.empty(2, 3, size, size))
    assert tuple(found.shape) == (2, tokens, width)
