"""AdamW with weight-decay groups and the one-cycle learning rate."""

from __future__ import annotations

import torch
from torch import nn

from mindeye.config import OptimConfig

DIVISOR = 1000.0
"""final_div_factor of the one-cycle schedule (published code)."""


def decay_groups(
    model: nn.Module, config: OptimConfig, input_layer: str
) -> list[dict[str, object]]:
    """Sort parameters into three groups: decayed, not decayed, and the layer over voxels.

    Biases, norms, learned tokens and tables (anything that is not the weight matrix of a linear
    or convolution) are never decayed, as in the published code.

    Parameters
    ----------
    model
        Whose parameters.
    config
        Weight decays.
    input_layer
        Name of the module that reads the voxels.
    """
    matrices = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
    }
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        decay = config.weight_decay if name in matrices else 0.0
        if name in matrices and name.startswith(f"{input_layer}."):
            decay = config.input_weight_decay
        groups.setdefault(decay, []).append(parameter)
    return [{"params": members, "weight_decay": decay} for decay, members in groups.items()]


def make_optimizer(
    model: nn.Module, config: OptimConfig, steps: int, *, input_layer: str
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.OneCycleLR]:
    """Return AdamW and its one-cycle schedule over `steps` optimiser steps."""
    optimizer = torch.optim.AdamW(
        decay_groups(model, config, input_layer), lr=config.learning_rate, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=config.learning_rate,
        total_steps=steps,
        pct_start=config.warmup_share,
        final_div_factor=DIVISOR,
    )
    return optimizer, schedule
