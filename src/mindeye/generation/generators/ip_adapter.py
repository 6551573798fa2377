"""IP-Adapters: image embeddings for text-to-image models, `ip_adapter:BASE:ADAPTER_FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mindeye.errors import CheckpointError, ConfigError
from mindeye.generation.generators.base import Space
from mindeye.generation.generators.conditions import ImagePrompt, empty_prompt
from mindeye.weights.pretrained import open_part, quiet

PREFIX = "ip_adapter:"
VAE_SCALE = 8
"""Pixels a latent, of all models that adapters are published for."""


def split_adapter(name: str) -> tuple[str, str]:
    """Split `ip_adapter:BASE:ADAPTER_FILE`.

    Raises
    ------
    ConfigError
        If it is not of that form.
    """
    parts = name.removeprefix(PREFIX).split(":")
    if not name.startswith(PREFIX) or len(parts) != 2 or not all(parts):
        raise ConfigError(f"targets.generator={name}: write ip_adapter:BASE:ADAPTER_FILE")
    return parts[0], parts[1]


def load_adapter(base: Path, adapter: Path) -> tuple[Any, ImagePrompt]:
    """Return the U-Net of a text-to-image folder with an adapter in it, and its condition.

    Raises
    ------
    CheckpointError
        If the base has no U-Net, or the file is no adapter or does not fit the base.
    ConfigError
        If the adapter takes something else than pooled embeddings.
    """
    from diffusers import StableDiffusionPipeline

    tensors = _tensors(adapter)
    unet = open_part("UNet2DConditionModel", base, "unet")
    pipeline = StableDiffusionPipeline(
        vae=None, text_encoder=None, tokenizer=None, unet=unet, scheduler=None,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    quiet()
    try:
        pipeline.load_ip_adapter(tensors, subfolder="", weight_name="", image_encoder_folder=None)
    except (ValueError, RuntimeError, KeyError, IndexError) as error:
        first = str(error).strip().splitlines()[0]
        raise CheckpointError(f"the adapter {adapter} does not fit {base}: {first}") from error
    unet.eval().requires_grad_(False)
    space = Space(1, _width(unet, adapter), "own")
    side = int(unet.config.sample_size) * VAE_SCALE
    ids = (side, side, 0, 0, side, side)
    if unet.config.addition_embed_type != "text_time":
        return unet, ImagePrompt(space, empty_prompt(base, unet))
    return unet, ImagePrompt(space, empty_prompt(base, unet), ids)


def _tensors(adapter: Path) -> dict[str, dict[str, Any]]:
    """Return the adapter's tensors in its two groups."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if adapter.suffix != ".safetensors":
        raise CheckpointError(f"{adapter} is no .safetensors file; pickles are not read")
    groups: dict[str, dict[str, Any]] = {"image_proj": {}, "ip_adapter": {}}
    try:
        for key, value in load_file(adapter).items():
            group, _, rest = key.partition(".")
            if group in groups:
                groups[group][rest] = value.float()
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{adapter} cannot be read ({error}); fetch it again") from error
    if not all(groups.values()):
        raise CheckpointError(f"{adapter} is no IP-Adapter: no image_proj.* and ip_adapter.*")
    return groups


def _width(unet: Any, adapter: Path) -> int:
    """Return D of an adapter of pooled embeddings.

    Adapters named plus and full read the hidden states of the layer before the last, which no
    encoder here gives.
    """
    from diffusers.models.embeddings import ImageProjection

    projection = unet.encoder_hid_proj.image_projection_layers[0]
    if not isinstance(projection, ImageProjection):
        raise ConfigError(
            f"the adapter {adapter.name} takes hidden states of the encoder's layer before the "
            "last, not its embedding; take the plain one (ip-adapter_sd15.safetensors, "
            "ip-adapter_sdxl.safetensors)"
        )
    return int(projection.image_embeds.in_features)
