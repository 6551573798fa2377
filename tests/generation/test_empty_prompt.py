"""Where a base has text encoders, an IP-Adapter is drawn beside their empty prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_generators as tiny
import torch
from test_generator_backends import SEEDS, config, drawn, generators, loaded, silent
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)


def _texts(folder: Path, *, xl: bool) -> None:
    words = ["a", "b", "a</w>", "b</w>", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77
    )
    torch.manual_seed(12)
    width = 12 if xl else tiny.PROMPT_WIDTH
    settings = CLIPTextConfig(
        vocab_size=6, hidden_size=width, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, projection_dim=12, bos_token_id=4, eos_token_id=5,
    )  # fmt: skip
    CLIPTextModel(settings).save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    if xl:
        CLIPTextModelWithProjection(settings).save_pretrained(folder / "text_encoder_2")
        tokenizer.save_pretrained(folder / "tokenizer_2")


@pytest.mark.parametrize("xl", [False, True])
def test_the_empty_prompt_is_the_pipelines(xl: bool, tmp_path: Path) -> None:
    base = tiny.text_to_image(tmp_path / "base", xl=xl)
    adapter = tiny.adapter(tmp_path / "adapter.safetensors", base)
    encoder, tokens = tiny.Embeds(1, tiny.WIDTH), drawn(1, 1, tiny.WIDTH)
    name = f"ip_adapter:{base}:{adapter}"
    without = loaded(name, encoder, config(scheduler="ddim")).draw(tokens, seeds=SEEDS[:1])
    _texts(base, xl=xl)
    drawer = loaded(name, encoder, config(scheduler="ddim"))
    found = drawer.draw(tokens, seeds=SEEDS[:1])
    assert (found - without).abs().max() > 1e-4

    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    from mindeye.generation.generators.loop import load_scheduler

    parts: dict[str, Any] = {
        "vae": drawer.own.module,  # type: ignore[union-attr]
        "unet": tiny.unet(**(tiny.SDXL if xl else {"cross_attention_dim": 24})),
        "scheduler": load_scheduler(base, "ddim"),
        "text_encoder": CLIPTextModel.from_pretrained(base / "text_encoder"),
        "tokenizer": CLIPTokenizer.from_pretrained(base / "tokenizer"),
    }
    if xl:
        pipeline = StableDiffusionXLPipeline(
            text_encoder_2=CLIPTextModelWithProjection.from_pretrained(base / "text_encoder_2"),
            tokenizer_2=parts["tokenizer"], add_watermarker=False, **parts,
        )  # fmt: skip
    else:
        pipeline = StableDiffusionPipeline(
            safety_checker=None, feature_extractor=None, requires_safety_checker=False, **parts
        )
    silent(pipeline).load_ip_adapter(
        tmp_path, subfolder="", weight_name=adapter.name, image_encoder_folder=None
    )
    wanted = pipeline(
        prompt="", height=64, width=64, guidance_scale=3.0, num_inference_steps=8,
        ip_adapter_image_embeds=[torch.cat([torch.zeros_like(tokens), tokens])],
        generator=generators()[:1], output_type="latent",
    ).images  # fmt: skip
    assert (found - wanted).abs().max() == 0
