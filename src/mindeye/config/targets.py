"""Which models define the spaces that the brain is decoded into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mindeye.errors import ConfigError


@dataclass(frozen=True)
class TargetsConfig:
    """Which models define the spaces that the brain is decoded into.

    Parameters
    ----------
    encoder
        Image encoder whose tokens are decoded: ``zoo``, ``pixels:SIZE:PATCH`` or a local folder
        that ``transformers`` can load as a CLIP model.
    tokens
        ``all`` decodes every token (257 x 768 in the paper), ``pooled`` the class token alone
        (the paper's 1 x 768 variant for large galleries).
    vae
        Autoencoder of the low-level pipeline: ``zoo``, ``pixels:SIZE`` or a local ``diffusers``
        AutoencoderKL folder.
    generator
        Embedding-to-image model: ``zoo``, ``pixels`` (unfolds pixel tokens), ``none`` or a local
        folder with ``unet`` and ``scheduler``.
    batch_size
        Pictures embedded at once.
    augmentation
        ``none``; ``cached`` trains on ``views`` augmented views of every picture, embedded once;
        ``recomputed`` augments and embeds anew at every step, as published.
    views
        Augmented views a picture in the cache.
    """

    encoder: str = "zoo"
    tokens: Literal["all", "pooled"] = "all"
    vae: str = "zoo"
    generator: str = "zoo"
    batch_size: int = 64
    augmentation: Literal["none", "cached", "recomputed"] = "none"
    views: int = 4

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"targets.batch_size is {self.batch_size}; it must be at least 1")
        if self.augmentation == "cached" and self.views < 1:
            raise ConfigError(
                f"targets.views is {self.views}; augmentation=cached needs at least 1 view"
            )
        if self.tokens == "pooled" and self.encoder.startswith("pixels"):
            raise ConfigError(
                f"targets.encoder={self.encoder} has no class token; set targets.tokens=all"
            )
