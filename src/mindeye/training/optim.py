"""Optimisers with weight-decay groups, and the one-cycle learning rate."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from mindeye.config import OptimConfig
from mindeye.errors import ConfigError, MissingDependencyError

DIVISOR = 1000.0
"""final_div_factor of the one-cycle schedule (published code)."""

BLOCK = 2**20
"""Numbers of a matrix that Adafactor works on at once."""


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
    stepping, for every weight of the largest matrix: none for fused adamw and adafactor, 8 for
    adamw in a loop, 20 for adamw_8bit on a CPU.

    Raises
    ------
    MissingDependencyError
        If the optimiser is adamw_8bit and the extra `8bit` is not installed.
    """
    groups = decay_groups(model, config, input_layer)
    optimizer: torch.optim.Optimizer
    if config.optimizer == "adafactor":
        optimizer = Adafactor(groups, learning_rate=config.learning_rate)
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


class Adafactor(torch.optim.Optimizer):
    """Adafactor without a first moment, under an outside learning rate.

    Source: Shazeer and Stern, "Adafactor" (arXiv 1804.04235), algorithm 4 with the relative step
    size left out: an update has a root mean square of at most `clip` times the learning rate,
    which therefore means what it means to Adam, the length of a weight's usual step. It equals
    `transformers.optimization.Adafactor` with `scale_parameter=False, relative_step=False`
    (`torch.optim.Adafactor` cannot leave the relative step size out). Those two write whole
    matrices of temporaries; this one goes through a matrix in blocks of rows: for the means of
    squares, which are those of the whole matrix, then for the size of the update, then to move.

    All that is not a vector is a matrix of its first axis by all others; a vector is a matrix of
    one row, whose column means are its squared gradients themselves.

    Parameters
    ----------
    groups
        Parameter groups, each with its `weight_decay` (decoupled, times the learning rate).
    learning_rate
        Of all groups.
    decay_rate
        Step t weighs the new squares by `t ** -decay_rate` (section 7.2).
    epsilon
        Added to squared gradients (section 8).
    clip
        Largest root mean square of an update before the learning rate (section 6).
    """

    def __init__(
        self,
        groups: list[dict[str, object]],
        *,
        learning_rate: float,
        decay_rate: float = 0.8,
        epsilon: float = 1e-30,
        clip: float = 1.0,
    ) -> None:
        defaults = {"lr": learning_rate, "weight_decay": 0.0}
        constants = {"decay_rate": decay_rate, "epsilon": epsilon, "clip": clip}
        super().__init__(groups, defaults | constants)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; `closure` is not supported."""
        if closure is not None:
            raise ValueError("Adafactor takes no closure")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        shape = (len(parameter), -1) if parameter.ndim > 1 else (1, -1)
        weight, gradient = parameter.view(shape), parameter.grad.reshape(shape)  # (R, C)
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["row"] = weight.new_zeros(len(weight))
            state["column"] = weight.new_zeros(weight.shape[1])
        state["step"] += 1
        blocks = _Blocks(weight, gradient)
        fresh = float(state["step"]) ** -group["decay_rate"]
        rows, columns = blocks.mean_squares()
        state["row"].lerp_(rows + group["epsilon"], fresh)
        state["column"].lerp_(columns + group["epsilon"], fresh)
        by_row = (state["row"] / state["row"].mean()).rsqrt_()  # (R,)
        by_column = state["column"].rsqrt()  # (C,)
        size = blocks.size(by_row, by_column)
        by_row.mul_(-group["lr"] / (size / group["clip"]).clamp_min_(1.0))
        blocks.move(by_row, by_column, shrink=1 - group["lr"] * group["weight_decay"])


class _Blocks:
    """A weight matrix (R, C) and its gradient in blocks of rows, with memory for one block.

    The memory is taken once: blocks that come and go leave holes too small for the next one.
    """

    def __init__(self, weight: Tensor, gradient: Tensor) -> None:
        self.height = max(1, BLOCK // max(1, weight.shape[1]))
        self.weights = torch.split(weight, self.height)
        self.gradients = torch.split(gradient, self.height)
        self.numbers = weight.numel()
        self._rows = weight.new_empty(len(weight))
        self._memory = torch.empty_like(self.gradients[0])

    def mean_squares(self) -> tuple[Tensor, Tensor]:
        """Means of squared gradients over every row (R,) and every column (C,)."""
        columns = torch.zeros_like(self.gradients[0][0])
        for part, row in zip(self.gradients, torch.split(self._rows, self.height), strict=True):
            square = torch.square(part, out=self._memory[: len(part)])
            torch.mean(square, 1, out=row)
            columns += square.sum(0)
        return self._rows, columns / len(self._rows)

    def size(self, by_row: Tensor, by_column: Tensor) -> Tensor:
        """Root mean square of the gradient times (R,) times (C,)."""
        weigh = by_column.square()
        for part, row in zip(self.gradients, torch.split(self._rows, self.height), strict=True):
            torch.mv(torch.square(part, out=self._memory[: len(part)]), weigh, out=row)
        return (self._rows @ by_row.square() / self.numbers).sqrt()

    def move(self, by_row: Tensor, by_column: Tensor, *, shrink: float) -> None:
        """Shrink the weights, then add the gradient times (R,) times (C,)."""
        for weight, part, row in zip(
            self.weights, self.gradients, torch.split(by_row, self.height), strict=True
        ):
            scaled = torch.mul(part, row[:, None], out=self._memory[: len(part)])
            weight.mul_(shrink).addcmul_(scaled, by_column)


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
