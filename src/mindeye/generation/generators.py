"""Embedding-to-image models under one small protocol, with an img2img start from latents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from mindeye.errors import CheckpointError, ConfigError
from mindeye.targets.autoencoders import Autoencoder
from mindeye.targets.encoders import Encoder, PixelEncoder
from mindeye.zoo import zoo_folder

GUIDANCE_OFF = 1.0


class Generator(Protocol):
    """Draws images from tokens.

    Attributes
    ----------
    uses_start
        Whether it can start from latents (img2img).
    """

    uses_start: bool

    def generate(
        self, tokens: Tensor, *, seeds: Sequence[int], start: Tensor | None = None
    ) -> Tensor:
        """Return images (N, 3, H, W) in [0, 1].

        Parameters
        ----------
        tokens
            (N, K, D) embeddings to draw.
        seeds
            One a picture, so that it does not change with the batch it is drawn in.
        start
            (N, C, h, w) latents to start from, None for pure noise.
        """
        ...


class LatentGenerator:
    """A `diffusers` UNet2DConditionModel that cross-attends to encoder tokens.

    Classifier-free guidance with all-zero tokens as the unconditional side (as MindEye does);
    img2img noises the start to the timestep that `strength` of the schedule leads to.

    Parameters
    ----------
    folder
        With `unet` and `scheduler`, in the layout of a diffusers pipeline.
    vae
        Autoencoder whose latents the UNet was trained on.
    steps
        Sampling steps of the full schedule.
    guidance
        Scale; 1 switches guidance off.
    strength
        Share of the schedule run when there is a start.
    device
        Where it runs.
    """

    uses_start = True

    def __init__(
        self,
        folder: Path,
        vae: Autoencoder,
        *,
        steps: int,
        guidance: float,
        strength: float,
        device: torch.device,
    ) -> None:
        from diffusers import UNet2DConditionModel, UniPCMultistepScheduler

        try:
            unet = UNet2DConditionModel.from_pretrained(
                folder, subfolder="unet", local_files_only=True, use_safetensors=True,
                torch_dtype=torch.float32,
            )  # fmt: skip
            scheduler = UniPCMultistepScheduler.from_pretrained(folder, subfolder="scheduler")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder} holds no latent generator: {error}") from error
        if unet.config.in_channels != vae.shape[0]:
            raise ConfigError(
                f"the generator in {folder} draws latents of {unet.config.in_channels} channels, "
                f"the autoencoder {vae.id} has {vae.shape[0]}; use the one it was trained with"
            )
        self.unet = unet.eval().requires_grad_(False).to(device)
        self.width = int(unet.config.cross_attention_dim)
        self.scheduler: Any = scheduler
        self.vae = vae
        self.steps, self.guidance, self.strength = steps, guidance, strength
        self.device = device

    @torch.inference_mode()
    def generate(
        self, tokens: Tensor, *, seeds: Sequence[int], start: Tensor | None = None
    ) -> Tensor:
        """Return images (N, 3, H, W); see `Generator`."""
        scheduler = self.scheduler
        scheduler.set_timesteps(self.steps, device=self.device)
        noise = torch.stack(
            [torch.randn(self.vae.shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
        ).to(self.device)
        if start is None:
            timesteps = scheduler.timesteps
            latents = noise * scheduler.init_noise_sigma
        else:
            run = max(1, min(int(self.steps * self.strength), self.steps))
            first = (self.steps - run) * scheduler.order
            timesteps = scheduler.timesteps[first:]
            scheduler.set_begin_index(first)
            times = timesteps[:1].repeat(len(tokens))
            latents = scheduler.add_noise(start.to(self.device), noise, times)
        condition = tokens.to(self.device)
        for timestep in timesteps:
            latents = scheduler.step(
                self._noise(latents, timestep, condition), timestep, latents, return_dict=False
            )[0]
        return self.vae.decode(latents)

    def _noise(self, latents: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """Return the network's output under guidance."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            if self.guidance == GUIDANCE_OFF:
                plain: Tensor = self.unet(latents, timestep, condition).sample
                return plain.float()
            both = torch.cat([torch.zeros_like(condition), condition])
            output: Tensor = self.unet(latents.repeat(2, 1, 1, 1), timestep, both).sample
        without, with_tokens = output.float().chunk(2)
        return without + self.guidance * (with_tokens - without)


class PixelGenerator:
    """Unfolds pixel tokens into a picture; there is nothing to sample."""

    uses_start = False

    def __init__(self, encoder: PixelEncoder) -> None:
        self.encoder = encoder

    def generate(
        self, tokens: Tensor, *, seeds: Sequence[int], start: Tensor | None = None
    ) -> Tensor:
        """Return images (N, 3, size, size); `seeds` and `start` change nothing."""
        del seeds, start
        return self.encoder.decode(tokens)


def load_generator(
    name: str,
    encoder: Encoder,
    vae: Autoencoder,
    *,
    steps: int,
    guidance: float,
    strength: float,
    device: torch.device,
) -> Generator | None:
    """Return a generator by its config name, None for ``none``.

    Raises
    ------
    ConfigError
        If the name is unknown or the generator does not take the encoder's embeddings.
    """
    if name == "none":
        return None
    if name == "pixels":
        if not isinstance(encoder, PixelEncoder):
            raise ConfigError(f"the generator pixels does not take embeddings of {encoder.id}")
        return PixelGenerator(encoder)
    if name != "zoo" and not Path(name).is_dir():
        raise ConfigError(
            f"unknown generator {name!r}; known: zoo, pixels, none, or a local folder with unet "
            "and scheduler"
        )
    folder = zoo_folder("generator") if name == "zoo" else Path(name)
    generator = LatentGenerator(
        folder, vae, steps=steps, guidance=guidance, strength=strength, device=device
    )
    if generator.width != encoder.width:
        raise ConfigError(
            f"the generator {name} takes tokens of width {generator.width}, the encoder "
            f"{encoder.id} gives {encoder.width}"
        )
    return generator
