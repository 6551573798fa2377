"""Simple features of pictures: what early visual cortex could see, and nothing learned.

Brightness, colour, contrast and orientation on coarse grids, from thumbnails that are made a
picture at a time, so that memory-mapped pictures stay on disk.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mindeye.arrays import release_pages
from mindeye.data.images import thumbnail
from mindeye.errors import DataError
from mindeye.progress import track

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

THUMBNAIL = 64
GRID = 8
ORIENTATIONS = 4
CHUNK = 256


def thumbnails(
    pictures: Bytes, rows: NDArray[np.integer] | None = None, *, side: int = THUMBNAIL
) -> Bytes:
    """Return small square copies of pictures, antialiased; shapes other than square are squeezed.

    Parameters
    ----------
    pictures
        Pictures (S, H, W, 3), 0..255; may be memory-mapped.
    rows
        Rows of the pictures to take; all by default.
    side
        Side of a thumbnail in pixels; smaller pictures are enlarged.

    Returns
    -------
    array
        Thumbnails (len(rows), side, side, 3), 0..255.

    Raises
    ------
    DataError
        If the pictures are not uint8 RGB.
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise DataError(
            f"pictures have shape {pictures.shape} and type {pictures.dtype}; they must be uint8 "
            "of shape (stimuli, height, width, 3)"
        )
    chosen = np.arange(len(pictures)) if rows is None else np.asarray(rows)
    small = np.empty((len(chosen), side, side, 3), dtype=np.uint8)
    many = len(chosen) > 4 * CHUNK
    for place, row in enumerate(track(chosen.tolist(), "thumbnails", shown=many)):
        small[place] = thumbnail(pictures[row], side)
        if place % CHUNK == CHUNK - 1:
            release_pages(pictures)
    return small


def _pool(maps: NDArray[np.floating], grid: int) -> NDArray[np.floating]:
    """Average maps (n, side, side) over the cells of a grid: (n, grid * grid)."""
    count, side = maps.shape[:2]
    cell = side // grid
    cells = maps.reshape(count, grid, cell, grid, cell).mean(axis=(2, 4))
    return np.asarray(cells.reshape(count, -1))


def _features_of(small: Bytes) -> Floats:
    rgb = small.astype(np.float32) / 255
    light = rgb.mean(axis=-1)
    red_green = rgb[..., 0] - rgb[..., 1]
    blue_yellow = rgb[..., 2] - (rgb[..., 0] + rgb[..., 1]) / 2
    mean = _pool(light, GRID)
    contrast = np.sqrt(np.maximum(_pool(light**2, GRID) - mean**2, 0))
    down, right = np.gradient(light, axis=(1, 2))
    strength = np.hypot(down, right)
    angle = np.arctan2(down, right)
    energies = []
    for index in range(ORIENTATIONS):
        # Twice the angle: an edge from dark to light and one from light to dark are alike.
        towards = np.cos(2 * (angle - index * np.pi / ORIENTATIONS))
        energies.append(np.sqrt(_pool(strength * np.maximum(towards, 0), GRID // 2)))
    groups = [
        mean,
        _pool(red_green, GRID // 2),
        _pool(blue_yellow, GRID // 2),
        contrast,
        np.concatenate(energies, axis=1),
    ]
    return np.asarray(np.concatenate(groups, axis=1), dtype=np.float32)


def layout_features(small: Bytes) -> Floats:
    """Return brightness, colour, contrast and orientation energy on coarse grids.

    Brightness and its local deviation on 8 x 8 cells, two colour differences and four
    orientations of gradient energy (square root) on 4 x 4 cells.

    Parameters
    ----------
    small
        Thumbnails (S, side, side, 3), 0..255; `side` divisible by 8.

    Returns
    -------
    array
        Features (S, 224), in units of the picture's range, not standardised.
    """
    parts = [_features_of(small[i : i + CHUNK]) for i in range(0, len(small), CHUNK)]
    return np.concatenate(parts) if parts else np.empty((0, 224), dtype=np.float32)


def principal_components(features: Floats, count: int) -> Floats:
    """Return the strongest components of standardised features, unit mean variance in all.

    Parameters
    ----------
    features
        Features of the pictures, (S, P).
    count
        Components to keep, at most; fewer where the features have lower rank.

    Returns
    -------
    array
        Components (S, <= count), columns of mean 0 in falling order of variance; the order says
        how common a kind of difference is among the pictures. No column if all pictures are alike.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    deviation = centred.std(axis=0)
    varying = deviation > 1e-6
    standard = centred[:, varying] / deviation[varying]
    left, strength, _ = np.linalg.svd(standard, full_matrices=False)
    keep = strength > 1e-6 * max(1.0, float(strength.max(initial=0.0)))
    scores = (left * strength)[:, keep][:, :count]
    size = np.sqrt((scores**2).mean()) if scores.size else 1.0
    return np.asarray(scores / size, dtype=np.float32)
