"""Vision models of transformers: CLIP, DINOv2, SigLIP and SigLIP 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindeye.errors import CheckpointError
from mindeye.targets.encoders.base import (
    Facts,
    NetworkEncoder,
    Normalisation,
    folder_fingerprint,
    unit,
)
from mindeye.targets.encoders.preprocessing import (
    CLIP_DEVIATION,
    CLIP_MEAN,
    INTERPOLATIONS,
    Preprocessing,
    preprocessing_of,
)
from mindeye.weights.pretrained import open_pretrained, read_settings


class DinoEncoder(NetworkEncoder):
    """DINOv2, with registers or without: class token and patches after the last LayerNorm.

    Tokens are divided by the norm of the class token, as those of CLIP. Registers are left out:
    they stand for no place in the picture. Pictures have the size that the processor gives, 224 in
    the published folders, for which the model interpolates its positions of 518.

    Parameters
    ----------
    folder
        Local folder that `Dinov2Model` or `Dinov2WithRegistersModel` reads; safetensors only.
    name
        Name of the encoder, its `id`.
    device
        Device that the network runs on.
    """

    def __init__(self, folder: Path, name: str, *, device: torch.device) -> None:
        from transformers import Dinov2Model, Dinov2WithRegistersModel

        kind = read_settings(folder / "config.json").get("model_type")
        model_class = Dinov2Model if kind == "dinov2" else Dinov2WithRegistersModel
        model = open_pretrained(model_class, folder)
        preprocessing = preprocessing_of(folder)
        patch, width = int(model.config.patch_size), int(model.config.hidden_size)
        if preprocessing.size % patch:
            raise CheckpointError(
                f"{folder}: pictures of {preprocessing.size} pixels do not divide into patches of "
                f"{patch}"
            )
        tokens = (preprocessing.size // patch) ** 2 + 1
        fingerprint = folder_fingerprint(folder, "torchvision")
        facts = Facts(name, tokens, width, width, preprocessing, fingerprint)
        super().__init__(model, facts, device=device)

    def _tokens(self, pixels: Tensor) -> Tensor:
        return dino_tokens(self.model, pixels)


def dino_tokens(model: Any, pixels: Tensor) -> Tensor:
    """Return tokens (N, K, D), the class token first, of a DINOv2 model."""
    hidden: Tensor = model(pixel_values=pixels).last_hidden_state
    registers = int(getattr(model.config, "num_register_tokens", 0))
    if not registers:
        return hidden
    return torch.cat([hidden[:, :1], hidden[:, 1 + registers :]], dim=1)


class SiglipEncoder(NetworkEncoder):
    """SigLIP and SigLIP 2: patches after the last LayerNorm; there is no class token.

    Tokens are divided by the root mean square of their norms. The pooled embedding is what the
    model's attention-pooling head makes of them, at norm 1; it is the space that SigLIP compares
    with texts, while its patches are in another.

    SigLIP 2 of a fixed resolution is published as a model of SigLIP's class; its NaFlex models,
    which take patches of any shape, are given square pictures of as many patches as their table of
    positions holds.

    Parameters
    ----------
    folder
        Local folder that `SiglipVisionModel` or `Siglip2VisionModel` reads; safetensors only.
    name
        Name of the encoder, its `id`.
    device
        Device that the network runs on.
    """

    has_class_token = False
    normalisation: Normalisation = "rms"

    def __init__(self, folder: Path, name: str, *, device: torch.device) -> None:
        from transformers import Siglip2VisionModel, SiglipVisionModel

        kind = str(read_settings(folder / "config.json").get("model_type"))
        flexible = kind.startswith("siglip2")
        model_class = Siglip2VisionModel if flexible else SiglipVisionModel
        model = open_pretrained(model_class, folder)
        config = model.config
        patch, width = int(config.patch_size), int(config.hidden_size)
        size = square_side(config) if flexible else int(config.image_size)
        preprocessing = _flexible(folder, size) if flexible else preprocessing_of(folder)
        if preprocessing.size != size:
            raise CheckpointError(
                f"{folder}: its processor gives pictures of {preprocessing.size} pixels, its "
                f"model takes {size}; the two do not belong together"
            )
        pooled = width if getattr(config, "vision_use_head", True) else 0
        fingerprint = folder_fingerprint(folder, "torchvision")
        facts = Facts(name, (size // patch) ** 2, width, pooled, preprocessing, fingerprint)
        super().__init__(model, facts, device=device)

    def _tokens(self, pixels: Tensor) -> Tensor:
        tokens: Tensor = siglip_output(self.model, pixels).last_hidden_state
        return tokens

    @torch.inference_mode()
    def pool(self, images: Tensor) -> Tensor:
        """Return what the attention-pooling head gives (N, 1, D), at norm 1."""
        return unit(siglip_output(self.model, self._pixels(images)).pooler_output).cpu()


def siglip_output(model: Any, pixels: Tensor) -> Any:
    """Return `last_hidden_state` (N, K, D) and `pooler_output` (N, D) of pixels."""
    if not hasattr(model.config, "num_patches"):
        return model(pixel_values=pixels)
    patch = int(model.config.patch_size)
    side = pixels.shape[-1] // patch
    # (N, C, rows, p, columns, p) to (N, rows * columns, p * p * C), as Siglip2ImageProcessor does
    count = len(pixels)
    patches = pixels.reshape(count, -1, side, patch, side, patch)
    patches = patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
    mask = torch.ones(count, side * side, dtype=torch.int32, device=pixels.device)
    shapes = torch.full((count, 2), side, dtype=torch.long)  # read on the host anyway
    return model(pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shapes)


def square_side(config: Any) -> int:
    """Return the side of the square picture whose patches fill a NaFlex model's positions."""
    return int(int(config.num_patches) ** 0.5) * int(config.patch_size)


def _flexible(folder: Path, size: int) -> Preprocessing:
    """Read what a NaFlex processor says; it names no size."""
    path = folder / "preprocessor_config.json"
    config = read_settings(path)
    try:
        mean, deviation = tuple(config["image_mean"]), tuple(config["image_std"])
        interpolation = INTERPOLATIONS[int(config.get("resample", 2))]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} describes no preprocessing ({error!r})") from error
    return Preprocessing(size, mean, deviation, None, interpolation)


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
