"""Random views of pictures: the published training augmentation, and a recolouring.

`augment` is what the high-level pipeline trains on. `recolour` serves the low-level pipeline's
contrastive term: only colours change, since maps of its two views must stay aligned position by
position.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from mindeye.data.images import resize

STRENGTH = 0.4
"""Brightness, contrast and saturation vary by this share (published code's colour jitter)."""

# Published code of MindEye, `img_augment` in `src/Train_MindEye.py`: all numbers down to HUE; the
# crop's ratio and the bilinear interpolation are defaults of the library it uses (kornia).
CROP, FLIP, JITTER, GREY = 0.3, 0.5, 0.3, 0.3
"""Probabilities of a crop, a horizontal flip, a colour jitter and of losing all colour."""

CROP_AREA = (0.6, 1.0)
"""Area of a crop, as a share of the picture's."""

CROP_RATIO = 4 / 3
"""A crop's aspect ratio is at most this times the picture's and at least its inverse."""

BRIGHTNESS, CONTRAST, SATURATION = 0.4, 0.4, 0.2
"""Shares by which a colour jitter varies these."""

HUE = 0.1
"""Part of the colour circle by which a jitter turns hues at most, either way."""

CROP_TRIES = 10
"""Boxes drawn for one that lies within the picture; a third does not, all ten once in 60,000."""


def recolour(images: Tensor, *, seeds: Sequence[int]) -> Tensor:
    """Return images (N, 3, H, W) with random brightness, contrast and saturation.

    Parameters
    ----------
    images
        Images (N, 3, H, W) in [0, 1].
    seeds
        One per image, which does not change with its batch.
    """
    changed = []
    for image, seed in zip(images, seeds, strict=True):
        drawn = torch.rand(3, generator=torch.Generator().manual_seed(seed))
        brightness, contrast, saturation = (1 + STRENGTH * (2 * drawn - 1)).tolist()
        image = vision.adjust_brightness(image, brightness)
        image = vision.adjust_contrast(image, contrast)
        changed.append(vision.adjust_saturation(image, saturation))
    return torch.stack(changed)


def augment(images: Tensor, *, seeds: Sequence[int], size: int | None = None) -> Tensor:
    """Return images (N, 3, H, W) cropped, flipped, jittered and greyed at random.

    Parameters
    ----------
    images
        Images (N, 3, H, W) in [0, 1].
    seeds
        One per image: what happens to an image depends on its own seed, not on its batch.
    size
        Side of the result (N, 3, size, size); None keeps that of `images`.
    """
    return torch.stack([_augment(i, s, size) for i, s in zip(images, seeds, strict=True)])


def _augment(image: Tensor, seed: int, size: int | None) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    # The decisions come first, so that none depends on how much another has drawn.
    chances = torch.tensor([CROP, FLIP, JITTER, GREY])
    crop, flip, jitter, grey = (torch.rand(4, generator=rng) < chances).tolist()
    if crop:
        height, width = image.shape[-2:]
        box, side = _box(rng, height, width), [size or height, size or width]
        mode = vision.InterpolationMode.BILINEAR
        image = vision.resized_crop(image, *box, size=side, interpolation=mode, antialias=True)
    elif size is not None:
        image = resize(image, size)
    if flip:
        image = image.flip(-1)
    if jitter:
        image = _jitter(image, rng)
    if grey:
        image = vision.rgb_to_grayscale(image, num_output_channels=3)
    return image


def _box(rng: torch.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a crop; the whole picture where no draw fits."""
    smallest, largest = CROP_AREA
    for share, tilt in torch.rand(CROP_TRIES, 2, generator=rng).tolist():
        area = smallest + share * (largest - smallest)
        ratio = math.exp((2 * tilt - 1) * math.log(CROP_RATIO))
        across, down = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if across <= 1 and down <= 1:
            rows, columns = round(down * height), round(across * width)
            y, x = torch.rand(2, generator=rng).tolist()
            return int(y * (height - rows + 1)), int(x * (width - columns + 1)), rows, columns
    return 0, 0, height, width


def _jitter(image: Tensor, rng: torch.Generator) -> Tensor:
    """Vary brightness, contrast, saturation and hue in a random order."""
    brightness, contrast, saturation, hue = (2 * torch.rand(4, generator=rng) - 1).tolist()
    for change in torch.randperm(4, generator=rng).tolist():
        if change == 0:
            image = vision.adjust_brightness(image, 1 + BRIGHTNESS * brightness)
        elif change == 1:
            image = vision.adjust_contrast(image, 1 + CONTRAST * contrast)
        elif change == 2:
            image = vision.adjust_saturation(image, 1 + SATURATION * saturation)
        else:
            image = vision.adjust_hue(image, HUE * hue)
    return image.clamp(0, 1)
