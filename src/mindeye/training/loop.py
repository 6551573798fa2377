"""One training loop, blind to content: an objective gives losses by name, the loop descends."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from mindeye.config import OptimConfig
from mindeye.data.dataset import Batch, TrainingSet
from mindeye.errors import DataError, NumericalError
from mindeye.progress import track
from mindeye.runs import MetricsLog
from mindeye.training.checkpoint import FILE, load_checkpoint, save_checkpoint
from mindeye.training.optim import make_optimizer

LARGEST_GRADIENT = 1.0
"""Gradient norm is clipped here; the published code has no clipping, bf16 likes it."""


class Objective(Protocol):
    """A model and its losses.

    Attributes
    ----------
    name
        Shown in the progress bar.
    input_layer
        Name of the module that reads the voxels, for its own weight decay.
    weights
        Weight of every loss in the total.
    """

    name: str
    input_layer: str
    weights: dict[str, float]

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        ...

    def losses(self, batch: Batch, *, progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        """Return scalar losses by name; `progress` in [0, 1) is the share of steps done."""
        ...

    def validate(self, *, rng: torch.Generator) -> dict[str, float]:
        """Return scores on the validation split, by one definition throughout training."""
        ...


def train(
    objective: Objective,
    data: TrainingSet,
    config: OptimConfig,
    folder: Path,
    *,
    seed: int,
    key: str,
    device: torch.device,
) -> None:
    """Train to the end, from the last checkpoint if there is one of the same key.

    A resumed training gives bit-identical weights on CPU: batches, mixing, noise and dropout of
    an epoch depend on (seed, epoch) alone.

    Parameters
    ----------
    objective
        Model and losses.
    data
        Training stimuli.
    config
        Optimiser and schedule.
    folder
        Gets `checkpoint.safetensors` while training and `log.jsonl`.
    seed
        Of everything random.
    key
        Hash of config and data.
    device
        Where to train.

    Raises
    ------
    NumericalError
        If a loss is not finite; names it and the step.
    DataError
        If there are too few stimuli for one step.
    """
    model = objective.model.to(device)
    per_epoch = data.batches_per_epoch(config.batch_size)
    if per_epoch == 0:
        raise DataError(f"{len(data.stimulus_ids)} training stimuli are too few for one step")
    total = per_epoch * config.epochs
    optimizer, schedule = make_optimizer(model, config, total, input_layer=objective.input_layer)
    start = load_checkpoint(folder, model, optimizer, schedule, key=key)
    log = MetricsLog(folder / "log.jsonl", keep_until=start * per_epoch)
    for epoch in track(
        range(start, config.epochs), objective.name, total=config.epochs, done=start
    ):
        step = epoch * per_epoch
        sums: dict[str, float] = {}
        rng = torch.Generator().manual_seed(_mix(seed, epoch))
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(_mix(seed, epoch))  # dropout knows no generator of its own
            model.train()
            for batch in data.epoch(epoch, seed=seed, batch_size=config.batch_size):
                with torch.autocast(
                    device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16"
                ):
                    moved = Batch(*(part.to(device) for part in batch))
                    losses = objective.losses(moved, progress=step / total, rng=rng)
                _descend(objective, losses, optimizer, step)
                schedule.step()
                step += 1
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + float(value.detach())
        model.eval()
        with torch.inference_mode():
            scores = objective.validate(rng=torch.Generator().manual_seed(seed))
        means = {f"train/{name}": value / per_epoch for name, value in sums.items()}
        log.add(step, **means, **{f"val/{name}": value for name, value in scores.items()})
        last = epoch + 1 == config.epochs
        if last or (epoch + 1) % config.checkpoint_every == 0:
            save_checkpoint(folder, model, optimizer, schedule, epoch=epoch + 1, key=key)
    model.eval()


def _descend(
    objective: Objective, losses: dict[str, Tensor], optimizer: torch.optim.Optimizer, step: int
) -> None:
    for name, value in losses.items():
        if not bool(torch.isfinite(value)):
            raise NumericalError(
                f"loss {name!r} of {objective.name} is {float(value.detach())} at step {step}; "
                "lower the learning rate or use precision=fp32"
            )
    optimizer.zero_grad(set_to_none=True)
    total = sum(
        (objective.weights[name] * value for name, value in losses.items()), torch.tensor(0.0)
    )
    total.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(objective.model.parameters(), LARGEST_GRADIENT)
    optimizer.step()


def _mix(seed: int, epoch: int) -> int:
    """Return a seed for an epoch; neighbouring seeds and epochs do not meet."""
    return (seed * 1_000_003 + epoch * 7_919) % 2**31


def discard_checkpoint(folder: Path) -> None:
    """Remove the training state once the finished model is saved."""
    (folder / FILE).unlink(missing_ok=True)
