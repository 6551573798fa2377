"""One training loop, blind to content: an objective gives losses by name, the loop minimises."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

import torch

from mindeye.config import OptimConfig
from mindeye.data.dataset import Batch, TrainingSet
from mindeye.errors import DataError
from mindeye.files import MetricsLog
from mindeye.processes import Processes
from mindeye.progress import track
from mindeye.training.average import WeightAverage
from mindeye.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from mindeye.training.objective import Objective
from mindeye.training.optim import make_optimizer
from mindeye.training.step import TrainingStep, check_shares


def train(
    objective: Objective,
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
        Seed of everything random.
    key
        Hash of configuration and data; checkpoints of another key are left alone.
    processes
        Process group; the first process writes.

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
    step = TrainingStep(objective, state, config, processes)
    batches = _batches(data, config, state.step, total, per_epoch, seed, smallest)
    with listening() as stop:
        for batch in track(
            batches, objective.name, total=total, done=state.step, shown=processes.is_first
        ):
            model.train()
            draw, dropout = step.draw(batch, seed=seed, total=total)
            losses = step.backward(draw, len(batch.betas), seed=dropout)
            step.update(losses, partial(data.names, batch))
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


def _log_epoch(
    log: MetricsLog | None,
    objective: Objective,
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


class StopRequest:
    """Whether somebody asked for a stop."""

    def __init__(self) -> None:
        self.made = False


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM inside the block; a second SIGINT stops at once.

    Outside the main thread, where Python allows no handlers, nothing is caught.
    """
    request = StopRequest()

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        if request.made and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.made = True

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
