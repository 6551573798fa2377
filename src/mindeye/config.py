"""Every knob of a run, as frozen dataclasses with one doc line per field.

The command line, its ``--help`` and the YAML presets are all derived from these classes. Nothing
here imports torch, so that ``mindeye --help`` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mindeye.errors import ConfigError


@dataclass(frozen=True)
class TargetsConfig:
    """Which models define the spaces that the brain is decoded into.

    Parameters
    ----------
    encoder
        Image encoder whose tokens are decoded: ``zoo``, ``pixels:SIZE:PATCH`` or a local folder
        that ``transformers`` can load as a CLIP model.
    vae
        Autoencoder of the low-level pipeline: ``zoo``, ``pixels:SIZE`` or a local ``diffusers``
        AutoencoderKL folder.
    generator
        Embedding-to-image model: ``zoo``, ``pixels`` (unfolds pixel tokens), ``none`` or a local
        folder with ``unet`` and ``scheduler``.
    batch_size
        Pictures embedded at once.
    """

    encoder: str = "zoo"
    vae: str = "zoo"
    generator: str = "zoo"
    batch_size: int = 64


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with a one-cycle learning rate (paper section 3.4 and the published code).

    Parameters
    ----------
    epochs
        Passes over the training stimuli; each pass shows one repeat of every stimulus.
    batch_size
        Stimuli a step; contrastive losses need at least two.
    learning_rate
        Peak of the one-cycle schedule.
    weight_decay
        Decay of weight matrices; biases and norms are never decayed.
    input_weight_decay
        Decay of the first linear layer over voxels (L2 on the input layer, as in MindEye2).
    warmup_share
        Share of all steps spent rising to the peak.
    checkpoint_every
        Epochs between checkpoints.
    precision
        ``bf16`` runs matrix products in bfloat16 with float32 losses; ``fp32`` runs all in float32.
    """

    epochs: int = 40
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    input_weight_decay: float = 1e-2
    warmup_share: float = 0.1
    checkpoint_every: int = 5
    precision: Literal["bf16", "fp32"] = "bf16"

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs is {self.epochs}; it must be at least 1")
        if self.batch_size < 2:
            raise ConfigError(
                f"batch_size is {self.batch_size}; a contrastive loss needs at least 2 stimuli"
            )
        if not 0 < self.warmup_share < 1:
            raise ConfigError(f"warmup_share is {self.warmup_share}; it must lie between 0 and 1")


@dataclass(frozen=True)
class DecoderConfig:
    """Residual-MLP backbone and projector (paper section 3.1).

    Parameters
    ----------
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
    projector_width
        Hidden width of the per-token projector (2048 in the paper).
    """

    width: int = 1024
    blocks: int = 2
    input_layer: Literal["published", "linear"] = "linear"
    dropout_in: float = 0.5
    dropout_block: float = 0.15
    projector_width: int = 512


@dataclass(frozen=True)
class PriorConfig:
    """Diffusion prior from the backbone's tokens to embeddings (paper section 3.2).

    Parameters
    ----------
    depth
        Transformer layers (6 in the paper).
    heads
        Query heads (12 in the paper).
    dim_head
        Width of a head (64 in the paper).
    timesteps
        Diffusion timesteps of the cosine schedule (100 in the paper).
    condition_drop
        Probability of dropping the brain condition in training (0.2 in the paper).
    loss_weight
        Weight of the prior's loss beside the contrastive one (30 in the paper).
    sample_steps
        Steps of the deterministic few-step sampler; ``timesteps`` itself means ancestral DDPM.
    standardise
        Diffuse embeddings less their training mean at unit variance, so that noise meets signal of
        its own size; false scales them by sqrt(D) and keeps the mean, as published.
    """

    depth: int = 2
    heads: int = 4
    dim_head: int = 32
    timesteps: int = 100
    condition_drop: float = 0.2
    loss_weight: float = 30.0
    sample_steps: int = 20
    standardise: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.sample_steps <= self.timesteps:
            raise ConfigError(
                f"prior.sample_steps is {self.sample_steps}; it must lie between 1 and "
                f"timesteps={self.timesteps}"
            )


@dataclass(frozen=True)
class ContrastiveConfig:
    """BiMixCo for the first part of training, SoftCLIP after it (paper section 3.3).

    Parameters
    ----------
    mixco_share
        Share of the steps trained with BiMixCo (1/3 in the paper).
    mixco_beta
        Both parameters of the Beta distribution of mixing weights (0.15).
    mixco_threshold
        Share of rows that are mixed (0.5).
    mixco_temperature
        Temperature of BiMixCo (0.006 for 257 x 768 tokens).
    soft_temperature_start
        SoftCLIP's first temperature (0.004); it follows a cosine to the last one.
    soft_temperature_end
        SoftCLIP's last temperature (0.0075).
    """

    mixco_share: float = 1 / 3
    mixco_beta: float = 0.15
    mixco_threshold: float = 0.5
    mixco_temperature: float = 0.02
    soft_temperature_start: float = 0.02
    soft_temperature_end: float = 0.03


@dataclass(frozen=True)
class HighConfig:
    """High-level pipeline: backbone, projector and prior under one joint loss.

    Parameters
    ----------
    decoder
        Backbone and projector.
    prior
        Diffusion prior.
    contrastive
        Contrastive losses.
    optim
        Optimiser and schedule.
    """

    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    contrastive: ContrastiveConfig = field(default_factory=ContrastiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)


@dataclass(frozen=True)
class LowConfig:
    """Low-level pipeline: MLP, CNN upsampler to VAE latents (paper section 3.5).

    Parameters
    ----------
    width
        Hidden width of its backbone.
    blocks
        Residual blocks of its backbone.
    seed_channels
        Channels of the grid that the CNN upsampler starts from.
    channels
        Channels of the upsampler's last level; a level of twice the width lies below it.
    dropout_in
        Dropout after its input layer.
    dropout_block
        Dropout in every residual block.
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

    width: int = 512
    blocks: int = 2
    seed_channels: int = 64
    channels: int = 32
    dropout_in: float = 0.5
    dropout_block: float = 0.15
    contrastive_weight: float = 0.1
    contrastive_temperature: float = 0.075
    contrastive_rows: int = 512
    optim: OptimConfig = field(default_factory=OptimConfig)


@dataclass(frozen=True)
class ReconstructConfig:
    """Prior sample -> generator, started from the low-level latents -> candidates -> pick.

    Parameters
    ----------
    candidates
        Pictures drawn per test stimulus; the pick is by cosine to the brain embedding.
    strength
        Share of the noise schedule that img2img runs through; 1 ignores the low-level start.
    guidance
        Classifier-free guidance scale of the generator.
    steps
        Sampling steps of the full schedule.
    batch_size
        Candidate pictures generated at once.
    stimuli
        Number of test stimuli that are drawn as pictures, 0 for all of them.
    """

    candidates: int = 4
    strength: float = 0.85
    guidance: float = 2.0
    steps: int = 12
    batch_size: int = 64
    stimuli: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise ConfigError(f"reconstruct.strength is {self.strength}; it must be in (0, 1]")
        if self.candidates < 1:
            raise ConfigError(f"reconstruct.candidates is {self.candidates}; draw at least 1")


@dataclass(frozen=True)
class EvaluateConfig:
    """How results are scored.

    Parameters
    ----------
    nway
        Candidates a query is ranked among (300 in the paper).
    draws
        Random candidate sets (30 in the paper).
    resamples
        Bootstrap resamples over test stimuli.
    level
        Level of every interval.
    picture_size
        Side at which PixCorr and SSIM compare pictures (425 in the paper), 0 for the stimuli's own.
    """

    nway: int = 300
    draws: int = 30
    resamples: int = 2000
    level: float = 0.95
    picture_size: int = 425


@dataclass(frozen=True)
class RunConfig:
    """A whole run: every stage's configuration.

    Parameters
    ----------
    seed
        Seed of initial weights, batches, dropout, noise and bootstrap.
    device
        ``auto`` takes a CUDA device where there is one.
    low_enabled
        Train and use the low-level pipeline.
    targets
        Spaces that the brain is decoded into.
    high
        High-level pipeline.
    low
        Low-level pipeline.
    reconstruct
        Drawing of pictures.
    evaluate
        Scoring.
    """

    seed: int = 0
    device: str = "auto"
    low_enabled: bool = True
    targets: TargetsConfig = field(default_factory=TargetsConfig)
    high: HighConfig = field(default_factory=HighConfig)
    low: LowConfig = field(default_factory=LowConfig)
    reconstruct: ReconstructConfig = field(default_factory=ReconstructConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    def __post_init__(self) -> None:
        if self.targets.generator == "none" and not self.low_enabled:
            raise ConfigError(
                "targets.generator is none and low_enabled is false, so nothing could be drawn; "
                "name a generator or switch the low-level pipeline on"
            )
        pixel_tokens = self.targets.encoder.startswith("pixels")
        if (self.targets.generator == "pixels") != pixel_tokens:
            if self.targets.generator == "none":
                return
            raise ConfigError(
                f"targets.generator={self.targets.generator} does not take the embeddings of "
                f"targets.encoder={self.targets.encoder}; pixel tokens go with generator=pixels"
            )
