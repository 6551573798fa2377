"""Procedural coloured scenes: what the simulated subjects look at.

A scene is a setting (beach, meadow, ...) with one to three objects, each with a category,
a colour, a texture, a place and a size. Everything about scene `index` follows from
`(seed, index)` alone, so two data sets with different seeds share no picture and a data set
can be enlarged without changing what it already holds.

The pictures are drawn by `mindeye.data.scene_drawing`; this module knows no pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindeye.data.scene_drawing import COLOUR_VALUES, SETTING_LOOKS, SILHOUETTES, draw_parts

CATEGORIES: tuple[str, ...] = tuple(SILHOUETTES)
SETTINGS: tuple[str, ...] = tuple(SETTING_LOOKS)
COLOURS: tuple[str, ...] = tuple(COLOUR_VALUES)
TEXTURES: tuple[str, ...] = ("plain", "striped", "dotted", "checked")

# Things that fly are placed higher than things that stand, so that scenes read naturally.
AIRBORNE: frozenset[str] = frozenset({"bird", "star", "rocket"})

SMALLEST, LARGEST = 0.26, 0.60
SIZE_WORDS: tuple[tuple[float, str], ...] = ((0.36, "small"), (0.46, "medium"), (1.0, "large"))
SETTING_PHRASES: dict[str, str] = {
    "beach": "on a beach",
    "meadow": "in a meadow",
    "desert": "in a desert",
    "night sky": "under a night sky",
    "sea": "on the sea",
    "room": "in a room",
    "snow": "in the snow",
    "sunset": "at sunset",
}


@dataclass(frozen=True)
class SceneObject:
    """One thing in a scene.

    Attributes
    ----------
    category, colour, texture
        One of `CATEGORIES`, `COLOURS`, `TEXTURES`.
    x, y
        Centre, as a share of the image's width and height; `y` grows downwards.
    size
        Side of the box around the object, as a share of the image's width.
    """

    category: str
    colour: str
    texture: str
    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Scene:
    """A setting with its objects (in drawing order) and its light.

    Attributes
    ----------
    setting
        One of `SETTINGS`.
    objects
        One to three objects of different categories.
    horizon
        Height of the horizon, share of the image from the top.
    light
        Overall brightness of the setting, about .55 to 1.2.
    tint
        Hue in [0, 1) that the light leans to.
    glow
        Horizontal place of the light source, in [0, 1].
    phase
        Phase of waves and hills, in [0, 1).
    """

    setting: str
    objects: tuple[SceneObject, ...]
    horizon: float
    light: float
    tint: float
    glow: float
    phase: float


def make_scene(index: int, seed: int) -> Scene:
    """Sample scene `index` of the data set named by `seed`.

    Parameters
    ----------
    index : int
        Position in the data set, from 0.
    seed : int
        Names the data set.

    Returns
    -------
    Scene
        The same for the same `(seed, index)`, whatever else was sampled before.
    """
    rng = np.random.default_rng([seed, index])
    setting = SETTINGS[rng.integers(len(SETTINGS))]
    count = 1 + int(rng.choice(3, p=(0.35, 0.40, 0.25)))
    categories = rng.choice(len(CATEGORIES), size=count, replace=False)
    objects: list[SceneObject] = []
    for category in categories:
        objects.append(_place(CATEGORIES[category], objects, rng))
    # Lower objects are nearer: drawing them last lets them cover the farther ones.
    objects.sort(key=lambda thing: thing.y + thing.size / 2)
    return Scene(
        setting=setting,
        objects=tuple(objects),
        horizon=float(rng.uniform(0.34, 0.66)),
        light=float(rng.uniform(0.55, 1.2)),
        tint=float(rng.uniform()),
        glow=float(rng.uniform()),
        phase=float(rng.uniform()),
    )


def _place(category: str, others: Sequence[SceneObject], rng: np.random.Generator) -> SceneObject:
    """Find a place with little overlap; the object shrinks while none is found."""
    largest = LARGEST - 0.07 * len(others)
    lowest, highest = (0.2, 0.6) if category in AIRBORNE else (0.4, 0.8)
    size = float(rng.uniform(SMALLEST, largest))
    x = y = 0.5
    for _ in range(24):
        half = size / 2
        x = float(rng.uniform(half, 1 - half))
        y = float(rng.uniform(max(lowest, half), min(highest, 1 - half)))
        if all(np.hypot(x - o.x, y - o.y) > 0.8 * (size + o.size) / 2 for o in others):
            break
        size = max(SMALLEST, size * 0.95)
    colour = COLOURS[rng.integers(len(COLOURS))]
    texture = TEXTURES[rng.integers(len(TEXTURES))]
    return SceneObject(category, colour, texture, x, y, size)


def make_scenes(count: int, seed: int, start: int = 0) -> list[Scene]:
    """Sample the scenes `start` to `start + count - 1` of the data set named by `seed`."""
    return [make_scene(index, seed) for index in range(start, start + count)]


def draw_scene(scene: Scene, size: int = 64) -> NDArray[np.uint8]:
    """Draw a scene.

    Parameters
    ----------
    scene : Scene
    size : int
        Side of the square picture in pixels.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
    """
    return draw_parts(
        scene.setting,
        [(o.category, o.colour, o.texture, o.x, o.y, o.size) for o in scene.objects],
        (scene.horizon, scene.light, scene.tint, scene.glow, scene.phase),
        size,
    )


def draw_scenes(scenes: Sequence[Scene], size: int = 64) -> NDArray[np.uint8]:
    """Draw many scenes into one array of shape (S, H, W, 3), uint8."""
    images = np.empty((len(scenes), size, size, 3), dtype=np.uint8)
    for row, scene in enumerate(scenes):
        images[row] = draw_scene(scene, size)
    return images


def object_phrase(thing: SceneObject) -> str:
    """Say one object in words: size, colour, texture, category, place."""
    size = next(word for limit, word in SIZE_WORDS if thing.size <= limit)
    column = "left" if thing.x < 0.4 else "right" if thing.x > 0.6 else ""
    row = "top" if thing.y < 0.42 else "bottom" if thing.y > 0.62 else ""
    place = " ".join(filter(None, ("at the", row, column))) if row or column else "in the middle"
    return f"a {size} {thing.colour} {thing.texture} {thing.category} {place}"


def caption(scene: Scene, order: Sequence[int] | None = None) -> str:
    """Describe a scene in words.

    Parameters
    ----------
    scene : Scene
    order : sequence of int, optional
        Order in which the objects are named; from left to right by default.

    Returns
    -------
    str
        For example "a small red striped fish at the left and a large blue plain cup at the
        bottom right, on a beach".
    """
    things = sorted(scene.objects, key=lambda thing: thing.x)
    if order is not None:
        things = [things[i] for i in order]
    clauses = " and ".join(object_phrase(thing) for thing in things)
    return f"{clauses}, {SETTING_PHRASES[scene.setting]}"


ATTRIBUTE_NAMES: tuple[str, ...] = (
    *(f"{c}:{part}" for c in CATEGORIES for part in ("present", "x", "y", "size")),
    *(f"colour:{c}" for c in COLOURS),
    *(f"texture:{t}" for t in TEXTURES),
    *(f"setting:{s}" for s in SETTINGS),
    "horizon",
    "light",
    "objects",
)
_POSITION = {name: i for i, name in enumerate(ATTRIBUTE_NAMES)}


def attributes(scene: Scene) -> NDArray[np.float32]:
    """Describe a scene in numbers.

    Returns
    -------
    ndarray, shape (A,), float32
        One value in [0, 1] for each of `ATTRIBUTE_NAMES`. `x`, `y` and `size` (rescaled to
        [0, 1]) are 0 where the category is absent. A colour or texture has the share of the
        objects' area that wears it.
    """
    values = np.zeros(len(ATTRIBUTE_NAMES), dtype=np.float32)
    area = sum(o.size**2 for o in scene.objects)
    for o in scene.objects:
        first = _POSITION[f"{o.category}:present"]
        scaled = (o.size - SMALLEST) / (LARGEST - SMALLEST)
        values[first : first + 4] = (1.0, o.x, o.y, scaled)
        values[_POSITION[f"colour:{o.colour}"]] += o.size**2 / area
        values[_POSITION[f"texture:{o.texture}"]] += o.size**2 / area
    values[_POSITION[f"setting:{scene.setting}"]] = 1.0
    values[_POSITION["horizon"]] = scene.horizon
    values[_POSITION["light"]] = (scene.light - 0.55) / 0.65
    values[_POSITION["objects"]] = len(scene.objects) / 3
    return values
