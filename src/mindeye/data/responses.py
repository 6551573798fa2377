"""Noise-free responses of simulated voxels to pictures and to what the pictures show.

Low-level voxels see pixels (Gabor energy and local colour under a receptive field); high-level
voxels see attributes of the scene (rectified random mixtures). Neither knows any encoder, so a
decoder has to earn its way into an embedding space.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

Floats = NDArray[np.float32]

ORIENTATIONS = 4
WAVELENGTHS = (4.0, 8.0)
"""Gabor wavelengths in pixels of a 64-pixel picture."""
GRID = 16
"""Feature maps are pooled to this side before receptive fields look at them."""


def gabor_filters(size: int = 13) -> torch.Tensor:
    """Return zero-mean, unit-norm Gabor filters (2 x F, 1, size, size), even ones first."""
    half = size // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    even: list[NDArray[np.float64]] = []
    odd: list[NDArray[np.float64]] = []
    for wavelength in WAVELENGTHS:
        envelope = np.exp(-(x**2 + y**2) / (2 * (0.45 * wavelength) ** 2))
        for k in range(ORIENTATIONS):
            angle = np.pi * k / ORIENTATIONS
            phase = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wavelength
            for wave, bank in ((np.cos(phase), even), (np.sin(phase), odd)):
                kernel = envelope * wave
                kernel -= envelope * kernel.sum() / envelope.sum()
                bank.append(kernel / np.linalg.norm(kernel))
    return torch.from_numpy(np.stack(even + odd)).float()[:, None]


def feature_maps(pictures: NDArray[np.uint8], *, batch: int = 256) -> Floats:
    """Return local contrast energy and opponent colour of every picture.

    Parameters
    ----------
    pictures
        Pictures (S, H, W, 3), 0..255.
    batch
        Pictures filtered at once.

    Returns
    -------
    array
        Maps (S, F + 3, GRID, GRID): sqrt of Gabor energy for every wavelength and orientation, then
        luminance, red-green and blue-yellow.
    """
    filters = gabor_filters()
    count = len(filters) // 2
    maps = []
    for start in range(0, len(pictures), batch):
        block = torch.from_numpy(np.array(pictures[start : start + batch])).float() / 255
        red, green, blue = block.permute(3, 0, 1, 2)
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        colour = torch.stack([grey, red - green, blue - (red + green) / 2], dim=1)
        padded = F.pad(grey[:, None], (6, 6, 6, 6), mode="replicate")
        waves = F.conv2d(padded, filters)
        energy = (waves[:, :count] ** 2 + waves[:, count:] ** 2).sqrt()
        maps.append(F.adaptive_avg_pool2d(torch.cat([energy, colour], dim=1), GRID).numpy())
    return np.concatenate(maps)


def low_level_responses(
    maps: Floats, voxels: int, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.float32]]:
    """Return responses of retinotopic voxels and their receptive fields.

    Each voxel pools the maps under a Gaussian receptive field, wider in the periphery, mixes a few
    channels with random weights and compresses the result.

    Parameters
    ----------
    maps
        Maps (S, F, GRID, GRID) from `feature_maps`.
    voxels
        Number of voxels.
    rng
        Draws receptive fields and weights.

    Returns
    -------
    responses
        Noise-free responses (S, voxels), standardised over stimuli.
    fields
        (voxels, 3): x and y of the centre and radius, as shares of the picture.
    """
    stimuli, channels = maps.shape[:2]
    centre = rng.uniform(0, 1, size=(voxels, 2))
    eccentricity = np.linalg.norm(centre - 0.5, axis=1)
    radius = (0.03 + 0.1 * eccentricity) * rng.uniform(0.7, 1.3, size=voxels)
    axis = (np.arange(GRID) + 0.5) / GRID
    x, y = np.meshgrid(axis, axis)
    distance = (x.ravel() - centre[:, :1]) ** 2 + (y.ravel() - centre[:, 1:]) ** 2
    field = np.exp(-distance / (2 * radius[:, None] ** 2))
    field /= field.sum(axis=1, keepdims=True)
    flat = maps.reshape(stimuli, channels, -1)
    scaled = (flat - flat.mean(axis=(0, 2), keepdims=True)) / flat.std(axis=(0, 2), keepdims=True)
    weights = rng.standard_normal((voxels, channels)) * (rng.random((voxels, channels)) < 0.3)
    weights[np.arange(voxels), rng.integers(channels, size=voxels)] += 1.0
    drive = np.zeros((stimuli, voxels))
    for channel in range(channels):
        drive += (scaled[:, channel] @ field.T.astype(np.float32)) * weights[:, channel]
    responses = _standardise(np.tanh(_standardise(drive)))
    return responses, np.column_stack([centre, radius]).astype(np.float32)


def high_level_responses(attributes: Floats, voxels: int, rng: np.random.Generator) -> Floats:
    """Return responses of voxels that prefer rectified random mixtures of scene attributes.

    Parameters
    ----------
    attributes
        Attributes (S, A) from `scenes.attributes`.
    voxels
        Number of voxels.
    rng
        Draws preferences and thresholds.

    Returns
    -------
    array
        Noise-free responses (S, voxels), standardised over stimuli.
    """
    scaled = _standardise(attributes)
    width = scaled.shape[1]
    weights = rng.standard_normal((width, voxels)) * (rng.random((width, voxels)) < 0.25)
    weights[rng.integers(width, size=voxels), np.arange(voxels)] += 1.5
    drive = _standardise(scaled @ weights.astype(np.float32))
    threshold = rng.uniform(-1.0, 0.5, size=voxels)
    return _standardise(np.tanh(np.maximum(drive - threshold, 0)))


def _standardise(values: NDArray[np.floating]) -> Floats:
    deviation = values.std(axis=0)
    scaled = (values - values.mean(axis=0)) / np.where(deviation > 1e-6, deviation, 1)
    return np.asarray(scaled, dtype=np.float32)
