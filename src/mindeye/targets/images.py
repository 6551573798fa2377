"""The one image convention: float tensors (N, 3, H, W) in [0, 1]."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as vision


def to_images(pictures: NDArray[np.uint8]) -> Tensor:
    """Turn pictures (N, H, W, 3), 0..255, into images."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float().div_(255)


def to_pictures(images: Tensor) -> NDArray[np.uint8]:
    """Turn images into pictures (N, H, W, 3), 0..255, rounded and clipped."""
    codes = (images.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return np.asarray(codes.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def resize(images: Tensor, size: int) -> Tensor:
    """Resize images to (N, 3, size, size), bicubic with antialiasing, kept within [0, 1]."""
    if images.shape[-2:] == (size, size):
        return images
    mode = vision.InterpolationMode.BICUBIC
    resized: Tensor = vision.resize(images, [size, size], interpolation=mode, antialias=True)
    return resized.clamp(0, 1)
