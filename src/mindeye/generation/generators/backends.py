"""Published generators, what each takes and what its U-Net looks like: one table.

Ids, widths and defaults are those of the model cards and of the pipelines in `diffusers` 0.42;
parameter counts and shapes are of the configurations below, which tests build on the meta device.
Not checked against the real files here: no weights were at hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mindeye.generation.generators.base import Space

_SD = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
_SDXL = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_KANDINSKY = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 8,
    "block_out_channels": (384, 768, 1152, 1536),
    "down_block_types": (
        "ResnetDownsampleBlock2D",
        *["SimpleCrossAttnDownBlock2D"] * 3,
    ),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": (*["SimpleCrossAttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"),
    "layers_per_block": 3,
    "cross_attention_dim": 768,
    "attention_head_dim": 64,
    "act_fn": "silu",
    "addition_embed_type": "image",
    "encoder_hid_dim": 1280,
    "encoder_hid_dim_type": "image_proj",
    "resnet_time_scale_shift": "scale_shift",
}
_UNCLIP = {
    "sample_size": 96,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
    "class_embed_type": "projection",
    "projection_class_embeddings_input_dim": 2048,
}


@dataclass(frozen=True)
class Backend:
    """A published generator.

    Parameters
    ----------
    name
        Name of the generator in this package.
    id
        Name in `targets.generator`.
    space
        Embeddings it takes.
    encoder
        The encoder they are of.
    guidance
        The scale its pipeline uses where nothing is said.
    licence
        Licence of the weights, as the model card names it; the run's own record has the last word.
    parameters
        Parameters of the U-Net, in millions; without an adapter's.
    unet
        Configuration of the U-Net.
    """

    name: str
    id: str
    space: Space
    encoder: str
    guidance: float
    licence: str
    parameters: float
    unet: dict[str, Any] = field(default_factory=dict)


BACKENDS: tuple[Backend, ...] = (
    Backend(
        "Versatile Diffusion, image branch", "shi-labs/versatile-diffusion",
        Space(257, 768, "unit"), "openai/clip-vit-large-patch14, tokens=all", 7.5, "MIT",
        859.52, _SD,
    ),
    Backend(
        "SD image variations", "lambdalabs/sd-image-variations-diffusers",
        Space(1, 768, "own"), "openai/clip-vit-large-patch14, tokens=pooled", 7.5,
        "CreativeML OpenRAIL-M", 859.52, _SD,
    ),
    Backend(
        "Kandinsky 2.2 decoder", "kandinsky-community/kandinsky-2-2-decoder",
        Space(1, 1280, "own"), "CLIP ViT-bigG/14 (LAION-2B), tokens=pooled", 4.0, "Apache-2.0",
        1253.06, _KANDINSKY,
    ),
    Backend(
        "IP-Adapter on SD 1.5",
        "ip_adapter:stable-diffusion-v1-5/stable-diffusion-v1-5:"
        "h94/IP-Adapter/models/ip-adapter_sd15.safetensors",
        Space(1, 1024, "own"), "CLIP ViT-H/14 (LAION-2B), tokens=pooled", 7.5,
        "CreativeML OpenRAIL-M (base), Apache-2.0 (adapter)", 859.52, _SD,
    ),
    Backend(
        "IP-Adapter on SDXL",
        "ip_adapter:stabilityai/stable-diffusion-xl-base-1.0:"
        "h94/IP-Adapter/sdxl_models/ip-adapter_sdxl.safetensors",
        Space(1, 1280, "own"), "CLIP ViT-bigG/14 (LAION-2B), tokens=pooled", 5.0,
        "CreativeML OpenRAIL++-M (base), Apache-2.0 (adapter)", 2567.46, _SDXL,
    ),
    Backend(
        "unCLIP", "sd2-community/stable-diffusion-2-1-unclip",
        Space(1, 1024, "own"), "CLIP ViT-H/14 (LAION-2B), tokens=pooled", 10.0,
        "CreativeML OpenRAIL++-M", 870.17, _UNCLIP,
    ),
    Backend(
        "unCLIP, small", "sd2-community/stable-diffusion-2-1-unclip-small",
        Space(1, 768, "own"), "openai/clip-vit-large-patch14, tokens=pooled", 10.0,
        "CreativeML OpenRAIL++-M", 869.52,
        {**_UNCLIP, "projection_class_embeddings_input_dim": 1536},
    ),
    Backend(
        "the zoo", "zoo", Space(65, 64, "unit"), "zoo, tokens=all", 2.0, "as mindeye", 4.2,
    ),
)  # fmt: skip


def fitting(tokens: int, width: int) -> str:
    """Say which generators take embeddings of (K, D)."""
    fit = [f"{b.name} ({b.id})" for b in BACKENDS if b.space.takes(tokens, width)]
    return ", ".join(fit) or "none (targets.generator=none decodes without one)"


def encoders_of(space: Space) -> str:
    """Say which encoders give the embeddings of a space."""
    fit = sorted({b.encoder for b in BACKENDS if b.space.width == space.width
                  and space.tokens in (None, b.space.tokens)})  # fmt: skip
    return "; ".join(fit) or f"any that gives {space}"
