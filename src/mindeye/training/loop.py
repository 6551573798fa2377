"""One training loop, blind to content: an objective gives losses by name, the loop descends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mindeye.config import OptimConfig
from mindeye.data.dataset import Batch, TrainingSet
from mindeye.errors import DataError, NumericalError
from mindeye.files import MetricsLog
from mindeye.processes import Processes
from mindeye.progress import track
from mindeye.seeds import derive_seed
from mindeye.training.average import WeightAverage
from mindeye.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from mindeye.training.interrupts import StopRequest, listening
from mindeye.training.objective import D, Objective
from mindeye.training.optim import make_optimizer
from mindeye.training.step import Descent, Rows, check_shares


def train(
    objective: Objective[Any],
    data: TrainingSet,
    config: OptimConfig,
    folder: Path,
    *,
    seed: int,
    key: str,
    processes: Processes,
) -> None:
    """Train to the end, from the last checkpoint if there is one of the same key.

    A training stopped at any step and resumed gives bit-identical weights on CPU: everything
    random in a step depends on (seed, step) alone.

    Parameters
    ----------
    objective
        Model and losses.
    data
        Training stimuli.
    config
        Optimiser and schedule.
    folder
        Gets checkpoints while training and `log.jsonl`.
    seed
        Of everything random.
    key
        Hash of config and data.
    processes
        This process among all; the first one writes.

    Raises
    ------
    NumericalError
        If a loss or the gradient is not finite; names it, the step and the stimuli.
    DataError
        If there are too few stimuli for one step.
    ConfigError
        If the batch cannot be shared evenly among the processes.
    KeyboardInterrupt
        After a stop request, with the step's checkpoint written.
    """
    check_shares(config.batch_size, processes)
    model = objective.model.to(processes.device)
    smallest = max(2, processes.count)
    per_epoch = data.batches_per_epoch(config.batch_size, smallest=smallest)
    if per_epoch == 0:
        raise DataError(
            f"{len(data.stimulus_ids)} training stimuli are too few for a step; it takes {smallest}"
        )
    total = per_epoch * config.epochs
    optimizer, schedule = make_optimizer(model, config, total, input_layer=objective.input_layer)
    average = WeightAverage(model, config.ema) if config.ema else None
    state = TrainingState(model, optimizer, schedule, average)
    load_checkpoint(folder, state, key=key)
    processes.wait()  # nobody writes while another still reads
    if config.compile:
        for network in model.children():
            network.compile()
    log = MetricsLog(folder / "log.jsonl", keep_until=state.step) if processes.is_first else None
    module = processes.wrap(Rows(objective))
    descent = Descent(objective, module, processes, config.precision, config.micro_batch)
    batches = _batches(data, config, state.step, total, per_epoch, seed, smallest)
    with listening() as stop:
        for batch in track(
            batches, objective.name, total=total, done=state.step, shown=processes.is_first
        ):
            model.train()
            losses = take_step(
                descent, batch, state, config, seed=seed, total=total, describe=data.names
            )
            for name, value in losses.items():
                state.sums[name] = state.sums.get(name, 0.0) + float(value)
            if state.step % per_epoch == 0:
                _log_epoch(log, objective, state, per_epoch, seed)
            due = state.step % config.checkpoint_steps == 0 or state.step == total
            if processes.is_first and (due or _leaves(stop, processes)):
                save_checkpoint(folder, state, key=key)
            if _leaves(stop, processes):
                raise KeyboardInterrupt
    if average is not None:
        average.copy_to(model)
    model.eval()


def _leaves(stop: StopRequest, processes: Processes) -> bool:
    """Several processes do not stop together on a signal; they have their last checkpoint."""
    return stop.made and processes.count == 1


def _batches(
    data: TrainingSet,
    config: OptimConfig,
    done: int,
    total: int,
    per_epoch: int,
    seed: int,
    smallest: int,
) -> Iterator[Batch]:
    """Yield the batches of all steps that are left."""
    for epoch in range(done // per_epoch, total // per_epoch):
        yield from data.epoch(
            epoch,
            seed=seed,
            batch_size=config.batch_size,
            repeats=config.repeats,
            first=max(0, done - epoch * per_epoch),
            smallest=smallest,
        )


def take_step(
    descent: Descent,
    batch: Batch,
    state: TrainingState,
    config: OptimConfig,
    *,
    seed: int,
    total: int,
    describe: Callable[[Batch], str] = lambda batch: f"rows {batch.stimulus_rows.tolist()}",
    on_phase: Callable[[str], None] = lambda name: None,
) -> dict[str, Tensor]:
    """Do one optimiser step and return the losses of the whole batch.

    Parameters
    ----------
    descent
        Runs the backward pass.
    batch
        The whole batch, over all processes.
    state
        Gets the step.
    config
        Clipping.
    seed
        Of everything random in the training; the step takes its own from it.
    total
        Steps of the training.
    describe
        Names a batch in an error message.
    on_phase
        Called with ``draw``, ``backward``, ``optimizer`` and ``done`` as each begins.

    Raises
    ------
    NumericalError
        If a loss or the gradient is not finite; the weights are then as before.
    """
    objective, rows = descent.objective, len(batch.betas)
    on_phase("draw")
    rng = torch.Generator().manual_seed(derive_seed(seed, state.step))
    dropout = int(torch.randint(2**62, (), generator=rng))
    seen = batch
    if not objective.gather and descent.processes.count > 1:
        share = descent.processes.share(rows)
        seen = Batch(batch.betas[share], batch.stimulus_rows[share])
        rng = torch.Generator().manual_seed(derive_seed(dropout, descent.processes.index))
    draw = objective.draw(seen, progress=state.step / total, rng=rng)
    losses = descend(
        descent, draw, rows, state, config, seed=dropout, batch=partial(describe, batch),
        on_phase=on_phase,
    )  # fmt: skip
    on_phase("done")
    return losses


def descend(
    descent: Descent,
    draw: D,
    rows: int,
    state: TrainingState,
    config: OptimConfig,
    *,
    seed: int,
    batch: Callable[[], str] = str,
    on_phase: Callable[[str], None] = lambda name: None,
) -> dict[str, Tensor]:
    """Do what follows the draw of a step of `rows` rows; see `take_step`.

    `seed` is dropout's, `batch` names the batch in an error message.
    """
    on_phase("backward")
    state.optimizer.zero_grad(set_to_none=True)
    losses = descent.backward(draw, rows, seed=seed)
    on_phase("optimizer")
    norm = clip_gradient(state.model, config.clip)
    for name, value in {**losses, "gradient": norm}.items():
        if not bool(torch.isfinite(value)):
            what = "the gradient" if name == "gradient" else f"loss {name!r}"
            raise NumericalError(
                f"{what} of {descent.objective.name} is {float(value)} at step {state.step} "
                f"(stimuli {batch()}); look at these, lower the learning rate, or use "
                "precision=fp32"
            )
    state.optimizer.step()
    state.schedule.step()
    state.step += 1
    if state.average is not None:
        state.average.update(state.model)
    return losses


def clip_gradient(model: nn.Module, largest: float) -> Tensor:
    """Scale the gradient to norm `largest` where it is longer, 0 for never; return its norm."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if largest:
        nn.utils.clip_grads_with_norm_(model.parameters(), largest, norm)
    return norm


def _log_epoch(
    log: MetricsLog | None,
    objective: Objective[Any],
    state: TrainingState,
    per_epoch: int,
    seed: int,
) -> None:
    """Write the means of an epoch's losses and the validation scores, and start new sums."""
    means = {f"train/{name}": value / per_epoch for name, value in state.sums.items()}
    state.sums = {}
    if log is None:
        return
    model = state.model if state.average is None else state.average.model
    model.eval()
    with torch.inference_mode():
        scores = objective.validate(model, rng=torch.Generator().manual_seed(seed))
    log.add(state.step, **means, **{f"val/{name}": value for name, value in scores.items()})
