"""A whole run: every stage's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from mindeye.config.high import HighConfig
from mindeye.config.low import LowConfig
from mindeye.config.results import EvaluateConfig, ReconstructConfig
from mindeye.config.targets import TargetsConfig
from mindeye.errors import ConfigError


@dataclass(frozen=True)
class RunConfig:
    """A whole run: every stage's configuration.

    Parameters
    ----------
    seed
        Seed of initial weights, batches, dropout, noise and bootstrap.
    device
        ``auto`` takes a CUDA device where there is one.
    weights
        Folder in which hub ids of models are looked up, as `mindeye fetch models` writes it; empty:
        the environment's MINDEYE_WEIGHTS, else the Hugging Face cache. Never a network.
    high_enabled
        Train and use the high-level pipeline.
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
    weights: str = ""
    high_enabled: bool = True
    low_enabled: bool = True
    targets: TargetsConfig = field(default_factory=TargetsConfig)
    high: HighConfig = field(default_factory=HighConfig)
    low: LowConfig = field(default_factory=LowConfig)
    reconstruct: ReconstructConfig = field(default_factory=ReconstructConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    def __post_init__(self) -> None:
        targets = self.targets
        if not self.high_enabled and not self.low_enabled:
            raise ConfigError("high_enabled and low_enabled are both false; switch one of them on")
        if targets.tokens == "pooled" and targets.generator == "zoo":
            raise ConfigError(
                "targets.generator=zoo draws from all tokens, targets.tokens=pooled gives one; set "
                "targets.generator=none or a generator that takes pooled embeddings"
            )
        contrasted = self.low_enabled and self.low.contrastive_weight
        if targets.tokens == "pooled" and contrasted and not targets.maps:
            raise ConfigError(
                "targets.tokens=pooled leaves the low-level pipeline no maps to be contrasted "
                "with; name their encoder by targets.maps, or set low.contrastive_weight=0 or "
                "low_enabled=false"
            )
        if not self.high_enabled:
            return
        pixel_tokens = targets.encoder.startswith("pixels")
        if targets.generator != "none" and (targets.generator == "pixels") != pixel_tokens:
            raise ConfigError(
                f"targets.generator={targets.generator} does not take the embeddings of "
                f"targets.encoder={targets.encoder}; pixel tokens go with generator=pixels"
            )
