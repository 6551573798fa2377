"""How a pipeline is optimised: schedule, optimiser, precision, memory, checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from mindeye.config.bounds import (
    BatchSizeOrZero,
    Bound,
    Checked,
    Count,
    Epochs,
    FieldError,
    OpenShare,
    Rate,
    ShareBelowOne,
    Weight,
)

Optimizer = Literal["adamw", "adamw_8bit", "adafactor"]
Precision = Literal["bf16", "fp32"]
Repeats = Literal["random", "cycle", "mixed"]


@dataclass(frozen=True)
class OptimConfig(Checked):
    """Optimiser, one-cycle learning rate, memory and checkpoints (paper section 3.4).

    Parameters
    ----------
    epochs
        Passes over the training stimuli; each pass shows one repeat of every stimulus.
    batch_size
        Stimuli a step, over all processes together; contrastive losses need at least two.
    micro_batch
        Stimuli that go through the network at once, 0 for all. The contrastive loss still sees the
        whole batch (its gradient is cached); costs a second forward pass.
    optimizer
        ``adamw``; ``adamw_8bit`` keeps its state in 8 bits (extra `8bit`); ``adafactor`` keeps row
        and column means of squared gradients only.
    fused
        One pass over memory in AdamW; false loops over parameters, as the published code did.
    learning_rate
        Peak of the one-cycle schedule; never scaled by batch size or number of processes.
    weight_decay
        Decay of weight matrices; biases and norms are never decayed.
    input_weight_decay
        Decay of the first linear layer over voxels (L2 on the input layer, as in MindEye2).
    warmup_share
        Share of all steps spent rising to the peak.
    clip
        Largest gradient norm, 0 for no clipping (as published).
    ema
        Decay of the moving average of the weights, which is then what is kept; 0 switches it off.
    repeats
        Which repeat of a stimulus a step sees: a ``random`` one, the next one in a ``cycle`` over
        steps, or ``mixed`` (a weighted mean, the mean, or one of them; the published low level).
    validate_on
        Split whose scores are logged; they choose nothing. ``test`` only to replay the published
        code, which took it for validation.
    checkpoint_steps
        Steps between checkpoints; the last two are kept.
    precision
        ``bf16`` runs matrix products in bfloat16 with float32 losses; ``fp32`` runs all in float32.
    recompute
        Activation checkpointing: the prior's layers and the projector keep their inputs only and
        run again in the backward pass.
    compile
        Compile the networks with torch.compile.
    """

    section = "optim"

    epochs: Epochs = 40
    batch_size: Annotated[int, Bound(2, 10**6)] = 64
    micro_batch: BatchSizeOrZero = 0
    optimizer: Optimizer = "adamw"
    fused: bool = True
    learning_rate: Rate = 1e-3
    weight_decay: Weight = 1e-2
    input_weight_decay: Weight = 1e-2
    warmup_share: OpenShare = 0.1
    clip: Weight = 1.0
    ema: ShareBelowOne = 0.0
    repeats: Repeats = "random"
    validate_on: Literal["val", "test"] = "val"
    checkpoint_steps: Count = 200
    precision: Precision = "bf16"
    recompute: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.micro_batch > self.batch_size:
            raise FieldError(
                "optim.micro_batch",
                f"is {self.micro_batch}; it must lie between 0 (all at once) and "
                f"batch_size={self.batch_size}",
            )
