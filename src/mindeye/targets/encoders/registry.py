"""Which encoders there are, and how a name leads to one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mindeye.config.bounds import REGISTRIES
from mindeye.errors import CheckpointError, ConfigError
from mindeye.targets.encoders.base import Encoder, NetworkEncoder
from mindeye.targets.encoders.open_clip import SETTINGS, OpenClipEncoder, weights_in
from mindeye.targets.encoders.pixels import PixelEncoder
from mindeye.targets.encoders.timm_maps import TimmEncoder, timm_file, timm_folder
from mindeye.targets.encoders.vision import ClipEncoder, DinoEncoder, SiglipEncoder
from mindeye.targets.entries import UnusedOptionError, call_with, make_entry
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

NEEDED = ("encode", "tokens", "width", "size", "fingerprint")
"""What an object has to have to be an encoder."""


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
    name: str | Any,
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
        A name of `ENCODERS`, alone or with what it is made of after a colon
        (``pixels:SIZE:PATCH``, ``timm:ARCH:FILE``); a local folder; the hub id of a model that was
        fetched; or an encoder object.
    device
        Device that it runs on.
    tokens
        ``all`` of them or ``pooled``, one vector an image.
    weights
        Folder in which fetched models lie; None looks in the usual places.
    size
        Side that images are resized to, for networks of timm; 0 takes the model's own.

    Raises
    ------
    ConfigError
        If the name is none of these, a pooled embedding is asked of an encoder without one, or a
        size of a model that has its own.
    CheckpointError
        If the folder or file does not hold a whole encoder that is known here.
    """
    encoder = name if not isinstance(name, str) else _named(name, weights, size, device)
    encoder = as_encoder(encoder, name if isinstance(name, str) else "")
    return encoder if tokens == "all" else encoder.pooled()


def _named(name: str, weights: Path | None, size: int, device: torch.device) -> Any:
    options = {"device": device, "size": size} if size else {"device": device}
    try:
        if name.partition(":")[0] in ENCODERS:
            return make_entry("ENCODERS", name, **options)
        folder = _folder(name, weights)
        label, kind = _label(name, folder), kind_of(folder)
        if kind == TIMM:
            return TimmEncoder(timm_folder(folder), label, **options)
        return call_with(KINDS[kind], (folder, label), options)
    except UnusedOptionError as error:
        raise ConfigError(
            f"the encoder {name} has a size of its own; only networks of timm take another"
        ) from error


def as_encoder(given: Any, name: str = "") -> Encoder:
    """Return an object as an `Encoder`, with the defaults for what it does not say.

    Parameters
    ----------
    given
        An `Encoder`, or any object with `encode`, `tokens`, `width`, `size` and `fingerprint`.
    name
        Name for it where it has no `id`.

    Raises
    ------
    ConfigError
        If it lacks one of these.
    """
    if isinstance(given, Encoder):
        return given
    absent = [part for part in NEEDED if not hasattr(given, part)]
    if absent:
        raise ConfigError(
            f"the encoder {name or type(given).__name__} has no {', '.join(absent)}; an encoder "
            f"has {', '.join(NEEDED)}"
        )
    return _AnyEncoder(given, name)


class _AnyEncoder(Encoder):
    """An object that is not an `Encoder` in the shape of one."""

    def __init__(self, given: Any, name: str) -> None:
        self._given = given
        self.id = getattr(given, "id", "") or name or type(given).__name__
        self.tokens, self.width = int(given.tokens), int(given.width)
        self.size, self.fingerprint = int(given.size), str(given.fingerprint)
        self.has_class_token = bool(getattr(given, "has_class_token", False))
        self.normalisation = getattr(given, "normalisation", "none")

    def encode(self, images: Tensor) -> Tensor:
        tokens: Tensor = self._given.encode(images)
        if tuple(tokens.shape[1:]) != (self.tokens, self.width):
            raise ConfigError(
                f"the encoder {self.id} gave tokens {tuple(tokens.shape)}; it says "
                f"{self.tokens} x {self.width}"
            )
        return tokens


def _zoo(*, device: torch.device) -> ClipEncoder:
    return ClipEncoder(zoo_folder("clip"), "zoo_clip", device=device)


def _pixels(text: str = "") -> PixelEncoder:
    numbers = re.fullmatch(r"(\d+):(\d+)", text)
    if not numbers:
        raise ConfigError(f"unknown encoder 'pixels:{text}'; known: {KNOWN}")
    return PixelEncoder(int(numbers[1]), int(numbers[2]))


def _timm(text: str = "", *, device: torch.device, size: int = 0) -> TimmEncoder:
    architecture, _, file = text.partition(":")
    path = Path(file).expanduser()
    if not file or not re.fullmatch(r"[\w.]+", architecture):
        raise ConfigError(f"unknown encoder 'timm:{text}'; known: {KNOWN}")
    return TimmEncoder(timm_file(architecture, path), path.stem, size=size, device=device)


ENCODERS: dict[str, Any] = {"zoo": _zoo, "pixels": _pixels, "timm": _timm}
"""Encoders by the names of `targets.encoder` and `targets.maps`, beside folders and hub ids.

An entry is an encoder object, or a class or function that makes one: called with what follows the
name's first colon, if anything, and with `device` and `size` if it takes them. Add one of your own
as ``mindeye.ENCODERS["mine"] = Mine``.
"""
REGISTRIES["ENCODERS"] = ENCODERS


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
