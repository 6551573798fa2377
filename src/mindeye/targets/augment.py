"""A second, photometric view of every picture, for the low-level pipeline's contrastive term.

Only colours change: maps of the two views must stay aligned position by position.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

STRENGTH = 0.4
"""Brightness, contrast and saturation vary by this share (published code's colour jitter)."""


def recolour(images: Tensor, *, seed: int) -> Tensor:
    """Return images (N, 3, H, W) with random brightness, contrast and saturation.

    Parameters
    ----------
    images
        In [0, 1].
    seed
        Of the changes; image i's depend on its own draw alone.
    """
    rng = torch.Generator().manual_seed(seed)
    factors = 1 + STRENGTH * (2 * torch.rand(len(images), 3, generator=rng) - 1)
    changed = []
    for image, (brightness, contrast, saturation) in zip(images, factors.tolist(), strict=True):
        image = vision.adjust_brightness(image, brightness)
        image = vision.adjust_contrast(image, contrast)
        changed.append(vision.adjust_saturation(image, saturation))
    return torch.stack(changed)
