"""The high-level pipeline: backbone, projector, prior, contrastive losses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from mindeye.config.bounds import (
    Bound,
    Checked,
    Depth,
    DepthOrZero,
    FieldError,
    Registered,
    Share,
    ShareBelowOne,
    Temperature,
    Weight,
    Width,
    WidthOrZero,
)
from mindeye.config.fingerprints import SINCE
from mindeye.config.optim import OptimConfig
from mindeye.errors import ConfigError

Attention = Literal["sdpa", "explicit"]
DecoderKind = Annotated[str, Registered("DECODERS", ("residual",))]
InputLayer = Literal["published", "linear"]
Head = Literal["full", "low_rank", "shared"]
PriorKind = Literal["diffusion", "mse", "none"]
Sampler = Annotated[str, Registered("SAMPLERS", ("dpmpp", "ddim", "ddim_as_published", "ddpm"))]
SoftLoss = Annotated[str, Registered("LOSSES", ("softclip", "infonce"))]


@dataclass(frozen=True)
class DecoderConfig(Checked):
    """Residual-MLP backbone and projector (paper section 3.1).

    Parameters
    ----------
    kind
        Network: ``residual`` (the paper's), or a name added to `mindeye.models.DECODERS`, which may
        use the other fields or not.
    width
        Hidden width of the backbone (4096 in the paper).
    blocks
        Residual blocks (4 in the paper).
    input_layer
        ``published`` is Linear-LayerNorm-GELU-Dropout; ``linear`` is a plain linear layer
        (MindEye2's finding).
    dropout_in
        Dropout after the published input layer.
    dropout_block
        Dropout in every residual block.
    head
        Map from hidden state to tokens: ``full`` is one linear layer to all K x D values (808 M
        parameters in the paper), ``low_rank`` goes through ``head_width`` values, ``shared`` gives
        every token ``head_width`` values and maps them to D by one layer for all tokens.
    head_width
        Inner width of the heads ``low_rank`` and ``shared``.
    projector
        Contrast projected tokens; false contrasts the backbone's tokens themselves.
    projector_width
        Hidden width of the per-token projector (2048 in the paper).
    """

    section = "high.decoder"

    kind: DecoderKind = field(default="residual", metadata={SINCE: "0.2"})
    width: Width = 1024
    blocks: DepthOrZero = 2
    input_layer: InputLayer = "linear"
    dropout_in: ShareBelowOne = 0.5
    dropout_block: ShareBelowOne = 0.15
    head: Head = "full"
    head_width: WidthOrZero = 256
    projector: bool = True
    projector_width: Width = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head != "full" and not self.head_width:
            raise FieldError("high.decoder.head_width", f"is 0; head={self.head} needs at least 1")


@dataclass(frozen=True)
class PriorConfig(Checked):
    """Diffusion prior from the backbone's tokens to embeddings (paper section 3.2).

    Parameters
    ----------
    kind
        ``diffusion``; ``mse`` regresses the backbone's tokens onto the embeddings instead;
        ``none`` trains the contrastive loss alone.
    depth
        Transformer layers (6 in the paper).
    heads
        Query heads (12 in the paper).
    dim_head
        Width of a head (64 in the paper).
    attention
        ``sdpa`` is torch's fused attention; ``explicit`` writes the matrix out, as published.
    timesteps
        Diffusion timesteps of the cosine schedule (100 in the paper).
    condition_drop
        Probability of dropping the brain condition in training (0.2 in the paper).
    loss_weight
        Weight of the prior's loss beside the contrastive one (30 in the paper).
    sampler
        ``dpmpp`` (DPM-Solver++, deterministic), ``ddim`` (deterministic), ``ddpm`` (ancestral, all
        timesteps, as published), ``ddim_as_published`` (stochastic, with the published off-by-one),
        or a name added to `mindeye.diffusion.SAMPLERS`.
    sample_steps
        Network calls of the few-step samplers.
    standardise
        Diffuse embeddings less their training mean at unit variance, so that noise meets signal of
        its own size; false scales them by sqrt(D) and keeps the mean, as published.
    """

    section = "high.prior"

    kind: PriorKind = "diffusion"
    depth: Depth = 2
    heads: Annotated[int, Bound(1, 1024)] = 4
    dim_head: Annotated[int, Bound(2, 4096)] = 32
    attention: Attention = "sdpa"
    timesteps: Annotated[int, Bound(1, 10**5)] = 100
    condition_drop: ShareBelowOne = 0.2
    loss_weight: Weight = 30.0
    sampler: Sampler = "dpmpp"
    sample_steps: Annotated[int, Bound(1, 10**5)] = 10
    standardise: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sample_steps > self.timesteps:
            raise FieldError(
                "high.prior.sample_steps",
                f"is {self.sample_steps}; there are no more than timesteps={self.timesteps}",
            )
        if self.dim_head % 2:
            raise FieldError("high.prior.dim_head", f"is {self.dim_head}; it must be even")
        if self.sampler == "ddim_as_published" and self.sample_steps < 2:
            raise FieldError(
                "high.prior.sample_steps", "is 1; sampler=ddim_as_published needs at least 2"
            )


@dataclass(frozen=True)
class ContrastiveConfig(Checked):
    """BiMixCo for the first part of training, SoftCLIP after it (paper section 3.3).

    Parameters
    ----------
    enabled
        False trains the prior alone.
    mixing
        Loss of the first part: ``bimixco``, ``mixco`` (brain to image only), or ``none``, which
        trains by ``soft`` from the first step on, on betas that are not mixed.
    soft
        Loss of the rest: ``softclip`` (targets' own similarities as labels), ``infonce``, or a name
        added to `mindeye.losses.LOSSES`.
    mixco_share
        Share of the steps trained with mixing (1/3 in the paper).
    mixco_beta
        Both parameters of the Beta distribution of mixing weights (0.15).
    mixco_threshold
        Share of rows that are mixed (0.5).
    mixco_temperature
        Temperature of the first part (0.006 for 257 x 768 tokens).
    published_targets
        Mixing labels with the published mistake, where rows mixed with themselves lose weight.
    soft_temperature_start
        First temperature of the rest (0.004); it follows a cosine to the last one.
    soft_temperature_end
        Last temperature of the rest (0.0075).
    gather
        Contrast with the stimuli of all processes; false with a process's own, as published.
    """

    section = "high.contrastive"

    enabled: bool = True
    mixing: Literal["bimixco", "mixco", "none"] = "bimixco"
    soft: SoftLoss = "softclip"
    mixco_share: Share = 1 / 3
    mixco_beta: Annotated[float, Bound(0, 1000, above=True)] = 0.15
    mixco_threshold: Share = 0.5
    mixco_temperature: Temperature = 0.02
    published_targets: bool = False
    soft_temperature_start: Temperature = 0.02
    soft_temperature_end: Temperature = 0.03
    gather: bool = True


@dataclass(frozen=True)
class HighConfig(Checked):
    """High-level pipeline: backbone, projector and prior under one joint loss.

    Parameters
    ----------
    weights
        Folder written by ``mindeye import-checkpoint``: take these weights and train nothing.
    decoder
        Backbone and projector.
    prior
        Diffusion prior.
    contrastive
        Contrastive losses.
    optim
        Optimiser and schedule.
    """

    section = "high"

    weights: str = ""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    contrastive: ContrastiveConfig = field(default_factory=ContrastiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.contrastive.enabled and self.prior.kind == "none":
            raise ConfigError(
                "high.contrastive.enabled is false and high.prior.kind is none, so nothing would "
                "be trained; switch one of them on"
            )
        if self.weights and self.prior.kind == "mse":
            raise ConfigError(
                "high.weights names trained weights and high.prior.kind=mse asks for a training; "
                "leave one of them out"
            )
