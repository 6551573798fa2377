"""The low-level model: betas to the latents of an image autoencoder, by a CNN upsampler.

Source: the MindEye paper (arXiv 2305.18274), section 3.3 and appendix A.4, and the published code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mindeye.models.decoder import ResidualBackbone


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


class LowLevelDecoder(nn.Module):
    """Betas (N, V) to latents (N, C, h, w) and maps (N, P, M).

    The defaults are the published model: seed 64 x 16 x 16, upsampled four times to 4 x 64 x 64.

    Parameters
    ----------
    voxels
        V.
    width, blocks
        Of the residual MLP (SiLU, LayerNorm, no biases).
    seed
        (channels, height, width) of the grid that the MLP ends in.
    block_out_channels
        Of the upsampler, from its output inward; every entry but one doubles height and width.
    layers_per_block
        As diffusers counts: an up block has one more residual layer than this.
    latent_channels
        C.
    maps_width
        M, 512 in the published model; None builds no maps projector.
    norm_groups
        Groups of the upsampler's norms; divides every entry of `block_out_channels`.
    dropout_in, dropout_block
        .5 and .25 in the published code.
    recompute
        Keep only the inputs of the upsampler's blocks in training and compute their insides again
        in the backward pass: less memory for more time, the same numbers.
    """

    def __init__(
        self,
        voxels: int,
        *,
        width: int = 4096,
        blocks: int = 4,
        seed: tuple[int, int, int] = (64, 16, 16),
        block_out_channels: Sequence[int] = (64, 128, 256),
        layers_per_block: int = 1,
        latent_channels: int = 4,
        maps_width: int | None = 512,
        norm_groups: int = 32,
        dropout_in: float = 0.5,
        dropout_block: float = 0.25,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        channels, rows, columns = seed
        self.seed_shape = seed
        self.backbone = ResidualBackbone(
            voxels,
            width=width,
            blocks=blocks,
            activation="silu",
            bias=False,
            dropout_in=dropout_in,
            dropout_block=dropout_block,
        )
        self.to_seed = nn.Linear(width, channels * rows * columns, bias=False)
        self.norm = nn.GroupNorm(1, channels)
        self.upsampler = _build_upsampler(
            channels,
            latent_channels,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            norm_groups=norm_groups,
            recompute=recompute,
        )
        self.maps_projector = None if maps_width is None else MapsProjector(channels, maps_width)

    def seed_grid(self, betas: Tensor) -> Tensor:
        """(N, V) to the normalised seed grid (N, channels, height, width)."""
        flat = self.to_seed(self.backbone(betas))
        grid: Tensor = self.norm(flat.unflatten(1, self.seed_shape))
        return grid

    def forward(self, betas: Tensor) -> LowLevelOutput:
        """Decode betas (N, V)."""
        seed = self.seed_grid(betas)
        latents: Tensor = self.upsampler(seed)
        if self.maps_projector is None:
            return LowLevelOutput(latents, None)
        return LowLevelOutput(latents, positions_last(self.maps_projector(seed)))


def positions_last(maps: Tensor) -> Tensor:
    """(N, M, h, w) to (N, P, M): one row per position, P = h w."""
    return maps.flatten(2).transpose(1, 2)


def _build_upsampler(
    channels: int,
    latent_channels: int,
    *,
    block_out_channels: Sequence[int],
    layers_per_block: int,
    norm_groups: int,
    recompute: bool,
) -> nn.Module:
    """Build the decoder half of a diffusers VAE, the upsampler of the published model."""
    # imported here because diffusers takes seconds to import
    from diffusers.models.autoencoders.vae import Decoder as VaeDecoder

    upsampler: Any = VaeDecoder(
        in_channels=channels,
        out_channels=latent_channels,
        up_block_types=("UpDecoderBlock2D",) * len(block_out_channels),
        block_out_channels=tuple(block_out_channels),
        layers_per_block=layers_per_block,
        norm_num_groups=norm_groups,
    )
    # not by diffusers' own switch: it would also set the parts of the middle block, which would
    # then be computed three times
    upsampler.gradient_checkpointing = recompute
    upsampler._gradient_checkpointing_func = _recomputed
    built: nn.Module = upsampler
    return built


def _recomputed(block: nn.Module, *inputs: Tensor | None) -> Tensor:
    """Run a block of the upsampler; in training keep its inputs alone."""
    if not block.training:
        kept: Tensor = block(*inputs)
        return kept
    # the blocks draw no random numbers
    output: Tensor = checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)
    return output
