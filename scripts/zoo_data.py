"""Pictures and labels that the embedded models are trained and measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mindeye.data.scenes import (
    CATEGORIES,
    COLOURS,
    TEXTURES,
    Scene,
    attributes,
    draw_scene,
    make_scenes,
)

# Training, measuring and the demo's subjects draw from different data sets.
TRAINING_SEED = 20230529
MEASURE_SEED = 7
TRAINING_SCENES = 60_000
GRID = 8  # patches a side, of the CLIP vision tower and of the VAE latents alike


def training_scenes(count: int = TRAINING_SCENES) -> list[Scene]:
    """Return the scenes whose pictures `training_pictures` holds."""
    return make_scenes(count, TRAINING_SEED)


def training_pictures(work: Path, scenes: list[Scene]) -> NDArray[np.uint8]:
    """Draw the training pictures once and map them from disk afterwards, (S, 64, 64, 3)."""
    path = work / f"pictures-{len(scenes)}.npy"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        shape = (len(scenes), 64, 64, 3)
        images = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        for row, scene in enumerate(scenes):
            images[row] = draw_scene(scene)
        images.flush()
        partial.rename(path)
    mapped: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return mapped


def attribute_table(scenes: list[Scene]) -> NDArray[np.float32]:
    """Return the attributes of many scenes, (S, A)."""
    return np.stack([attributes(scene) for scene in scenes])


def patch_labels(scenes: list[Scene]) -> NDArray[np.uint8]:
    """Say what lies at the centre of every patch.

    Returns
    -------
    ndarray, shape (S, GRID * GRID, 3), uint8
        Category, colour and texture; the number past the last one means "no object". An object
        counts as the disc inside its box, which is what a patch label needs, no more.
    """
    axis = (np.arange(GRID) + 0.5) / GRID
    down, across = np.meshgrid(axis, axis, indexing="ij")
    labels = np.empty((len(scenes), GRID * GRID, 3), dtype=np.uint8)
    labels[:] = (len(CATEGORIES), len(COLOURS), len(TEXTURES))
    for row, scene in enumerate(scenes):
        for o in scene.objects:
            inside = np.hypot(across - o.x, down - o.y).ravel() < 0.45 * o.size
            labels[row, inside] = (
                CATEGORIES.index(o.category),
                COLOURS.index(o.colour),
                TEXTURES.index(o.texture),
            )
    return labels
