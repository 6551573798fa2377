"""The low-level model: betas to the latents of an image autoencoder, by a CNN upsampler.

Source: the MindEye paper (arXiv 2305.18274), section 3.3 and appendix A.4, and the published code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mindeye.config.low import LowConfig
from mindeye.errors import ConfigError
from mindeye.models.decoder import DenseStyle, ResidualBackbone
from mindeye.models.sizes import Sizes

STYLE = DenseStyle(activation="silu", bias=False)
"""Layers of the published low-level model."""


class LowLevelOutput(NamedTuple):
    """What the low-level model predicts.

    Attributes
    ----------
    latents
        (N, C, h, w) in units of the autoencoder's latents times its scaling factor.
    maps
        (N, P, M): features of the seed's P = height * width positions, compared with those of an
        image network in training; None if the model has no maps projector.
    """

    latents: Tensor
    maps: Tensor | None


class MapsProjector(nn.Module):
    """Three 1 x 1 convolutions, group norm and ReLU between; (N, C, h, w) to (N, M, h, w).

    Only the last convolution has a bias (published code).
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(channels, width, 1, bias=False),
                nn.Conv2d(width, width, 1, bias=False),
                nn.Conv2d(width, width, 1),
            ]
        )
        self.norms = nn.ModuleList([nn.GroupNorm(1, width), nn.GroupNorm(1, width)])

    def forward(self, seed: Tensor) -> Tensor:
        """(N, C, h, w) to (N, M, h, w)."""
        hidden = seed
        for convolution, norm in zip(self.convolutions[:-1], self.norms, strict=True):
            hidden = torch.relu(norm(convolution(hidden)))
        maps: Tensor = self.convolutions[-1](hidden)
        return maps


@dataclass(frozen=True)
class Upsampling:
    """Grids that the upsampler goes through.

    Parameters
    ----------
    seed
        (channels, height, width) of the grid that the MLP ends in.
    widths
        Channels of its levels, from its output inward; all but one double height and width.
    latent_channels
        Channels C of the latents.
    layers
        Residual layers of a level less one, as diffusers counts.
    """

    seed: tuple[int, int, int]
    widths: tuple[int, ...]
    latent_channels: int
    layers: int = 1


def upsampling_of(config: LowConfig, sizes: Sizes, maps: tuple[int, int] | None) -> Upsampling:
    """Return the grids between maps (or half the latents' side) and latents.

    Raises
    ------
    ConfigError
        If the maps' grid and the latents' grid differ by something else than a power of two.
    """
    channels, height, width = sizes.latents
    side = height // 2 if maps is None else round(maps[0] ** 0.5)
    if maps is not None and side * side != maps[0]:
        raise ConfigError(
            f"{maps[0]} maps positions are not a square grid; set low.contrastive_weight=0"
        )
    levels = 0
    while side << levels < height:
        levels += 1
    if side << levels != height or height != width:
        raise ConfigError(
            f"maps of side {side} and latents of {height} x {width} do not differ by a power of "
            "two; set low.contrastive_weight=0"
        )
    widths = tuple(config.channels * min(2**i, config.widest) for i in range(levels + 1))
    return Upsampling((config.seed_channels, side, side), widths, channels)


class LowLevel(nn.Module):
    """Betas (N, V) to latents (N, C, h, w) and maps (N, P, M).

    Parameters
    ----------
    config
        Widths, blocks, dropout and norms; with `config.optim.recompute` training keeps only the
        inputs of the upsampler's blocks and computes their insides again in the backward pass:
        less memory for more time, the same numbers.
    sizes
        V and (C, h, w).
    maps
        (P, M) of the maps that its seed is contrasted with; P must be a square grid. None builds
        no projector of maps.
    upsampling
        Grids of the upsampler; by default those that follow from the other three.

    Raises
    ------
    ConfigError
        If the maps' grid and the latents' grid differ by something else than a power of two.
    """

    def __init__(
        self,
        config: LowConfig,
        sizes: Sizes,
        maps: tuple[int, int] | None = None,
        upsampling: Upsampling | None = None,
    ) -> None:
        super().__init__()
        grids = upsampling or upsampling_of(config, sizes, maps)
        channels, rows, columns = grids.seed
        self.seed_shape = grids.seed
        self.recompute = config.optim.recompute
        self.backbone = ResidualBackbone(config, sizes.voxels, STYLE)
        self.to_seed = nn.Linear(config.width, channels * rows * columns, bias=False)
        self.norm = nn.GroupNorm(1, channels)
        self.upsampler = _build_upsampler(grids, config.norm_groups)
        self.maps_projector = None if maps is None else MapsProjector(channels, maps[1])

    def seed_grid(self, betas: Tensor) -> Tensor:
        """(N, V) to the normalised seed grid (N, channels, height, width)."""
        flat = self.to_seed(self.backbone(betas))
        grid: Tensor = self.norm(flat.unflatten(1, self.seed_shape))
        return grid

    def forward(self, betas: Tensor) -> LowLevelOutput:
        """Decode betas (N, V)."""
        seed = self.seed_grid(betas)
        latents = self._upsample(seed)
        if self.maps_projector is None:
            return LowLevelOutput(latents, None)
        return LowLevelOutput(latents, positions_last(self.maps_projector(seed)))

    def _upsample(self, seed: Tensor) -> Tensor:
        """Seed grid to latents, by diffusers' own pass or by blocks whose insides are not kept."""
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            latents: Tensor = self.upsampler(seed)
            return latents
        upsampler: Any = self.upsampler
        hidden = upsampler.conv_in(seed)
        for block in (upsampler.mid_block, *upsampler.up_blocks):
            # The blocks draw no random numbers.
            hidden = checkpoint(block, hidden, use_reentrant=False, preserve_rng_state=False)
        normalised = upsampler.conv_act(upsampler.conv_norm_out(hidden))
        output: Tensor = upsampler.conv_out(normalised)
        return output


def positions_last(maps: Tensor) -> Tensor:
    """(N, M, h, w) to (N, P, M): one row per position, P = h w."""
    return maps.flatten(2).transpose(1, 2)


def _build_upsampler(grids: Upsampling, norm_groups: int) -> nn.Module:
    """Build the decoder half of a diffusers VAE, the upsampler of the published model."""
    # imported here because diffusers takes seconds to import
    from diffusers.models.autoencoders.vae import Decoder as VaeDecoder

    upsampler: nn.Module = VaeDecoder(
        in_channels=grids.seed[0],
        out_channels=grids.latent_channels,
        up_block_types=("UpDecoderBlock2D",) * len(grids.widths),
        block_out_channels=grids.widths,
        layers_per_block=grids.layers,
        norm_num_groups=norm_groups,
    )
    return upsampler
