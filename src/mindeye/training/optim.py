"""Optimisers with weight-decay groups, and the one-cycle learning rate."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from mindeye.config import OptimConfig
from mindeye.errors import ConfigError, MissingDependencyError

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
        Model that holds the parameters.
    config
        Weight decays.
    input_layer
        Name of the module that reads the voxels; empty where nobody knows it.

    Raises
    ------
    ConfigError
        If that layer shall have a decay of its own and there is no weight matrix of that name.
    """
    matrices = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
    }
    first = {name for name in matrices if input_layer and name.startswith(f"{input_layer}.")}
    if not first and config.input_weight_decay != config.weight_decay:
        raise ConfigError(
            f"optim.input_weight_decay is {config.input_weight_decay}, but the layer over voxels "
            f"({input_layer or 'no name'}) is no matrix of the network; give your decoder the "
            'attribute `input_layer = "NAME"`, or set it to '
            f"optim.weight_decay={config.weight_decay}"
        )
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        decay = config.weight_decay if name in matrices else 0.0
        if name in first:
            decay = config.input_weight_decay
        groups.setdefault(decay, []).append(parameter)
    return [{"params": members, "weight_decay": decay} for decay, members in groups.items()]


def make_optimizer(
    model: nn.Module, config: OptimConfig, steps: int, *, input_layer: str
) -> tuple[torch.optim.Optimizer, OneCycleLR]:
    """Return the optimiser of `config` and its one-cycle schedule over `steps` optimiser steps.

    The state of all optimisers is tensors and numbers by parameter and name. Bytes of state for
    every weight: 8 (adamw), about 2 (adamw_8bit), next to none (adafactor). Bytes beside it while
    stepping, for every weight of the largest matrix: none for fused adamw, 8 for adamw in a loop
    and for adafactor, 20 for adamw_8bit on a CPU.

    Raises
    ------
    MissingDependencyError
        If the optimiser is adamw_8bit and the extra `8bit` is not installed.
    """
    groups = decay_groups(model, config, input_layer)
    optimizer: torch.optim.Optimizer
    if config.optimizer == "adafactor":
        optimizer = _adafactor(groups, config.learning_rate)
    elif config.optimizer == "adamw_8bit":
        optimizer = _adamw_8bit(groups, config.learning_rate)
    else:
        optimizer = torch.optim.AdamW(
            groups, lr=config.learning_rate, foreach=False, fused=config.fused
        )
    warmup = config.warmup_share
    if warmup * steps == 1:  # OneCycleLR divides by the steps of warm-up less one
        warmup *= 1 - 1e-9
    schedule = OneCycleLR(
        optimizer,
        max_lr=config.learning_rate,
        total_steps=steps,
        pct_start=warmup,
        # Adafactor has no first moment that could go down where the learning rate goes up
        cycle_momentum="betas" in optimizer.defaults,
        final_div_factor=DIVISOR,
    )
    return optimizer, schedule


def _adafactor(groups: list[dict[str, object]], learning_rate: float) -> torch.optim.Optimizer:
    """Adafactor without a first moment, under a learning rate from outside (arXiv 1804.04235).

    Without the relative step size (which `torch.optim.Adafactor` cannot leave out) an update has a
    root mean square of at most the learning rate, which therefore means what it means to Adam.
    """
    from transformers.optimization import Adafactor

    optimizer: torch.optim.Optimizer = Adafactor(
        groups, lr=learning_rate, scale_parameter=False, relative_step=False
    )
    return optimizer


def _adamw_8bit(groups: list[dict[str, object]], learning_rate: float) -> torch.optim.Optimizer:
    """AdamW of bitsandbytes, its moments in 8 bits (Dettmers et al., arXiv 2110.02861).

    Runs on a CPU too, but there a step writes five temporaries as large as the parameter, which is
    more than is saved where one matrix holds most weights; adafactor is the one for a CPU.
    """
    try:
        library = import_module("bitsandbytes.optim")
    except ImportError as error:
        raise MissingDependencyError("bitsandbytes", "8bit") from error

    class FlatAdamW8bit(library.AdamW8bit):  # type: ignore[misc, name-defined]
        """With a state of tensors and numbers, as all others: bitsandbytes nests its tensors."""

        def state_dict(self) -> dict[str, Any]:
            state: dict[str, Any] = super().state_dict()
            for entries in state["state"].values():
                for name in [name for name, value in entries.items() if isinstance(value, dict)]:
                    entries.update(entries.pop(name))
            return state

        def load_state_dict(self, state_dict: dict[str, Any], move_to_device: bool = True) -> None:
            super().load_state_dict(state_dict, move_to_device)
            for entries in self.state.values():
                entries["step"] = int(entries["step"])  # a number to bitsandbytes' kernels

    return FlatAdamW8bit(groups, lr=learning_rate)
