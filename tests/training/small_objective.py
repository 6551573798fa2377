"""A small high-level objective that training tests share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from mindeye.config import DecoderConfig, HighConfig, OptimConfig, PriorConfig
from mindeye.data.dataset import TrainingSet
from mindeye.data.subject import Subject
from mindeye.models.pipelines import HighLevel
from mindeye.models.sizes import Sizes
from mindeye.processes import Processes
from mindeye.targets.views import StoredTargets
from mindeye.training.checkpoint import TrainingState
from mindeye.training.high import HighObjective
from mindeye.training.loop import train
from mindeye.training.objective import Validation
from mindeye.training.optim import make_optimizer
from mindeye.training.step import TrainingStep

TOKENS, WIDTH = 4, 8
ALONE = Processes(torch.device("cpu"))
CONFIG = HighConfig(
    decoder=DecoderConfig(width=16, blocks=1, projector_width=16),
    prior=PriorConfig(depth=1, heads=2, dim_head=8, timesteps=10, sample_steps=4),
    optim=OptimConfig(epochs=4, batch_size=16, checkpoint_steps=3, precision="fp32"),
)
STILL = replace(CONFIG, decoder=replace(CONFIG.decoder, dropout_block=0.0))
"""Without dropout, whose masks depend on how a batch is cut."""


def objective(
    subject: Subject,
    config: HighConfig = CONFIG,
    tokens: torch.Tensor | None = None,
    held_out: str = "val",
) -> HighObjective:
    torch.manual_seed(0)
    if tokens is None:
        tokens = torch.randn(len(subject.stimuli), TOKENS, WIDTH)
    val = subject.splits[held_out]
    rows = torch.tensor([subject.row_of_stimulus[s] for s in val])
    validation = Validation(torch.from_numpy(subject.betas_of(val)), rows, tokens)
    sizes = Sizes(subject.betas.shape[1], TOKENS, WIDTH, (1, 4, 4))
    return HighObjective(HighLevel(config, sizes), config, StoredTargets([tokens]), validation)


def training_step(
    goal: HighObjective, *, micro_batch: int = 0, processes: Processes = ALONE
) -> TrainingStep:
    """The first step of a training in float32."""
    optim = replace(goal.config.optim, micro_batch=micro_batch)
    optimizer, schedule = make_optimizer(goal.model, optim, 10, input_layer=goal.input_layer)
    return TrainingStep(goal, TrainingState(goal.model, optimizer, schedule), optim, processes)


def fit(
    subject: Subject,
    goal: HighObjective,
    folder: Path,
    optim: OptimConfig | None = None,
    key: str = "k",
) -> None:
    data = TrainingSet(subject, subject.splits["train"])
    train(goal, data, optim or goal.config.optim, folder, seed=3, key=key, processes=ALONE)
