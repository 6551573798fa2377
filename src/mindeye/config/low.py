"""The low-level pipeline: MLP, CNN upsampler, latents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from mindeye.config.bounds import (
    Bound,
    Checked,
    CountOrZero,
    DepthOrZero,
    FieldError,
    ShareBelowOne,
    Temperature,
    Weight,
    Width,
)
from mindeye.config.high import InputLayer
from mindeye.config.optim import OptimConfig


@dataclass(frozen=True)
class LowConfig(Checked):
    """Low-level pipeline: MLP, CNN upsampler to VAE latents (paper section 3.5).

    Parameters
    ----------
    weights
        Folder written by ``mindeye import-checkpoint``: take these weights and train nothing.
    width
        Hidden width of its backbone (4096 in the paper).
    blocks
        Residual blocks of its backbone (4 in the paper).
    seed_channels
        Channels of the grid that the CNN upsampler starts from (64).
    channels
        Channels of the upsampler's last level (64); every level below has twice as many.
    widest
        Most that the channels grow, as a factor (4).
    norm_groups
        Groups of the upsampler's norms (32).
    dropout_in
        Dropout after its input layer.
    dropout_block
        Dropout in every residual block (0.25).
    contrastive_weight
        Weight of the soft contrastive term on intermediate maps (0.1); 0 switches it off.
    contrastive_temperature
        Temperature of that term (0.075).
    contrastive_rows
        Most map positions of a batch that are contrasted in a step, drawn at random, 0 for all of
        them (as published: 8 pictures x 256 positions). Cost grows with the square.
    optim
        Optimiser and schedule.
    """

    section = "low"

    weights: str = ""
    width: Width = 512
    blocks: DepthOrZero = 2
    seed_channels: Width = 64
    channels: Width = 32
    widest: Annotated[int, Bound(1, 1024)] = 2
    norm_groups: Width = 8
    dropout_in: ShareBelowOne = 0.5
    dropout_block: ShareBelowOne = 0.15
    contrastive_weight: Weight = 0.1
    contrastive_temperature: Temperature = 0.075
    contrastive_rows: CountOrZero = 512
    optim: OptimConfig = field(default_factory=OptimConfig)

    @property
    def input_layer(self) -> InputLayer:
        """Kind of the layer over voxels: always the published one."""
        return "published"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels % self.norm_groups:
            raise FieldError(
                "low.norm_groups",
                f"is {self.norm_groups}; it must divide low.channels={self.channels}",
            )
