"""The training steps of a configuration, at full size, on tensors that hold nothing."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from mindeye.config import HighConfig, LowConfig
from mindeye.diffusion.objective import PriorDraw
from mindeye.models.lowlevel import LowLevel
from mindeye.models.pipelines import HighLevel
from mindeye.models.sizes import Sizes
from mindeye.planning.footprint import Footprint, count_step, trace_step
from mindeye.processes import Processes
from mindeye.targets.views import StoredTargets
from mindeye.training.checkpoint import TrainingState
from mindeye.training.high import HighDraw, HighObjective
from mindeye.training.low import LowDraw, LowObjective
from mindeye.training.objective import Validation
from mindeye.training.optim import make_optimizer
from mindeye.training.step import TrainingStep

MAPS_SHARE = 4
"""Side of the autoencoder's latents over that of the maps (64 and 16 in the paper)."""


class _Steps:
    """Builds a pipeline and takes steps of it; the three functions that `trace_step` asks for."""

    def __init__(self, sizes: Sizes, config: HighConfig | LowConfig) -> None:
        self.sizes, self.config, self.optim = sizes, config, config.optim
        self.state: TrainingState | None = None
        self.average: list[torch.Tensor] = []

    @property
    def maps(self) -> tuple[int, int] | None:
        """(P, M) of the maps that the low-level pipeline is contrasted with."""
        if isinstance(self.config, HighConfig) or self.config.contrastive_weight == 0:
            return None
        return ((self.sizes.latents[1] // MAPS_SHARE) ** 2, self.sizes.width)

    def build(self) -> nn.Module:
        if isinstance(self.config, HighConfig):
            return HighLevel(self.config, self.sizes).train()
        return LowLevel(self.config, self.sizes, self.maps).train()

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        layer = "decoder.backbone.input" if isinstance(model, HighLevel) else "backbone.input"
        optimizer, schedule = make_optimizer(model, self.optim, 1000, input_layer=layer)
        if self.optim.ema:
            # What a moving average keeps; tensors without data cannot be copied as it copies them.
            self.average = [torch.zeros_like(p) for p in model.parameters()]
        self.state = TrainingState(model, optimizer, schedule)
        return optimizer

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        del optimizer
        if self.state is None:
            raise RuntimeError("the optimiser comes before the first step")
        objective, draw = self._high(model) if isinstance(model, HighLevel) else self._low(model)
        alone = Processes(next(model.parameters()).device)
        step = TrainingStep(objective, self.state, self.optim, alone)
        step.update(step.backward(draw, len(draw), seed=0))

    def _high(self, model: HighLevel) -> tuple[HighObjective, HighDraw]:
        assert isinstance(self.config, HighConfig)
        rows, shape = self.optim.batch_size, (self.sizes.tokens, self.sizes.width)
        target = torch.randn(rows, *shape)
        prior = None
        if model.prior is not None:
            keep = torch.ones(rows, dtype=torch.bool)
            times = torch.zeros(rows, dtype=torch.long)
            prior = PriorDraw(times, torch.randn(rows, *shape), keep, keep)
        draw = HighDraw(torch.randn(rows, self.sizes.voxels), target, prior, None, 0.01)
        nobody = Validation(target[:0], target[:0], target)
        return HighObjective(model, self.config, StoredTargets([target]), nobody), draw

    def _low(self, model: Any) -> tuple[LowObjective, LowDraw]:
        assert isinstance(self.config, LowConfig)
        rows, maps, mask = self.optim.batch_size, None, None
        latents = torch.randn(rows, *self.sizes.latents)
        sources = None
        if self.maps is not None:
            maps = (torch.randn(rows, *self.maps), torch.randn(rows, *self.maps))
            sources = (StoredTargets([maps[0]]), StoredTargets([maps[1]]))
            positions, limit = rows * self.maps[0], self.config.contrastive_rows
            mask = torch.arange(limit) if 0 < limit < positions else None
        draw = LowDraw(torch.randn(rows, self.sizes.voxels), latents, maps, mask)
        nobody = Validation(latents[:0], latents[:0], latents)
        source = StoredTargets([latents])
        return LowObjective(model, self.config, source, sources, nobody), draw


def footprint_of(sizes: Sizes, config: HighConfig | LowConfig, *, real: bool = False) -> Footprint:
    """Return what a training step of a pipeline takes.

    Parameters
    ----------
    sizes
        Sizes of the data.
    config
        Configuration of the pipeline; batch size and all options of its optimiser count.
    real
        Count while really running the steps, to check the prediction.
    """
    steps = _Steps(sizes, config)
    if isinstance(config, LowConfig):
        # Its first import compiles and allocates; on tensors without data that ends the process.
        importlib.import_module("diffusers.models.autoencoders.vae")
    count = count_step if real else trace_step
    with torch.random.fork_rng(devices=[]):
        return count(steps.build, steps.make_optimizer, steps.step)


def parameter_count(sizes: Sizes, config: HighConfig | LowConfig) -> int:
    """Return the number of trained values."""
    with torch.device("meta"):
        model = _Steps(sizes, config).build()
    return sum(p.numel() for p in model.parameters())
