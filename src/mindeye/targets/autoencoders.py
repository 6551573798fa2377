"""Autoencoders: the latents that the low-level pipeline predicts and generators start from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from mindeye.errors import CheckpointError, ConfigError
from mindeye.targets.encoders import folder_fingerprint
from mindeye.targets.images import resize
from mindeye.zoo import zoo_folder


class Autoencoder(Protocol):
    """Turns images into scaled latents and back.

    Attributes
    ----------
    id
        Name of the space; a generator takes latents of its own space only.
    shape
        (C, h, w) of its latents.
    fingerprint
        Hash of weights and library versions.
    """

    id: str
    shape: tuple[int, int, int]
    fingerprint: str

    def encode(self, images: Tensor) -> Tensor:
        """Return latents (N, C, h, w) of images (N, 3, H, W) in [0, 1]."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (N, 3, H, W) in [0, 1] of latents (N, C, h, w)."""
        ...


class KLAutoencoder:
    """A `diffusers` AutoencoderKL; latents are the mode times its scaling factor.

    Parameters
    ----------
    folder
        Local folder that `AutoencoderKL.from_pretrained` reads; safetensors only.
    name
        Its `id`.
    device
        Where it runs.
    """

    def __init__(self, folder: Path, name: str, *, device: torch.device) -> None:
        from diffusers import AutoencoderKL

        try:
            vae = AutoencoderKL.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, torch_dtype=torch.float32
            )
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder} holds no AutoencoderKL: {error}") from error
        self.vae = vae.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
        self.id = name
        self.device = device
        self.size = int(vae.config.sample_size)
        side = self.size // 2 ** (len(vae.config.block_out_channels) - 1)
        self.shape = (int(vae.config.latent_channels), side, side)
        self.scale = float(vae.config.scaling_factor)
        self.shift = float(vae.config.shift_factor or 0.0)
        self.fingerprint = folder_fingerprint(folder)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Return scaled latents, of unit standard deviation over natural inputs."""
        pixels = resize(images.to(self.device), self.size) * 2 - 1
        mode: Tensor = self.vae.encode(pixels).latent_dist.mode()
        return ((mode - self.shift) * self.scale).cpu()

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Return images in [0, 1]."""
        unscaled = latents.to(self.device) / self.scale + self.shift
        pixels: Tensor = self.vae.decode(unscaled).sample
        return ((pixels + 1) / 2).clamp(0, 1).cpu()


class PixelAutoencoder:
    """No autoencoder at all: latents are pixels in [-1, 1], for small, simple figures.

    Parameters
    ----------
    size
        Side that pictures are resized to.
    """

    def __init__(self, size: int) -> None:
        self.id = f"pixels{size}"
        self.shape = (3, size, size)
        self.fingerprint = f"pixels-{size}"

    def encode(self, images: Tensor) -> Tensor:
        """Return images in [-1, 1]."""
        return resize(images, self.shape[1]) * 2 - 1

    def decode(self, latents: Tensor) -> Tensor:
        """Return images in [0, 1]."""
        return ((latents + 1) / 2).clamp(0, 1)


def load_autoencoder(name: str, *, device: torch.device) -> Autoencoder:
    """Return an autoencoder by its config name.

    Parameters
    ----------
    name
        ``zoo``, ``pixels:SIZE`` or a local AutoencoderKL folder.
    device
        Where it runs.

    Raises
    ------
    ConfigError
        If the name is none of these.
    """
    if name == "zoo":
        return KLAutoencoder(zoo_folder("vae"), "zoo_vae", device=device)
    pixels = re.fullmatch(r"pixels:(\d+)", name)
    if pixels:
        return PixelAutoencoder(int(pixels[1]))
    if Path(name).is_dir():
        return KLAutoencoder(Path(name), Path(name).name, device=device)
    raise ConfigError(
        f"unknown vae {name!r}; known: zoo, pixels:SIZE, or a local AutoencoderKL folder"
    )
