"""How the procedural scenes are drawn: settings in NumPy, objects in Pillow.

Settings are smooth on purpose (gradients, hills, a soft light): they carry the low
frequencies that a low-level decoder can hope to recover, and a small VAE can encode them.
Objects are drawn at twice the size and reduced, which gives clean edges at 64 pixels.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

RGB = tuple[int, int, int]
# Kind of stroke, then its numbers in the unit box of the object (y grows downwards).
Shape = tuple[str, tuple[float, ...]]
# A shape over the body, in a tone of its own.
Detail = tuple[str, tuple[float, ...], str]

COLOUR_VALUES: dict[str, RGB] = {
    "red": (214, 44, 48),
    "orange": (240, 136, 36),
    "yellow": (244, 212, 60),
    "green": (64, 160, 72),
    "blue": (48, 98, 206),
    "purple": (132, 70, 178),
    "pink": (240, 140, 180),
    "white": (240, 238, 232),
    "black": (44, 42, 52),
    "brown": (132, 86, 54),
}

# What each category looks like: the body wears colour and texture, the details do not.
SILHOUETTES: dict[str, tuple[tuple[Shape, ...], tuple[Detail, ...]]] = {
    "tree": (
        (("ellipse", (0.16, 0.02, 0.84, 0.56)), ("ellipse", (0.04, 0.24, 0.56, 0.70)),
         ("ellipse", (0.44, 0.24, 0.96, 0.70))),
        (("polygon", (0.43, 0.62, 0.57, 0.62, 0.62, 0.99, 0.38, 0.99), "wood"),),
    ),
    "house": (
        (("polygon", (0.12, 0.42, 0.88, 0.42, 0.88, 0.98, 0.12, 0.98)),),
        (("polygon", (0.02, 0.45, 0.5, 0.04, 0.98, 0.45), "dark"),
         ("polygon", (0.42, 0.66, 0.60, 0.66, 0.60, 0.98, 0.42, 0.98), "wood"),
         ("polygon", (0.20, 0.56, 0.34, 0.56, 0.34, 0.72, 0.20, 0.72), "light"),
         ("polygon", (0.68, 0.56, 0.82, 0.56, 0.82, 0.72, 0.68, 0.72), "light")),
    ),
    "car": (
        (("polygon", (0.02, 0.50, 0.20, 0.46, 0.32, 0.24, 0.70, 0.24, 0.82, 0.46, 0.98, 0.52,
                      0.98, 0.76, 0.02, 0.76)),),
        (("polygon", (0.28, 0.46, 0.36, 0.30, 0.49, 0.30, 0.49, 0.46), "light"),
         ("polygon", (0.54, 0.46, 0.54, 0.30, 0.66, 0.30, 0.74, 0.46), "light"),
         ("ellipse", (0.14, 0.62, 0.38, 0.86), "ink"), ("ellipse", (0.64, 0.62, 0.88, 0.86), "ink"),
         ("ellipse", (0.21, 0.69, 0.31, 0.79), "pale"),
         ("ellipse", (0.71, 0.69, 0.81, 0.79), "pale")),
    ),
    "boat": (
        (("polygon", (0.02, 0.70, 0.98, 0.70, 0.80, 0.96, 0.20, 0.96)),
         ("polygon", (0.54, 0.06, 0.92, 0.62, 0.54, 0.62))),
        (("polygon", (0.46, 0.16, 0.46, 0.62, 0.14, 0.62), "pale"),
         ("line", (0.50, 0.02, 0.50, 0.72, 0.05), "wood")),
    ),
    "fish": (
        (("ellipse", (0.02, 0.24, 0.76, 0.78)),
         ("polygon", (0.64, 0.51, 0.98, 0.22, 0.90, 0.51, 0.98, 0.80))),
        (("polygon", (0.30, 0.27, 0.52, 0.08, 0.58, 0.30), "dark"),
         ("ellipse", (0.12, 0.38, 0.25, 0.51), "pale"),
         ("ellipse", (0.15, 0.41, 0.22, 0.48), "ink")),
    ),
    "cat": (
        (("ellipse", (0.20, 0.44, 0.74, 0.99)), ("ellipse", (0.22, 0.12, 0.70, 0.56)),
         ("polygon", (0.23, 0.30, 0.20, 0.00, 0.42, 0.15)),
         ("polygon", (0.69, 0.30, 0.72, 0.00, 0.50, 0.15)),
         ("arc", (0.54, 0.48, 0.98, 0.96, -80, 110, 0.10))),
        (("ellipse", (0.31, 0.28, 0.42, 0.39), "glow"), ("ellipse", (0.50, 0.28, 0.61, 0.39),
                      "glow"),
         ("ellipse", (0.34, 0.29, 0.39, 0.38), "ink"), ("ellipse", (0.53, 0.29, 0.58, 0.38), "ink"),
         ("polygon", (0.42, 0.43, 0.50, 0.43, 0.46, 0.48), "rose")),
    ),
    "cup": (
        (("polygon", (0.10, 0.22, 0.72, 0.22, 0.64, 0.94, 0.18, 0.94)),
         ("arc", (0.52, 0.32, 0.96, 0.76, -100, 110, 0.10))),
        (("ellipse", (0.10, 0.12, 0.72, 0.32), "dark"),),
    ),
    "ball": (
        (("ellipse", (0.04, 0.04, 0.96, 0.96)),),
        (("ellipse", (0.22, 0.16, 0.44, 0.36), "light"),),
    ),
    "flower": (
        (("ellipse", (0.34, 0.00, 0.66, 0.32)), ("ellipse", (0.56, 0.14, 0.88, 0.46)),
         ("ellipse", (0.48, 0.36, 0.80, 0.66)), ("ellipse", (0.20, 0.36, 0.52, 0.66)),
         ("ellipse", (0.12, 0.14, 0.44, 0.46))),
        (("line", (0.50, 0.60, 0.50, 0.99, 0.07), "leaf"),
         ("polygon", (0.50, 0.90, 0.82, 0.70, 0.70, 0.92), "leaf"),
         ("ellipse", (0.37, 0.22, 0.63, 0.47), "glow")),
    ),
    "bird": (
        (("ellipse", (0.20, 0.40, 0.74, 0.76)), ("ellipse", (0.60, 0.24, 0.88, 0.54)),
         ("polygon", (0.28, 0.54, 0.00, 0.44, 0.06, 0.72)),
         ("polygon", (0.34, 0.46, 0.18, 0.02, 0.62, 0.46))),
        (("polygon", (0.86, 0.34, 1.00, 0.42, 0.85, 0.46), "beak"),
         ("ellipse", (0.72, 0.32, 0.79, 0.39), "ink"),
         ("line", (0.44, 0.74, 0.42, 0.92, 0.04), "beak"),
         ("line", (0.54, 0.74, 0.54, 0.92, 0.04), "beak")),
    ),
    "star": (
        (("polygon", (0.50, 0.01, 0.63, 0.36, 0.99, 0.38, 0.71, 0.61, 0.81, 0.97, 0.50, 0.76,
                      0.19, 0.97,
                      0.29, 0.61, 0.01, 0.38, 0.37, 0.36)),),
        (),
    ),
    "chair": (
        (("polygon", (0.16, 0.02, 0.32, 0.02, 0.32, 0.50, 0.84, 0.50, 0.84, 0.64, 0.16, 0.64)),),
        (("line", (0.22, 0.62, 0.20, 0.99, 0.08), "wood"), ("line", (0.78, 0.62, 0.80, 0.99,
                      0.08), "wood")),
    ),
    "mushroom": (
        (("pie", (0.04, 0.06, 0.96, 0.98, 180, 360)),),
        (("polygon", (0.36, 0.52, 0.64, 0.52, 0.70, 0.98, 0.30, 0.98), "pale"),),
    ),
    "rocket": (
        (("ellipse", (0.32, 0.00, 0.68, 0.86)),),
        (("polygon", (0.34, 0.52, 0.12, 0.86, 0.36, 0.78), "dark"),
         ("polygon", (0.66, 0.52, 0.88, 0.86, 0.64, 0.78), "dark"),
         ("polygon", (0.40, 0.82, 0.60, 0.82, 0.50, 1.00), "beak"),
         ("ellipse", (0.41, 0.24, 0.59, 0.42), "light")),
    ),
}  # fmt: skip

TONES: dict[str, RGB] = {
    "wood": (104, 72, 48),
    "light": (206, 226, 238),
    "pale": (238, 230, 212),
    "ink": (34, 32, 40),
    "glow": (246, 206, 74),
    "rose": (226, 120, 130),
    "leaf": (62, 132, 66),
    "beak": (240, 150, 40),
}


@dataclass(frozen=True)
class Layer:
    """A piece of ground: everything below a wavy line, shaded from `top` to `bottom`."""

    drop: float
    swing: float
    waves: float
    top: RGB
    bottom: RGB
    ripple: float = 0.0


@dataclass(frozen=True)
class Look:
    """A setting: its sky from `top` to `low`, its grounds, and how strongly it glows."""

    top: RGB
    low: RGB
    layers: tuple[Layer, ...]
    glow: float


SETTING_LOOKS: dict[str, Look] = {
    "beach": Look((88, 172, 232), (196, 232, 244), (
        Layer(0.0, 0.0, 1, (40, 130, 180), (72, 190, 200)),
        Layer(0.16, 0.05, 0.8, (240, 222, 168), (214, 178, 118))), 60),
    "meadow": Look((120, 180, 240), (222, 236, 240), (
        Layer(0.0, 0.06, 1.3, (112, 168, 88), (84, 140, 70)),
        Layer(0.14, 0.08, 0.9, (134, 194, 84), (60, 120, 50))), 50),
    "desert": Look((236, 190, 130), (250, 226, 180), (
        Layer(0.02, 0.09, 0.9, (226, 160, 96), (190, 112, 62)),
        Layer(0.22, 0.08, 1.2, (236, 178, 110), (168, 92, 52))), 70),
    "night sky": Look((12, 14, 46), (52, 58, 116), (
        Layer(0.10, 0.06, 1.1, (32, 44, 66), (12, 18, 30)),), 110),
    "sea": Look((150, 200, 226), (216, 232, 236), (
        Layer(-0.04, 0.0, 1, (28, 104, 160), (8, 44, 96), 14),), 50),
    "room": Look((206, 160, 150), (224, 186, 170), (
        Layer(0.14, 0.0, 1, (104, 70, 54), (150, 106, 78)),), 46),
    "snow": Look((110, 128, 156), (168, 182, 202), (
        Layer(-0.02, 0.09, 1.0, (196, 210, 226), (222, 232, 242)),
        Layer(0.18, 0.07, 1.2, (236, 242, 248), (250, 252, 255))), 30),
    "sunset": Look((70, 38, 104), (246, 132, 72), (
        Layer(0.06, 0.03, 1.6, (120, 50, 82), (48, 20, 56)),), 120),
}  # fmt: skip

ObjectParts = tuple[str, str, str, float, float, float]


def draw_parts(
    setting: str,
    objects: Sequence[ObjectParts],
    light: tuple[float, float, float, float, float],
    size: int,
) -> NDArray[np.uint8]:
    """Draw a setting with objects on it.

    Parameters
    ----------
    setting : str
        A key of `SETTING_LOOKS`.
    objects : sequence of (category, colour, texture, x, y, size)
        Objects in drawing order; places and sizes as shares of the picture.
    light : (horizon, light, tint, glow, phase)
        Light of the scene; see `mindeye.data.scenes.Scene`.
    size : int
        Side of the picture in pixels.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
    """
    picture = Image.fromarray(_background(SETTING_LOOKS[setting], light, size))
    for category, colour, texture, x, y, share in objects:
        pixels = max(4, round(share * size))
        patch = _draw_object(category, colour, texture, pixels)
        corner = (round(x * size - pixels / 2), round(y * size - pixels / 2))
        picture.paste(patch, corner, patch)
    return np.asarray(picture)


def _background(
    look: Look, light: tuple[float, float, float, float, float], size: int
) -> NDArray[np.uint8]:
    horizon, brightness, tint, glow, phase = light
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    down, across = axis[:, None], axis[None, :]
    field = np.broadcast_to(_shade(look.top, look.low, down / horizon), (size, size, 3)).copy()
    # The light: a soft spot near the horizon and a slope from its side to the other.
    spread = (across - glow) ** 2 + (down - 0.6 * horizon) ** 2
    field += look.glow * np.exp(-spread / 0.06)[..., None]
    for layer in look.layers:
        edge = horizon + layer.drop
        line = edge + layer.swing * np.sin(2 * np.pi * (layer.waves * across + phase))
        ground = _shade(layer.top, layer.bottom, (down - edge) / max(0.2, 1 - edge))
        if layer.ripple:
            ripple = np.sin(2 * np.pi * (7 * down**1.5 + 1.5 * across + phase))
            ground = ground + layer.ripple * ripple[..., None]
        cover = np.clip((down - line) * size + 0.5, 0, 1)[..., None]
        field += cover * (ground - field)
    slope = 1 - 0.35 * np.abs(across - glow)
    hue = np.array(colorsys.hsv_to_rgb(tint, 0.4, 1.0), dtype=np.float32)
    field *= (brightness * slope)[..., None] * hue
    return np.clip(field, 0, 255).astype(np.uint8)


def _shade(top: RGB, bottom: RGB, share: NDArray[np.floating]) -> NDArray[np.floating]:
    """Blend two colours: (H, 1) shares -> (H, 1, 3), or (H, W) -> (H, W, 3)."""
    first, last = np.array(top, dtype=np.float32), np.array(bottom, dtype=np.float32)
    blend: NDArray[np.floating] = first + np.clip(share, 0, 1)[..., None] * (last - first)
    return blend


def _draw_object(category: str, colour: str, texture: str, pixels: int) -> Image.Image:
    """Draw one object as an RGBA patch of `pixels` x `pixels`."""
    side = 2 * pixels
    base = COLOUR_VALUES[colour]
    body, details = SILHOUETTES[category]
    mask = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(mask)
    for kind, numbers in body:
        _stroke(pen, kind, numbers, side, 255)
    fill = _textured(base, texture, side)
    ink = _mix(base, (0, 0, 0), 0.55)
    patch = Image.new("RGBA", (side, side), (*ink, 0))
    # A dark rim keeps a green tree apart from a green meadow.
    patch.paste(Image.new("RGBA", (side, side), (*ink, 255)), (0, 0), mask)
    patch.paste(fill, (0, 0), mask.filter(ImageFilter.MinFilter(3)))
    pen = ImageDraw.Draw(patch)
    for kind, numbers, tone in details:
        _stroke(pen, kind, numbers, side, (*TONES.get(tone, ink), 255))
    return patch.reduce(2)


def _textured(base: RGB, texture: str, side: int) -> Image.Image:
    """Fill a square with a colour and a pattern of moderate contrast."""
    other = _mix(base, (255, 255, 255) if sum(base) < 420 else (60, 50, 60), 0.45)
    square = Image.new("RGBA", (side, side), (*base, 255))
    if texture == "plain":
        return square
    pen = ImageDraw.Draw(square)
    step = side / 5
    for i in range(5):
        if texture == "striped":
            pen.rectangle((0, i * step, side, (i + 0.5) * step), fill=(*other, 255))
            continue
        for j in range(5):
            left, top = j * step, i * step
            if texture == "checked" and (i + j) % 2:
                pen.rectangle((left, top, left + step, top + step), fill=(*other, 255))
            elif texture == "dotted":
                shift = step / 2 * (i % 2)
                box = (left + shift, top + 0.2 * step, left + shift + 0.6 * step, top + 0.8 * step)
                pen.ellipse(box, fill=(*other, 255))
    return square


def _mix(colour: RGB, other: RGB, share: float) -> RGB:
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def _stroke(
    pen: ImageDraw.ImageDraw,
    kind: str,
    numbers: tuple[float, ...],
    side: int,
    fill: int | tuple[int, ...],
) -> None:
    """Draw one shape of the unit box, scaled to `side` pixels."""
    last = side - 1
    if kind == "polygon":
        pen.polygon([n * last for n in numbers], fill=fill)
    elif kind == "line":
        pen.line([n * last for n in numbers[:4]], fill=fill, width=max(1, round(numbers[4] * side)))
    elif kind == "ellipse":
        pen.ellipse([n * last for n in numbers], fill=fill)
    elif kind == "pie":
        pen.pieslice([n * last for n in numbers[:4]], numbers[4], numbers[5], fill=fill)
    else:
        width = max(1, round(numbers[6] * side))
        pen.arc([n * last for n in numbers[:4]], numbers[4], numbers[5], fill=fill, width=width)
