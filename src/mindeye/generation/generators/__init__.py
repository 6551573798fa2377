"""Embedding-to-image models under one small protocol, with an img2img start from latents."""

from mindeye.generation.generators.base import Generator, Space
from mindeye.generation.generators.latent import LatentGenerator
from mindeye.generation.generators.load import GENERATORS, PixelGenerator, load_generator

__all__ = [
    "GENERATORS",
    "Generator",
    "LatentGenerator",
    "PixelGenerator",
    "Space",
    "load_generator",
]
