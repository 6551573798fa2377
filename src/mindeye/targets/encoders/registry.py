"""Which encoders there are, and how a name leads to one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from mindeye.errors import CheckpointError, ConfigError
from mindeye.targets.encoders.base import Encoder, NetworkEncoder
from mindeye.targets.encoders.clip import ClipEncoder
from mindeye.targets.encoders.open_clip import SETTINGS, OpenClipEncoder, weights_in
from mindeye.targets.encoders.pixels import PixelEncoder
from mindeye.targets.encoders.pooled import PooledEncoder
from mindeye.targets.encoders.timm_maps import TimmEncoder, timm_file, timm_folder
from mindeye.targets.encoders.vision import DinoEncoder, SiglipEncoder
from mindeye.weights.pretrained import read_settings
from mindeye.zoo import zoo_folder

KNOWN = "zoo, pixels:SIZE:PATCH, timm:ARCH:FILE, a local model folder or the id of a fetched model"

KINDS: dict[str, Callable[..., NetworkEncoder]] = {
    "clip": ClipEncoder,
    "clip_vision_model": ClipEncoder,
    "dinov2": DinoEncoder,
    "dinov2_with_registers": DinoEncoder,
    "siglip": SiglipEncoder,
    "siglip_vision_model": SiglipEncoder,
    "siglip2": SiglipEncoder,
    "siglip2_vision_model": SiglipEncoder,
    "open_clip": OpenClipEncoder,
}
"""`model_type` of a transformers folder, or ``open_clip`` -> called as (folder, name, device=)."""

TIMM = "timm"


def kind_of(folder: Path) -> str:
    """Return the kind of encoder that a folder holds, by its own files.

    A published folder can hold a model for open_clip and for transformers at once; then the one
    whose weights are there is taken, open_clip's if both are.

    Raises
    ------
    CheckpointError
        If it holds none that is known; lists those that are.
    """
    settings = folder / "config.json"
    config = read_settings(settings) if settings.is_file() else {}
    own = TIMM if "architecture" in config else str(config.get("model_type", ""))
    if (folder / SETTINGS).is_file() and (weights_in(folder) is not None or own not in KINDS):
        return "open_clip"
    if own in KINDS or own == TIMM:
        return own
    found = own or str(config.get("_class_name", "")) or "no config.json"
    if (folder / "model_index.json").is_file():
        found = "a diffusers pipeline; perhaps its folder image_encoder is meant"
    raise CheckpointError(
        f"{folder} holds no encoder that is known here ({found}); known kinds: "
        f"{', '.join([*KINDS, TIMM])}"
    )


def load_encoder(
    name: str,
    *,
    device: torch.device,
    tokens: Literal["all", "pooled"] = "all",
    weights: Path | None = None,
    size: int = 0,
) -> Encoder:
    """Return an encoder by its config name.

    Parameters
    ----------
    name
        ``zoo``, ``pixels:SIZE:PATCH``, ``timm:ARCH:FILE``, a local folder, or the hub id of a
        model that was fetched.
    device
        Where it runs.
    tokens
        ``all`` of them or ``pooled``, one vector a picture.
    weights
        Where fetched models lie; None looks in the usual places.
    size
        Side that pictures are resized to, for networks of timm; 0 takes the model's own.

    Raises
    ------
    ConfigError
        If the name is none of these, a pooled embedding is asked of an encoder without one, or a
        size of a model that has its own.
    CheckpointError
        If the folder or file does not hold a whole encoder that is known here.
    """
    pixels = re.fullmatch(r"pixels:(\d+):(\d+)", name)
    if pixels:
        if tokens == "pooled":
            raise ConfigError(f"the encoder {name} has no class token; set targets.tokens=all")
        return PixelEncoder(int(pixels[1]), int(pixels[2]))
    encoder = _network(name, weights, size, device)
    if tokens == "all":
        return encoder
    if not encoder.pooled_width:
        raise ConfigError(f"the encoder {name} has no pooled embedding; set targets.tokens=all")
    return PooledEncoder(encoder)


def _network(name: str, weights: Path | None, size: int, device: torch.device) -> NetworkEncoder:
    bare = re.fullmatch(r"timm:([\w.]+):(.+)", name)
    if bare:
        path = Path(bare[2]).expanduser()
        return TimmEncoder(timm_file(bare[1], path), path.stem, size=size, device=device)
    if name == "zoo":
        folder, label, kind = zoo_folder("clip"), "zoo_clip", "clip"
    else:
        folder = _folder(name, weights)
        label, kind = _label(name, folder), kind_of(folder)
    if kind == TIMM:
        return TimmEncoder(timm_folder(folder), label, size=size, device=device)
    if size:
        raise ConfigError(
            f"the encoder {name} has a size of its own; only networks of timm take another"
        )
    return KINDS[kind](folder, label, device=device)


def _label(name: str, folder: Path) -> str:
    """Return the last part of a hub id or folder, of which a cache's folder tells nothing."""
    return folder.name if Path(name).is_dir() else Path(name).name


def _folder(name: str, weights: Path | None) -> Path:
    from mindeye.weights.find import find_weights

    try:
        folder = find_weights(name, weights)
    except ConfigError as error:
        raise ConfigError(f"unknown encoder {name!r}; known: {KNOWN}. {error}") from error
    if not folder.is_dir():
        raise ConfigError(
            f"the encoder {name!r} is a file; known: {KNOWN}; a bare file of weights goes as "
            "timm:ARCH:FILE"
        )
    return folder
