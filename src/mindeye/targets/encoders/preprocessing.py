"""What an encoder's own preprocessing makes of a picture, by torchvision alone.

Pictures of stimuli are square here; of others the shorter side is resized and the centre cut out,
or both sides are resized, whichever the model's own processor does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from mindeye.errors import CheckpointError
from mindeye.weights.pretrained import read_settings

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""OpenAI's CLIP, for its folders that come without a processor (IP-Adapter's image encoders)."""

INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's codes, which processors use -> torchvision's names."""

LEVELS = 255


@dataclass(frozen=True)
class Preprocessing:
    """How pictures become a network's pixels.

    Parameters
    ----------
    size
        Side of the network's input.
    mean, deviation
        Subtracted from and divided into every colour of [0, 1].
    edge
        What the shorter side is resized to before the centre of `size` is cut out; None resizes
        both sides to `size`.
    interpolation
        ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``; antialiased.
    """

    size: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    edge: int | None = None
    interpolation: str = "bicubic"

    def fit(self, images: Tensor) -> Tensor:
        """Return images (N, 3, size, size) in [0, 1] of images (N, 3, H, W) in [0, 1].

        Processors resize pictures of 8 bits, rounding between rows and columns too; so does this,
        where images are resized. Those that have the right size already stay as they are.
        """
        if self.edge is None:
            return self._resize(images, [self.size, self.size])
        if min(images.shape[-2:]) != self.edge:
            images = self._resize(images, _shorter(images, self.edge))
        height, width = images.shape[-2:]
        if (height, width) == (self.size, self.size):
            return images
        top, left = (height - self.size) // 2, (width - self.size) // 2
        return images[..., top : top + self.size, left : left + self.size]

    def _resize(self, images: Tensor, size: list[int]) -> Tensor:
        if list(images.shape[-2:]) == size:
            return images
        mode = vision.InterpolationMode(self.interpolation)
        codes = images.float().clamp(0, 1).mul(LEVELS).round().to(torch.uint8)
        resized: Tensor = vision.resize(codes, size, interpolation=mode, antialias=True)
        return resized.float().div(LEVELS)


def _shorter(images: Tensor, edge: int) -> list[int]:
    height, width = images.shape[-2:]
    if height <= width:
        return [edge, int(edge * width / height)]
    return [int(edge * height / width), edge]


def processor_preprocessing(config: dict[str, Any], where: Path) -> Preprocessing:
    """Read a `preprocessor_config.json` of transformers.

    Parameters
    ----------
    config
        Content of the file.
    where
        The file, for messages.

    Raises
    ------
    CheckpointError
        If it asks for something that is not known here.
    """
    try:
        edge = _side(config["size"]) if config.get("do_resize", True) else None
        whole = not isinstance(config["size"], int) and "shortest_edge" not in config["size"]
        cropped = config.get("do_center_crop", "crop_size" in config)
        size = _side(config["crop_size"]) if cropped else edge
        mean, deviation = tuple(config["image_mean"]), tuple(config["image_std"])
        interpolation = INTERPOLATIONS[int(config.get("resample", 3))]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{where} describes no preprocessing that is known here ({error!r})"
        ) from error
    if size is None or edge is None or len(mean) != 3 or len(deviation) != 3 or edge < size:
        raise CheckpointError(f"{where} describes no preprocessing that is known here")
    return Preprocessing(size, mean, deviation, None if whole else edge, interpolation)


def _side(size: Any) -> int:
    """Return the side that a processor's ``size`` or ``crop_size`` stands for."""
    if isinstance(size, dict):
        if "shortest_edge" in size:
            return int(size["shortest_edge"])
        if size["height"] != size["width"]:
            raise ValueError(f"{size} is not square")
        return int(size["height"])
    return int(size)


def blank(size: int, device: str = "cpu") -> Tensor:
    """Return pixels (1, 3, size, size) for finding out shapes."""
    return torch.zeros(1, 3, size, size, device=device)


PROCESSORS = (".", "../image_processor", "../feature_extractor", "../image_feature_extractor")
"""Where a processor lies from an encoder's folder, alone or in a pipeline of diffusers."""


def preprocessing_of(folder: Path, default: Preprocessing | None = None) -> Preprocessing:
    """Read the processor that belongs to an encoder's folder.

    Raises
    ------
    CheckpointError
        If there is none and no default, or it is not understood.
    """
    for place in PROCESSORS:
        path = folder / place / "preprocessor_config.json"
        if path.is_file():
            return processor_preprocessing(read_settings(path), path)
    if default is None:
        raise CheckpointError(
            f"{folder} has no preprocessor_config.json, which says how pictures are resized and "
            "normalised; fetch the model again"
        )
    return default
