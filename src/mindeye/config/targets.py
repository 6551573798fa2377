"""Which models define the spaces that the brain is decoded into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mindeye.config.bounds import BatchSize, Checked, CountOrZero, FieldError, Pixels
from mindeye.errors import ConfigError


@dataclass(frozen=True)
class TargetsConfig(Checked):
    """Which models define the spaces that the brain is decoded into.

    Parameters
    ----------
    encoder
        Image encoder whose tokens are decoded: ``zoo``, ``pixels:SIZE:PATCH``, ``timm:ARCH:FILE``,
        an entry of `mindeye.ENCODERS`, or a local folder or fetched model of a kind that
        docs/reference/encoders.md lists.
    tokens
        ``all`` decodes every token (257 x 768 in the paper), ``pooled`` one vector a picture (the
        paper's 1 x 768 variant for large galleries).
    maps
        Encoder whose maps the low-level pipeline is contrasted with, named as ``encoder``; empty
        takes the patch tokens of ``encoder``.
    maps_size
        Side of pictures for ``maps``, where it is a network of timm; 0 takes its own.
    vae
        Autoencoder of the low-level pipeline: ``zoo``, ``pixels:SIZE``, ``taesd:FOLDER``, an entry
        of `mindeye.AUTOENCODERS`, or a local folder or fetched model that is an AutoencoderKL or
        AutoencoderTiny of ``diffusers``.
    vae_size
        Side of pictures for ``vae``; 0 takes its own.
    generator
        Embedding-to-image model: ``zoo``, ``pixels`` (unfolds pixel tokens), ``none``, an entry of
        `mindeye.GENERATORS`, or a local folder with ``unet`` and ``scheduler``.
    batch_size
        Pictures embedded at once.
    stored
        Numbers on disk: ``float16`` halves the store; what is read from it is float32 again.
    augmentation
        ``none``; ``cached`` trains on ``views`` augmented views of every picture, embedded once;
        ``recomputed`` augments and embeds anew at every step, as published.
    views
        Augmented views a picture in the cache.
    """

    section = "targets"

    encoder: str = "zoo"
    tokens: Literal["all", "pooled"] = "all"
    maps: str = ""
    maps_size: Pixels = 0
    vae: str = "zoo"
    vae_size: Pixels = 0
    generator: str = "zoo"
    batch_size: BatchSize = 64
    stored: Literal["float32", "float16"] = "float32"
    augmentation: Literal["none", "cached", "recomputed"] = "none"
    views: CountOrZero = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.maps_size and not self.maps:
            raise ConfigError("targets.maps_size is set, but there is no targets.maps to resize")
        if self.augmentation == "cached" and not self.views:
            raise FieldError("targets.views", "is 0; augmentation=cached needs at least 1 view")
        if self.tokens == "pooled" and is_pixels(self.encoder):
            raise ConfigError(
                f"targets.encoder={self.encoder} has no class token; set targets.tokens=all"
            )


def is_pixels(encoder: str) -> bool:
    """Return whether an encoder's name is that of grey pixels, ``pixels:SIZE:PATCH``."""
    return encoder.partition(":")[0] == "pixels"
