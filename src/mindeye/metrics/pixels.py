"""Pixel metrics: PixCorr and SSIM, as the paper defines them.

Both compare a reconstruction with the picture seen, pixel by pixel, after resizing to 425 px
(the size of the NSD stimuli). Images are float tensors (N, 3, H, W) in [0, 1]; results are
float64 arrays, one value per image. Both metrics are symmetric in their two arguments.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torch import Tensor

from mindeye.errors import DataError

NSD_SIZE = 425
"""Side in pixels of the NSD stimuli, at which the published numbers were computed."""

_SSIM_WINDOW = 11
_BATCH = 8
"""Pictures resized at once: 17 MB at 425 px, which stays near the processor."""


def resize_images(images: Tensor, size: int, *, antialias: bool = True) -> Tensor:
    """Resize square images bilinearly.

    Parameters
    ----------
    images : Tensor (N, 3, H, W)
        Float, in [0, 1].
    size : int
        Side of the result in pixels.
    antialias : bool
        Smooth before shrinking. The published numbers were computed without, because
        torchvision 0.15 ignored it for tensors; it has no effect when enlarging.

    Returns
    -------
    Tensor (N, 3, size, size)
        Float, in [0, 1].
    """
    if images.shape[-2:] == (size, size):
        return images
    return torch.nn.functional.interpolate(
        images, size=(size, size), mode="bilinear", align_corners=False, antialias=antialias
    )


def pixcorr(
    images: Tensor, reference: Tensor, *, size: int | None = NSD_SIZE
) -> NDArray[np.float64]:
    """Pearson correlation over all pixels and channels.

    Parameters
    ----------
    images, reference : Tensor (N, 3, H, W)
        Reconstructions and the pictures seen, float in [0, 1].
    size : int or None
        Side to resize both to before comparing; None compares them as they are.

    Returns
    -------
    array (N,)
        In [-1, 1]. Where one of the two is constant the correlation is undefined and 0 is
        returned: a grey reconstruction carries no information about the picture.
    """
    return np.concatenate(
        [
            [_correlation(a.flatten(), b.flatten()) for a, b in zip(left, right, strict=True)]
            for left, right in in_batches(images, reference, size)
        ]
    )


def _correlation(a: Tensor, b: Tensor) -> float:
    """Pearson r of two vectors in float64, 0 where one is constant to within rounding."""
    if min(float(x.amax() - x.amin()) for x in (a, b)) <= 1e-6:
        return 0.0
    # One picture at a time in float64: whole batches of them do not stay in the cache.
    x, y = a.double(), b.double()
    x, y = x - x.mean(), y - y.mean()
    return float((x @ y) / (x.norm() * y.norm()))


def ssim(images: Tensor, reference: Tensor, *, size: int | None = NSD_SIZE) -> NDArray[np.float64]:
    """Structural similarity of the grey images (Wang et al. 2004).

    scikit-image `structural_similarity` on `rgb2gray`, with gaussian weights, sigma 1.5,
    population covariance and data_range 1. The published call also passes
    ``multichannel=True``, which scikit-image ignores.

    Parameters
    ----------
    images, reference : Tensor (N, 3, H, W)
        Reconstructions and the pictures seen, float in [0, 1].
    size : int or None
        Side to resize both to before comparing; None compares them as they are.

    Returns
    -------
    array (N,)
        In [-1, 1]; 1 for identical images, defined for constant ones too.

    Raises
    ------
    DataError
        If the images compared are smaller than the 11-pixel window.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return np.concatenate(
            [
                list(pool.map(_ssim, _grey(left), _grey(right)))
                for left, right in in_batches(images, reference, size)
            ]
        )


def _grey(batch: Tensor) -> NDArray[np.float32]:
    if min(batch.shape[-2:]) < _SSIM_WINDOW:
        raise DataError(
            f"SSIM needs images of {_SSIM_WINDOW} px or more; compare at a larger size "
            "(evaluate.picture_size)"
        )
    return np.asarray(rgb2gray(batch.cpu().numpy(), channel_axis=1))


def _ssim(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """One pair of grey pictures; scipy's filters below let go of the interpreter's lock."""
    return float(
        structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
        )
    )


def in_batches(
    images: Tensor, reference: Tensor, size: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Check two image tensors and yield them resized, a few at a time."""
    for name, tensor in (("images", images), ("reference", reference)):
        if tensor.ndim != 4 or tensor.shape[1] != 3 or not tensor.is_floating_point():
            raise DataError(
                f"{name} must be float (N, 3, H, W) in [0, 1], got {tensor.dtype} "
                f"{tuple(tensor.shape)}"
            )
        if len(tensor) == 0 or not (float(tensor.min()) >= -1e-3 and float(tensor.max()) <= 1.001):
            raise DataError(f"{name} must be a non-empty batch with values in [0, 1]")
    if len(images) != len(reference) or (size is None and images.shape != reference.shape):
        raise DataError(
            f"images {tuple(images.shape)} and reference {tuple(reference.shape)} do not pair up"
        )
    for start in range(0, len(images), _BATCH):
        pair = images[start : start + _BATCH].float(), reference[start : start + _BATCH].float()
        yield (
            pair
            if size is None
            else (
                resize_images(pair[0], size),
                resize_images(pair[1], size),
            )
        )
