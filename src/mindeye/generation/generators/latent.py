"""Latent diffusion with any condition: one class for every back-end, one loop."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from mindeye.config import ReconstructConfig
from mindeye.errors import ConfigError
from mindeye.generation.generators.base import check_embeddings, check_start
from mindeye.generation.generators.conditions import Condition, ImagePrompt
from mindeye.generation.generators.loop import Plan, sample_latents
from mindeye.generation.generators.own_vae import OwnAutoencoder, Start
from mindeye.targets.autoencoders import Autoencoder


class LatentGenerator:
    """A `diffusers` U-Net under a condition, sampled from noise or from the low-level latents.

    Precision ``fp32`` computes as the weights are; ``bf16`` keeps weights in float32 and computes
    matrix products in bfloat16; ``fp16`` holds the weights in half precision too. The autoencoder
    stays in float32 (SDXL's overflows in half precision).

    Parameters
    ----------
    unet
        U-Net of `diffusers`, a UNet2DConditionModel.
    scheduler
        Scheduler of `diffusers`.
    condition
        How the U-Net is told what to draw.
    vae
        The run's autoencoder, whose latents `start` are.
    own
        The generator's autoencoder, None where it draws in the run's.
    config
        Steps, strength, guidance, precision, attention, start, batch size, norm.
    device
        Device that the generator runs on.
    """

    uses_start = True

    def __init__(
        self,
        unet: Any,
        scheduler: Any,
        condition: Condition,
        *,
        vae: Autoencoder,
        own: OwnAutoencoder | None,
        config: ReconstructConfig,
        device: torch.device,
    ) -> None:
        self.latent_shape = tuple(vae.shape if own is None else own.shape)
        if unet.config.in_channels != self.latent_shape[0]:
            raise ConfigError(
                f"the generator draws latents of {unet.config.in_channels} channels, the "
                f"autoencoder {vae.id if own is None else 'in its own folder'} has "
                f"{self.latent_shape[0]}; use the one it was trained with"
            )
        _set_attention(unet, condition, config.attention)
        half = torch.float16 if config.precision == "fp16" else torch.float32
        self.unet = unet.eval().requires_grad_(False).to(device=device, dtype=half)
        self.scheduler = scheduler
        self.condition, self.space = condition, condition.space
        self.vae, self.own = vae, own
        self.start = Start(vae, own, config.start)
        self.plan = Plan(config.steps, config.strength, config.guidance)
        self.config = config
        self.device = device

    def unconditional(self, strength: float) -> LatentGenerator:
        """Return a generator of the same networks that draws no embedding, only the start.

        At guidance 0 the output is that of the unconditional half alone (`loop._guide`), so that
        what is given as tokens changes nothing.

        Parameters
        ----------
        strength
            Share of the noise schedule that is run through, in (0, 1].
        """
        other = copy.copy(self)
        other.plan = Plan(self.plan.steps, strength, guidance=0.0)
        return other

    def generate(
        self, tokens: Tensor, *, seeds: Sequence[int], start: Tensor | None = None
    ) -> Tensor:
        """Return images (N, 3, H, W); see `Generator`."""
        latents = self.draw(tokens, seeds=seeds, start=start)
        return (self.vae if self.own is None else self.own).decode(latents)

    @torch.inference_mode()
    def draw(self, tokens: Tensor, *, seeds: Sequence[int], start: Tensor | None = None) -> Tensor:
        """Return latents (N, C, h, w) in the generator's space, at most a batch at a time.

        Raises
        ------
        DataError
            If embeddings or start do not fit.
        """
        if self.config.norm:
            tokens = tokens * (self.config.norm / tokens[:, :1].norm(dim=-1, keepdim=True))
        check_embeddings(tokens, self.space, seeds=seeds)
        if start is not None:
            check_start(start, len(tokens), self.vae.shape)
        parts = []
        for first in range(0, len(tokens), self.config.batch_size):
            block = slice(first, first + self.config.batch_size)
            given = None if start is None else start[block]
            parts.append(self._draw(tokens[block], seeds[block], given))
        return torch.cat(parts)

    def _draw(self, tokens: Tensor, seeds: Sequence[int], start: Tensor | None) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        arguments = self.condition.arguments(
            tokens.to(self.device, self.unet.dtype), generators, guided=self.plan.guided
        )
        noise = torch.stack([torch.randn(self.latent_shape, generator=g) for g in generators])

        def denoise(latents: Tensor, timestep: Tensor) -> Tensor:
            with self._precision():
                output: Tensor = self.unet(
                    latents.to(self.unet.dtype), timestep, return_dict=False, **arguments
                )[0]
            return output

        return sample_latents(
            denoise,
            self.scheduler,
            self.plan,
            noise=noise.to(self.device),
            start=None if start is None else self.start(start).to(self.device),
            generators=generators,
        )

    def _precision(self) -> AbstractContextManager[Any]:
        if self.config.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()


def _set_attention(unet: Any, condition: Condition, attention: str) -> None:
    """Compute attention in slices if asked, which takes less memory and more time."""
    if attention != "slicing":
        return
    if isinstance(condition, ImagePrompt):
        raise ConfigError(
            "reconstruct.attention=slicing takes an IP-Adapter's attention away; leave it empty "
            "and lower reconstruct.batch_size"
        )
    unet.set_attention_slice("auto")
