"""A whole run: every stage's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from mindeye.config.bounds import REGISTRIES, Bound, Checked, Seed
from mindeye.config.high import HighConfig
from mindeye.config.low import LowConfig
from mindeye.config.results import EvaluateConfig, ReconstructConfig
from mindeye.config.targets import TargetsConfig, is_pixels
from mindeye.errors import ConfigError

SHIPPED_GENERATORS = ("zoo", "pixels", "ip_adapter")
"""Names in `mindeye.GENERATORS` before anybody adds one; what takes pixel tokens is known."""


@dataclass(frozen=True)
class RunConfig(Checked):
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
    permutation
        0: betas and stimuli as recorded. n > 0: the n-th permutation null. Within train and within
        val it is shuffled which brain belongs to which stimulus, then everything is trained and
        scored as always; test pairs stay. Such a run shows what its numbers are worth by chance.
    targets
        Spaces that the brain is decoded into.
    high
        High-level pipeline.
    low
        Low-level pipeline.
    reconstruct
        Drawing of pictures.
    evaluate
        Scoring of predictions and pictures.
    """

    seed: Seed = 0
    device: str = "auto"
    weights: str = ""
    high_enabled: bool = True
    low_enabled: bool = True
    permutation: Annotated[int, Bound(0, 2**31 - 1)] = 0
    targets: TargetsConfig = field(default_factory=TargetsConfig)
    high: HighConfig = field(default_factory=HighConfig)
    low: LowConfig = field(default_factory=LowConfig)
    reconstruct: ReconstructConfig = field(default_factory=ReconstructConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        targets = self.targets
        self._check_permutation()
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
        added = set(REGISTRIES.get("GENERATORS", ())) - set(SHIPPED_GENERATORS)
        misfit = (targets.generator == "pixels") != is_pixels(targets.encoder)
        if misfit and targets.generator.partition(":")[0] not in ("none", *added):
            raise ConfigError(
                f"targets.generator={targets.generator} does not take the embeddings of "
                f"targets.encoder={targets.encoder}; pixel tokens go with generator=pixels"
            )

    def _check_permutation(self) -> None:
        for name in ("high", "low"):
            given = getattr(self, name).weights
            if self.permutation and getattr(self, f"{name}_enabled") and given:
                raise ConfigError(
                    f"{name}.weights takes weights that were trained on the recorded pairs, so "
                    f"permutation={self.permutation} would be no null; leave one of them out"
                )
