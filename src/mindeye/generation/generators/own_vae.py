"""A generator's own autoencoder, and how the run's low-level latents become its start.

Published generators bring an autoencoder (`vae`, Kandinsky `movq`). The low-level pipeline predicts
latents of the *run's* autoencoder, which may be another one or the same one in another folder: only
where all weights and the scaling are equal, and the sides, are its latents taken as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mindeye.data.images import resize
from mindeye.errors import CheckpointError, ConfigError
from mindeye.targets.autoencoders import Autoencoder
from mindeye.targets.encoders import check_images
from mindeye.weights.pretrained import open_part, read_settings

DECODED_AT_ONCE = 4
"""Pictures: full-size decoders need gigabytes a picture, and gain nothing from larger batches."""

StartChoice = Literal["auto", "latents", "image"]


class OwnAutoencoder:
    """An AutoencoderKL or Kandinsky's VQModel out of a generator's folder, in float32.

    Parameters
    ----------
    folder
        The generator's folder.
    part
        ``vae`` or ``movq``.
    side
        Side of the latents that the U-Net was trained on.
    device
        Device that the autoencoder runs on.
    """

    def __init__(self, folder: Path, part: str, *, side: int, device: torch.device) -> None:
        name = str(read_settings(folder / part / "config.json").get("_class_name"))
        if name not in ("AutoencoderKL", "VQModel"):
            raise CheckpointError(
                f"{folder / part} holds a {name}; known: AutoencoderKL, VQModel (Kandinsky)"
            )
        self.module: Any = open_part(name, folder, part).to(device)
        config = self.module.config
        self.quantised = name == "VQModel"
        # Kandinsky's pipelines use its latents unscaled, whatever the file says of a scale.
        self.scale = 1.0 if self.quantised else float(config.scaling_factor)
        self.shift = 0.0 if self.quantised else float(config.shift_factor or 0.0)
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        self.shape = (int(config.latent_channels), side, side)
        self.size = side * self.factor
        self.device = device

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Return scaled latents (N, C, h, w), the mode, of images (N, 3, H, W) in [0, 1]."""
        check_images(images)
        parts = [
            self._encode(resize(part.to(self.device), self.size) * 2 - 1)
            for part in torch.split(images, DECODED_AT_ONCE)
        ]
        return torch.cat(parts)

    def _encode(self, pixels: Tensor) -> Tensor:
        encoded = self.module.encode(pixels)
        mode: Tensor = encoded.latents if self.quantised else encoded.latent_dist.mode()
        return (mode - self.shift) * self.scale

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Return images (N, 3, H, W) in [0, 1]."""
        more = {"force_not_quantize": True} if self.quantised else {}
        parts = []
        for part in torch.split(latents.to(self.device), DECODED_AT_ONCE):
            pixels = self.module.decode(part / self.scale + self.shift, **more).sample
            parts.append(((pixels + 1) / 2).clamp(0, 1).cpu())
        return torch.cat(parts)

    def same_space(self, vae: Autoencoder) -> bool:
        """Tell whether latents of the run's autoencoder are this one's: weights, scale, sides."""
        other = getattr(vae, "vae", None)
        if not isinstance(other, nn.Module) or tuple(vae.shape) != self.shape:
            return False
        scaling = (getattr(vae, "scale", None), getattr(vae, "shift", None))
        return scaling == (self.scale, self.shift) and _equal_weights(self.module, other)


def _equal_weights(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(value.cpu(), theirs[key].cpu()) for key, value in ours.items()
    )


class Start:
    """Turns the run's low-level latents into latents that the generator starts from.

    Parameters
    ----------
    vae
        The run's autoencoder.
    own
        The generator's, None where the generator has none and draws in the run's.
    choice
        ``latents`` as they are; ``image`` decodes and encodes them, as the published code does;
        ``auto``: as they are where both spaces are the same.

    Raises
    ------
    ConfigError
        If latents are asked for as they are and the two spaces differ.
    """

    def __init__(self, vae: Autoencoder, own: OwnAutoencoder | None, choice: StartChoice) -> None:
        same = own is None or (choice != "image" and own.same_space(vae))
        if choice == "latents" and not same and own is not None:
            raise ConfigError(
                f"reconstruct.start=latents: the generator's own autoencoder makes other latents "
                f"{own.shape} than targets.vae={vae.id} {tuple(vae.shape)}; use the generator's, "
                "or reconstruct.start=image"
            )
        self.vae, self.own = vae, own
        self.through_pixels = choice == "image" or not same

    def __call__(self, latents: Tensor) -> Tensor:
        """Return start latents (N, C, h, w) in the generator's space."""
        if not self.through_pixels:
            return latents
        target = self.vae if self.own is None else self.own
        return target.encode(self.vae.decode(latents))
