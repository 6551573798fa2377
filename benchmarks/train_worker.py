"""Optimisation steps of one profile in a process of their own, so that its peak memory is its own.

Started by `benchmarks.train`; prints one JSON object.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import resource
import sys
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.profiles import profile_config
from benchmarks.timing import finish_device_work
from mindeye.config import HighConfig
from mindeye.data.dataset import Batch
from mindeye.models.pipelines import HighLevel
from mindeye.models.sizes import Sizes
from mindeye.processes import Processes, join_processes
from mindeye.targets.views import StoredTargets
from mindeye.training.checkpoint import TrainingState
from mindeye.training.high import HighObjective
from mindeye.training.objective import Validation
from mindeye.training.optim import make_optimizer
from mindeye.training.step import TrainingStep

GIB = 1 << 30


def peak_gib(device: torch.device) -> float:
    """Return the most memory the process has held, in GiB: resident, or the card's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


def release_free_heap() -> None:
    """Hand freed heap memory back to the system (glibc), outside of what is timed.

    The C library keeps freed blocks below 32 MB. With them the published way of running a step
    takes more than 24 GB, without them less.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


class Clock:
    """Seconds by phase of a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._phase, self._since = "", 0.0

    def __call__(self, phase: str) -> None:
        """Note that a phase begins."""
        finish_device_work()
        now = time.perf_counter()
        if self._phase:
            self.seconds[self._phase] = now - self._since
        if phase == "optimizer":
            release_free_heap()
        self._phase = "" if phase == "done" else phase
        self._since = time.perf_counter()


def synthetic(sizes: Sizes, rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return betas (rows, V) and embeddings (rows, K, D) of unit-length tokens, at random."""
    rng = torch.Generator().manual_seed(seed)
    betas = torch.randn(rows, sizes.voxels, generator=rng)
    tokens = torch.randn(rows, sizes.tokens, sizes.width, generator=rng)
    return betas, torch.nn.functional.normalize(tokens, dim=-1)


def build_objective(config: HighConfig, sizes: Sizes, tokens: Tensor, seed: int) -> HighObjective:
    """Return the objective of a full-size training on given embeddings."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = HighLevel(config, sizes)
    nobody = Validation(torch.zeros(0, sizes.voxels), torch.zeros(0, dtype=torch.long), tokens)
    return HighObjective(model, config, StoredTargets([tokens]), nobody)


def run_steps(job: dict[str, Any], processes: Processes) -> dict[str, Any]:
    """Do the steps of a job and return seconds, losses and memory."""
    config = profile_config(
        job["preset"], job["profile"], batch_size=job["batch_size"], more=tuple(job["fields"])
    ).high
    voxels, count, width = job["sizes"]
    sizes = Sizes(voxels, count, width, latents=(4, 64, 64))
    batch_size, seed = job["batch_size"], job["seed"]
    before = peak_gib(torch.device("cpu"))
    betas, tokens = synthetic(sizes, batch_size, seed)
    objective = build_objective(config, sizes, tokens, seed)
    objective.model.to(processes.device).train()
    total = 3 * job["steps"]  # so that all steps fall in the part with mixing
    optimizer, schedule = make_optimizer(
        objective.model, config.optim, max(total, 12), input_layer=objective.input_layer
    )
    if config.optim.compile:
        for network in objective.model.children():
            network.compile()
    state = TrainingState(objective.model, optimizer, schedule)
    step = TrainingStep(objective, state, config.optim, processes)
    batch = Batch(betas, torch.arange(batch_size))
    steps = []
    for _ in range(job["steps"]):
        clock = Clock()
        clock("draw")
        draw, dropout = step.draw(batch, seed=seed, total=total)
        clock("backward")
        losses = step.backward(draw, batch_size, seed=dropout)
        clock("optimizer")
        step.update(losses)
        clock("done")
        steps.append(
            {
                "seconds": sum(clock.seconds.values()),
                "phases": clock.seconds,
                "losses": {name: float(value) for name, value in losses.items()},
            }
        )
    return {
        "parameters": sum(p.numel() for p in objective.model.parameters()),
        "peak_gib": peak_gib(processes.device),
        "before_gib": before,
        "steps": steps,
        "device": str(processes.device),
    }


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    print(json.dumps(run_steps(job, join_processes(job["device"]))))
