"""CLIP through transformers, in the recipe of the published MindEye."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindeye.errors import CheckpointError
from mindeye.targets.encoders.base import Facts, NetworkEncoder
from mindeye.targets.encoders.folders import folder_fingerprint, preprocessing_of
from mindeye.targets.encoders.preprocessing import CLIP_DEVIATION, CLIP_MEAN, Preprocessing
from mindeye.weights.pretrained import open_pretrained


class ClipEncoder(NetworkEncoder):
    """A CLIP vision tower of `transformers`, all tokens of its last hidden layer.

    Tokens go through `post_layernorm` and `visual_projection` and are divided by the norm of the
    class token (published code of MindEye, `Clipper.embed_image`); token 0 is then the pooled,
    unit-norm embedding.

    Parameters
    ----------
    folder
        Local folder that `CLIPVisionModelWithProjection.from_pretrained` reads; safetensors only.
        Without a processor's settings, in it or beside it, those of OpenAI's CLIP are taken.
    name
        Name of the encoder, its `id`.
    device
        Device that the network runs on.
    """

    def __init__(self, folder: Path, name: str, *, device: torch.device) -> None:
        from transformers import CLIPVisionModelWithProjection

        model = open_pretrained(CLIPVisionModelWithProjection, folder)
        config = model.config
        size, width = int(config.image_size), int(config.projection_dim)
        default = Preprocessing(size, CLIP_MEAN, CLIP_DEVIATION, edge=size)
        preprocessing = preprocessing_of(folder, default)
        if preprocessing.size != size:
            raise CheckpointError(
                f"{folder}: its processor gives pictures of {preprocessing.size} pixels, its "
                f"model takes {size}; the two do not belong together"
            )
        tokens = (size // int(config.patch_size)) ** 2 + 1
        fingerprint = folder_fingerprint(folder)
        facts = Facts(name, tokens, width, width, preprocessing, fingerprint)
        super().__init__(model, facts, device=device)

    def _tokens(self, pixels: Tensor) -> Tensor:
        return clip_tokens(self.model, pixels)


def clip_tokens(model: Any, pixels: Tensor) -> Tensor:
    """Return projected tokens (N, K, D), the class token first, of a CLIP vision model."""
    # last_hidden_state is taken before post_layernorm, which transformers gives the class token
    # alone.
    hidden = model.vision_model(pixel_values=pixels).last_hidden_state
    tokens: Tensor = model.visual_projection(model.vision_model.post_layernorm(hidden))
    return tokens
