"""The low-level pipeline: MLP, CNN upsampler, latents."""

from __future__ import annotations

from dataclasses import dataclass, field

from mindeye.config.optim import OptimConfig
from mindeye.errors import ConfigError


@dataclass(frozen=True)
class LowConfig:
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
    contrastive_chunk
        Rows of the similarity matrix held at once, 0 for all of them.
    optim
        Optimiser and schedule.
    """

    weights: str = ""
    width: int = 512
    blocks: int = 2
    seed_channels: int = 64
    channels: int = 32
    widest: int = 2
    norm_groups: int = 8
    dropout_in: float = 0.5
    dropout_block: float = 0.15
    contrastive_weight: float = 0.1
    contrastive_temperature: float = 0.075
    contrastive_rows: int = 512
    contrastive_chunk: int = 0
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        if self.channels % self.norm_groups:
            raise ConfigError(
                f"low.norm_groups is {self.norm_groups}; it must divide low.channels="
                f"{self.channels}"
            )
