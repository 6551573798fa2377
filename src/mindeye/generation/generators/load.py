"""Generators by their config name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindeye.config import ReconstructConfig
from mindeye.errors import ConfigError
from mindeye.generation.generators.backends import BACKENDS, encoders_of, fitting
from mindeye.generation.generators.base import Generator, Space
from mindeye.generation.generators.conditions import Condition, CrossAttention
from mindeye.generation.generators.ip_adapter import PREFIX, load_adapter, split_adapter
from mindeye.generation.generators.kinds import Kind, Request, kind_of, own_norms
from mindeye.generation.generators.latent import LatentGenerator
from mindeye.generation.generators.own_vae import OwnAutoencoder
from mindeye.generation.generators.pixels import PixelGenerator
from mindeye.generation.generators.schedulers import load_scheduler
from mindeye.targets.autoencoders import Autoencoder
from mindeye.targets.encoders import Encoder, PixelEncoder
from mindeye.weights.pretrained import open_part
from mindeye.zoo import zoo_folder


def load_generator(
    name: str,
    encoder: Encoder,
    vae: Autoencoder,
    *,
    config: ReconstructConfig,
    device: torch.device,
    weights: Path | None = None,
    pictures: Tensor | None = None,
) -> Generator | None:
    """Return a generator by its config name, None for ``none``.

    Parameters
    ----------
    name
        ``zoo``, ``pixels``, ``none``, ``ip_adapter:BASE:ADAPTER_FILE``, a local folder or a hub id.
    encoder
        The run's, whose embeddings it must take.
    vae
        The run's, whose latents it starts from.
    config
        How pictures are drawn.
    device
        Device that the generator runs on.
    weights
        Folder in which hub ids are looked up.
    pictures
        Some training pictures (N, 3, H, W), by which the usual norm of the encoder's own embeddings
        is measured where the generator takes them at it and `reconstruct.norm` says nothing.

    Raises
    ------
    ConfigError
        If the name is unknown or the generator does not take the encoder's embeddings.
    CheckpointError
        If its files are missing, torn or pickles.
    """
    if name == "none":
        return None
    if name == "pixels":
        if not isinstance(encoder, PixelEncoder):
            raise ConfigError(
                f"the generator pixels does not take embeddings of {encoder.id}; encoders that "
                f"fit: pixels:SIZE:PATCH; generators that fit: "
                f"{fitting(encoder.tokens, encoder.width)}"
            )
        return PixelGenerator(encoder)
    folder, kind, unet, condition = _parts(name, encoder, config, weights)
    _refuse_misfit(name, condition.space, encoder)
    config = _with_norm(name, condition.space, encoder, config, pictures)
    own = None
    if kind.vae is not None:
        side = int(unet.config.sample_size)
        own = OwnAutoencoder(folder, kind.vae, side=side, device=device)
    scheduler = load_scheduler(folder, config.scheduler)
    return LatentGenerator(
        unet, scheduler, condition, vae=vae, own=own, config=config, device=device
    )


def _parts(
    name: str, encoder: Encoder, config: ReconstructConfig, weights: Path | None
) -> tuple[Path, Kind, Any, Condition]:
    """Return folder, kind, U-Net and condition of a latent generator."""
    if name.startswith(PREFIX):
        base, adapter = (_local(part, weights) for part in split_adapter(name))
        unet, prompted = load_adapter(base, adapter)
        return base, Kind("unet", "vae", lambda request, made: prompted), unet, prompted
    folder = zoo_folder("generator") if name == "zoo" else _local(name, weights)
    kind = kind_of(folder)
    unet = open_part("UNet2DConditionModel", folder, kind.unet)
    condition = kind.condition(Request(folder, encoder, config), unet)
    if name == "zoo":
        condition = CrossAttention(next(b.space for b in BACKENDS if b.id == "zoo"))
    return folder, kind, unet, condition


def _local(name: str, weights: Path | None) -> Path:
    """Return the folder or file of a name, without any network."""
    from mindeye.weights.find import find_weights

    try:
        return find_weights(name, weights)
    except ConfigError as error:
        raise ConfigError(
            f"unknown generator {name!r}; known: zoo, pixels, none, ip_adapter:BASE:ADAPTER_FILE, "
            f"a local folder or a hub id: {error}"
        ) from error


def _refuse_misfit(name: str, space: Space, encoder: Encoder) -> None:
    if space.takes(encoder.tokens, encoder.width):
        return
    raise ConfigError(
        f"the generator {name} takes embeddings of {space}, the encoder {encoder.id} gives "
        f"{encoder.tokens} x {encoder.width}. Encoders that fit the generator: "
        f"{encoders_of(space)}. Generators that fit the encoder: "
        f"{fitting(encoder.tokens, encoder.width)}"
    )


def _with_norm(
    name: str, space: Space, encoder: Encoder, config: ReconstructConfig, pictures: Tensor | None
) -> ReconstructConfig:
    """Set the norm that embeddings of norm 1 are drawn at, for a generator that takes their own.

    Raises
    ------
    ConfigError
        If it cannot be known, which is said here and not after a training.
    """
    if space.norm != "own" or config.norm or encoder.normalisation != "class":
        return config
    measure = own_norms(encoder)
    if measure is None or pictures is None:
        raise ConfigError(
            f"the generator {name} takes CLIP embeddings at their own norm (tens), the encoder "
            f"{encoder.id} gives them at norm 1; set reconstruct.norm to the mean norm of its own "
            "embeddings"
        )
    return replace(config, norm=float(measure(pictures).mean()))
