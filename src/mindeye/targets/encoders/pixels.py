"""Pixels as a target space, for small, simple figures; there is no network."""

from __future__ import annotations

import torch
from torch import Tensor

from mindeye.data.images import resize
from mindeye.errors import ConfigError
from mindeye.targets.encoders.base import Encoder, check_images


class PixelEncoder(Encoder):
    """Grey pixels cut into patches: a target space for small sets of simple figures.

    Values lie in [0, 1] with black at 0, so that a dark background has no say in cosines.

    Parameters
    ----------
    size
        Side that pictures are resized to.
    patch
        Side of a patch; K = (size / patch)^2 tokens of D = patch^2 values.
    """

    def __init__(self, size: int, patch: int) -> None:
        if size < 1 or patch < 1 or size % patch:
            raise ConfigError(f"pixels:{size}:{patch}: the patch must divide the size")
        self.id = f"pixels{size}"
        self.size, self.patch = size, patch
        self.tokens, self.width = (size // patch) ** 2, patch**2
        self.fingerprint = f"pixels-{size}-{patch}"

    def encode(self, images: Tensor) -> Tensor:
        """Return tokens (N, K, D) of grey values in [0, 1]."""
        check_images(images)
        grey = resize(images, self.size).mean(dim=1, keepdim=True)
        patches = torch.nn.functional.unfold(grey, self.patch, stride=self.patch)
        return patches.transpose(1, 2).contiguous()

    def features(self, images: Tensor) -> Tensor:
        """Return all tokens (N, K, D): pixels are compared one by one."""
        return self.encode(images)

    def decode(self, tokens: Tensor) -> Tensor:
        """Return images (N, 3, size, size), the inverse of `encode` for grey pictures."""
        grey = torch.nn.functional.fold(
            tokens.transpose(1, 2), (self.size, self.size), self.patch, stride=self.patch
        )
        return grey.clamp(0, 1).expand(-1, 3, -1, -1)
