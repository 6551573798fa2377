"""Generators by their config name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from mindeye.config import ReconstructConfig
from mindeye.config.bounds import REGISTRIES
from mindeye.errors import ConfigError
from mindeye.generation.generators.backends import BACKENDS, encoders_of, fitting
from mindeye.generation.generators.base import Generator, Space, check_embeddings
from mindeye.generation.generators.conditions import Condition, CrossAttention
from mindeye.generation.generators.ip_adapter import PREFIX, load_adapter, split_adapter
from mindeye.generation.generators.kinds import Request, kind_of
from mindeye.generation.generators.latent import LatentGenerator
from mindeye.generation.generators.loop import load_scheduler
from mindeye.generation.generators.own_vae import OwnAutoencoder
from mindeye.targets.autoencoders import Autoencoder
from mindeye.targets.encoders import Encoder, PixelEncoder
from mindeye.targets.entries import make_entry
from mindeye.weights.pretrained import open_part
from mindeye.zoo import zoo_folder

NEEDED = ("space", "uses_start", "generate")
"""What an object has to have to be a generator."""


@dataclass(frozen=True)
class Setting:
    """What a generator is made for.

    Parameters
    ----------
    encoder
        Encoder of the run, whose embeddings the generator must take.
    vae
        Autoencoder of the run, whose latents it starts from.
    config
        How pictures are drawn.
    device
        Device that the generator runs on.
    weights
        Folder in which hub ids are looked up; None looks in the usual places.
    pictures
        Some training pictures (N, 3, H, W) in [0, 1], by which the usual norm of the encoder's
        embeddings is measured where the generator takes them at it and `reconstruct.norm` is 0.
    """

    encoder: Encoder
    vae: Autoencoder
    config: ReconstructConfig
    device: torch.device
    weights: Path | None = None
    pictures: Tensor | None = None


class PixelGenerator:
    """Unfolds pixel tokens into a picture.

    Parameters
    ----------
    encoder
        Encoder of the tokens.
    """

    uses_start = False

    def __init__(self, encoder: PixelEncoder) -> None:
        self.encoder = encoder
        self.space = Space(encoder.tokens, encoder.width, "any")

    def generate(
        self, tokens: Tensor, *, seeds: Sequence[int], start: Tensor | None = None
    ) -> Tensor:
        """Return images (N, 3, size, size); `seeds` and `start` change nothing."""
        del start
        check_embeddings(tokens, self.space, seeds=seeds)
        return self.encoder.decode(tokens)


def _zoo(**given: Any) -> LatentGenerator:
    space = next(b.space for b in BACKENDS if b.id == "zoo")
    return _from_folder("zoo", zoo_folder("generator"), Setting(**given), CrossAttention(space))


def _pixels(*, encoder: Encoder) -> PixelGenerator:
    if not isinstance(encoder, PixelEncoder):
        raise ConfigError(
            f"the generator pixels does not take embeddings of {encoder.id}; encoders that fit: "
            f"pixels:SIZE:PATCH; generators that fit: {fitting(encoder.tokens, encoder.width)}"
        )
    return PixelGenerator(encoder)


def _ip_adapter(text: str = "", **given: Any) -> LatentGenerator:
    setting, name = Setting(**given), f"{PREFIX}{text}"
    base, adapter = (_local(part, setting.weights) for part in split_adapter(name))
    unet, prompted = load_adapter(base, adapter)
    return _latent(name, base, "vae", unet, prompted, setting)


GENERATORS: dict[str, Any] = {"zoo": _zoo, "pixels": _pixels, "ip_adapter": _ip_adapter}
"""Generators by the names of `targets.generator`, beside ``none``, folders and hub ids.

An entry is a `Generator` object, or a class or function that makes one: called with what follows
the name's first colon, if anything, and with those of `encoder`, `vae`, `config`, `device`,
`weights` and `pictures` that it takes. Add one of your own as
``mindeye.GENERATORS["mine"] = Mine``.
"""
REGISTRIES["GENERATORS"] = GENERATORS


def load_generator(
    name: str | Generator,
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
        A name of `GENERATORS`, alone or with what it is made of after a colon
        (``ip_adapter:BASE:ADAPTER_FILE``); ``none``; a local folder; a hub id; or a generator
        object.
    encoder
        Encoder of the run, whose embeddings the generator must take.
    vae
        Autoencoder of the run, whose latents it starts from.
    config
        How pictures are drawn.
    device
        Device that the generator runs on.
    weights
        Folder in which hub ids are looked up; None looks in the usual places.
    pictures
        Some training pictures (N, 3, H, W) in [0, 1], by which the usual norm of the encoder's
        embeddings is measured where the generator takes them at it and `reconstruct.norm` is 0.

    Raises
    ------
    ConfigError
        If the name is unknown or the generator does not take the encoder's embeddings.
    CheckpointError
        If its files are missing, torn or pickles.
    """
    if name == "none":
        return None
    setting = Setting(encoder, vae, config, device, weights, pictures)
    label, made = str(name), name
    if not isinstance(name, str):
        label = type(name).__name__
    elif name.partition(":")[0] in GENERATORS:
        made = make_entry("GENERATORS", name, **vars(setting))
    else:
        made = _from_folder(name, _local(name, weights), setting)
    absent = [part for part in NEEDED if not hasattr(made, part)]
    if absent:
        raise ConfigError(
            f"the generator {label} has no {', '.join(absent)}; a generator has {', '.join(NEEDED)}"
        )
    generator = cast(Generator, made)
    _refuse_misfit(label, generator.space, encoder)
    return generator


def _from_folder(
    name: str, folder: Path, setting: Setting, condition: Condition | None = None
) -> LatentGenerator:
    """Return the generator of a folder, under the condition of its kind or another one."""
    kind = kind_of(folder)
    unet = open_part("UNet2DConditionModel", folder, kind.unet)
    own = kind.condition(Request(folder, setting.encoder, setting.config), unet)
    return _latent(name, folder, kind.vae, unet, condition or own, setting)


def _latent(
    name: str, folder: Path, vae: str | None, unet: Any, condition: Condition, setting: Setting
) -> LatentGenerator:
    """Return the generator of a U-Net, with the folder's scheduler and autoencoder."""
    _refuse_misfit(name, condition.space, setting.encoder)
    config = _with_norm(name, condition.space, setting)
    own = None
    if vae is not None:
        side = int(unet.config.sample_size)
        own = OwnAutoencoder(folder, vae, side=side, device=setting.device)
    scheduler = load_scheduler(folder, config.scheduler)
    return LatentGenerator(
        unet, scheduler, condition, vae=setting.vae, own=own, config=config, device=setting.device
    )


def _local(name: str, weights: Path | None) -> Path:
    """Return the folder or file of a name, without any network."""
    from mindeye.weights.find import find_weights

    try:
        return find_weights(name, weights)
    except ConfigError as error:
        raise ConfigError(
            f"unknown generator {name!r}; known: {', '.join(GENERATORS)} (ip_adapter as "
            f"ip_adapter:BASE:ADAPTER_FILE), none, a local folder or a hub id: {error}"
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


def _with_norm(name: str, space: Space, setting: Setting) -> ReconstructConfig:
    """Set the norm that embeddings of norm 1 are drawn at, for a generator that takes their own.

    Raises
    ------
    ConfigError
        If it cannot be known, which is said here and not after a training.
    """
    config, encoder = setting.config, setting.encoder
    if space.norm != "own" or config.norm or encoder.normalisation != "class":
        return config
    norms = None if setting.pictures is None else encoder.class_norms(setting.pictures)
    if norms is None:
        raise ConfigError(
            f"the generator {name} takes CLIP embeddings at their own norm (tens), the encoder "
            f"{encoder.id} gives them at norm 1; set reconstruct.norm to the mean norm of its own "
            "embeddings"
        )
    return replace(config, norm=float(norms.mean()))
