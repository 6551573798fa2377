"""The empty prompt of text-to-image models, or zeros where their text encoders are not at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mindeye.errors import CheckpointError
from mindeye.generation.generators.conditions import Prompt
from mindeye.weights.pretrained import open_part, read_settings

PROMPT_TOKENS = 77
"""Length of CLIP's text, which all of these models were trained on."""


def zero_prompt(unet: Any) -> Prompt:
    """Return zeros in place of an empty prompt."""
    states = torch.zeros(1, PROMPT_TOKENS, int(unet.config.cross_attention_dim))
    if unet.config.addition_embed_type != "text_time":
        return Prompt(states, states)
    ids = 6 * int(unet.config.addition_time_embed_dim)
    pooled = torch.zeros(1, int(unet.config.projection_class_embeddings_input_dim) - ids)
    return Prompt(states, states, pooled, pooled)


def empty_prompt(folder: Path, unet: Any) -> Prompt:
    """Return what the folder's text encoders make of "", or zeros if there are none.

    Raises
    ------
    CheckpointError
        If a text encoder or tokenizer is there but cannot be read.
    """
    if not (folder / "text_encoder" / "config.json").is_file():
        return zero_prompt(unet)
    parts = {"text_encoder": open_part("CLIPTextModel", folder, "text_encoder")}
    parts["tokenizer"] = _tokenizer(folder, "tokenizer")
    if unet.config.addition_embed_type == "text_time":
        return _two_towers(folder, unet, parts)
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        vae=None, unet=unet, scheduler=None, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False, **parts,
    )  # fmt: skip
    with torch.inference_mode():
        given, without = pipeline.encode_prompt("", torch.device("cpu"), 1, True)
    return Prompt(given, without)


def _two_towers(folder: Path, unet: Any, parts: dict[str, Any]) -> Prompt:
    """Return SDXL's empty prompt; its negative half is zeros where its settings say so."""
    from diffusers import StableDiffusionXLPipeline

    parts["text_encoder_2"] = open_part("CLIPTextModelWithProjection", folder, "text_encoder_2")
    parts["tokenizer_2"] = _tokenizer(folder, "tokenizer_2")
    index = read_settings(folder / "model_index.json")
    pipeline = StableDiffusionXLPipeline(
        vae=None, unet=unet, scheduler=None, add_watermarker=False,
        force_zeros_for_empty_prompt=bool(index.get("force_zeros_for_empty_prompt", True)),
        **parts,
    )  # fmt: skip
    with torch.inference_mode():
        given, without, pooled, pooled_without = pipeline.encode_prompt("", device="cpu")
    return Prompt(given, without, pooled, pooled_without)


def _tokenizer(folder: Path, part: str) -> Any:
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(folder, subfolder=part, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / part} holds no CLIP tokenizer: {error}") from error
