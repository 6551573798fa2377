"""Tiny random models of the published classes, saved in the published layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionImageVariationPipeline,
    UNet2DConditionModel,
    VQModel,
)
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from mindeye.targets.encoders.base import Encoder, Normalisation

WIDTH, SIDE, PICTURE = 16, 8, 30
KANDINSKY_WIDTH, PROMPT_WIDTH = 20, 24


class Embeds(Encoder):
    """An encoder that gives (K, D) of pictures, at norm 1 or not, by a fixed random map."""

    size, fingerprint, id = 8, "embeds", "embeds"

    def __init__(self, tokens: int, width: int, normalisation: Normalisation = "none") -> None:
        self.tokens, self.width, self.normalisation = tokens, width, normalisation
        self.has_class_token = True
        rng = torch.Generator().manual_seed(7)
        self.map = torch.randn(3, tokens * width, generator=rng) * 3

    def _raw(self, images: Tensor) -> Tensor:
        mixed = (images.mean(dim=(2, 3)) + 0.1) @ self.map
        return mixed.view(-1, self.tokens, self.width)

    def class_norms(self, images: Tensor) -> Tensor | None:
        divided = self.normalisation == "class"
        return self._raw(images)[:, 0].norm(dim=-1) if divided else None

    def encode(self, images: Tensor) -> Tensor:
        raw = self._raw(images)
        if self.normalisation == "class":
            return raw / raw[:, :1].norm(dim=-1, keepdim=True)
        return raw


def unet(**more: Any) -> UNet2DConditionModel:
    torch.manual_seed(3)
    settings: dict[str, Any] = {
        "sample_size": SIDE,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "cross_attention_dim": WIDTH,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    return UNet2DConditionModel(**{**settings, **more}).eval()


def autoencoder(scale: float = 0.18215, seed: int = 4) -> AutoencoderKL:
    """Four levels, so that a latent is 8 pixels as in the published ones."""
    torch.manual_seed(seed)
    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 4), norm_num_groups=2, latent_channels=4, layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=SIDE * 8, scaling_factor=scale,
    ).eval()  # fmt: skip


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
        clip_sample=False, set_alpha_to_one=False,
    )  # fmt: skip


def vision(projection: int = WIDTH) -> CLIPVisionModelWithProjection:
    torch.manual_seed(5)
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            image_size=PICTURE, patch_size=10, projection_dim=projection,
        )
    ).eval()  # fmt: skip


def processor() -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": PICTURE}, crop_size=PICTURE)


def _index(folder: Path, name: str) -> Path:
    (folder / "model_index.json").write_text(json.dumps({"_class_name": name}))
    return folder


def versatile(folder: Path) -> Path:
    """Laid out as the repository of Versatile Diffusion, without its text side."""
    unet().save_pretrained(folder / "image_unet")
    autoencoder().save_pretrained(folder / "vae")
    scheduler().save_pretrained(folder / "scheduler")
    vision().save_pretrained(folder / "image_encoder")
    processor().save_pretrained(folder / "image_feature_extractor")
    processor().save_pretrained(folder / "image_encoder")
    return _index(folder, "VersatileDiffusionPipeline")


def variation(folder: Path) -> Path:
    StableDiffusionImageVariationPipeline(
        vae=autoencoder(), image_encoder=vision(), unet=unet(), scheduler=scheduler(),
        safety_checker=None, feature_extractor=processor(), requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def kandinsky(folder: Path) -> Path:
    unet(
        out_channels=8,
        addition_embed_type="image",
        encoder_hid_dim=KANDINSKY_WIDTH,
        encoder_hid_dim_type="image_proj",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        resnet_time_scale_shift="scale_shift",
    ).save_pretrained(folder / "unet")
    torch.manual_seed(4)  # its spatial normalisation has groups of 32 channels
    VQModel(
        block_out_channels=(32, 32, 32, 32), norm_num_groups=8, latent_channels=4,
        layers_per_block=1, num_vq_embeddings=8, norm_type="spatial", vq_embed_dim=4,
        down_block_types=("DownEncoderBlock2D",) * 3 + ("AttnDownEncoderBlock2D",),
        up_block_types=("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * 3,
    ).save_pretrained(folder / "movq")  # fmt: skip
    DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False,
        variance_type="learned_range", prediction_type="epsilon",
    ).save_pretrained(folder / "scheduler")  # fmt: skip
    return _index(folder, "KandinskyV22Pipeline")


SDXL = {
    "cross_attention_dim": PROMPT_WIDTH,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 12,
}


def text_to_image(folder: Path, *, xl: bool) -> Path:
    """A base without text encoders."""
    more: dict[str, Any] = SDXL if xl else {"cross_attention_dim": PROMPT_WIDTH}
    unet(**more).save_pretrained(folder / "unet")
    autoencoder(0.13025 if xl else 0.18215).save_pretrained(folder / "vae")
    scheduler().save_pretrained(folder / "scheduler")
    return _index(folder, "StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline")


def adapter(path: Path, base: Path, *, plus: bool = False) -> Path:
    """Random adapter weights with the published keys (1, 3, 5 ... are the cross-attentions)."""
    model = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    rng = torch.Generator().manual_seed(6)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng) * 0.3

    tensors = {
        "image_proj.proj.weight": draw(4 * PROMPT_WIDTH, WIDTH),
        "image_proj.proj.bias": draw(4 * PROMPT_WIDTH),
        "image_proj.norm.weight": 1 + draw(PROMPT_WIDTH),
        "image_proj.norm.bias": draw(PROMPT_WIDTH),
    }
    for number, name in enumerate(n for n in model.attn_processors if "attn2" in n):
        block = model.get_submodule(name.removesuffix(".processor"))
        for part in ("k", "v"):
            key = f"ip_adapter.{2 * number + 1}.to_{part}_ip.weight"
            tensors[key] = draw(block.inner_dim, PROMPT_WIDTH)
    save_file(tensors, path)
    return path


def unclip(folder: Path) -> Path:
    unet(
        cross_attention_dim=PROMPT_WIDTH,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * WIDTH,
    ).save_pretrained(folder / "unet")
    autoencoder().save_pretrained(folder / "vae")
    scheduler().save_pretrained(folder / "scheduler")
    normalizer = StableUnCLIPImageNormalizer(embedding_dim=WIDTH)
    rng = torch.Generator().manual_seed(8)
    normalizer.mean.data = torch.randn(1, WIDTH, generator=rng)
    normalizer.std.data = 1 + torch.rand(1, WIDTH, generator=rng)
    normalizer.save_pretrained(folder / "image_normalizer")
    DDPMScheduler(beta_schedule="squaredcos_cap_v2").save_pretrained(
        folder / "image_noising_scheduler"
    )
    return _index(folder, "StableUnCLIPImg2ImgPipeline")
