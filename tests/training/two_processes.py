"""What each of several processes does in test_processes.py, and the test itself for comparison."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from small_objective import STILL, objective, training_step

from mindeye.config import HighConfig
from mindeye.data.dataset import Batch, TrainingSet
from mindeye.data.subject import Subject, load_subject
from mindeye.processes import Processes, join_processes
from mindeye.training.loop import train

ALONE_IN_LOSS = replace(STILL, contrastive=replace(STILL.contrastive, gather=False))
CASES: dict[str, tuple[HighConfig, float, int, int]] = {
    # config, progress, micro-batch, rows
    "bimixco": (STILL, 0.1, 0, 12),
    "softclip": (STILL, 0.9, 0, 12),
    "uneven": (STILL, 0.9, 0, 13),
    "micro-batches": (STILL, 0.1, 4, 13),
    "prior alone": (
        replace(STILL, contrastive=replace(STILL.contrastive, enabled=False)), 0.9, 0, 12,
    ),
    "not gathered": (ALONE_IN_LOSS, 0.9, 0, 12),
}  # fmt: skip


def gradients(subject: Subject, processes: Processes, case: str) -> dict[str, torch.Tensor]:
    config, progress, micro_batch, rows = CASES[case]
    goal = objective(subject, config)
    goal.model.train()
    batch = Batch(torch.from_numpy(subject.betas[:rows].copy()), torch.arange(rows))
    if not goal.gather:
        share = processes.share(rows)
        batch = Batch(batch.betas[share], batch.stimulus_rows[share])
    draw = goal.draw(batch, progress=progress, rng=torch.Generator().manual_seed(0))
    step = training_step(goal, micro_batch=micro_batch, processes=processes)
    losses = step.backward(draw, rows, seed=5)
    found = {f"{case}/loss/{name}": value for name, value in losses.items()}
    for name, parameter in goal.model.named_parameters():
        if parameter.grad is not None:
            found[f"{case}/gradient/{name}"] = parameter.grad.clone()
    return found


def work(subject: Subject, folder: Path, processes: Processes) -> None:
    found: dict[str, Any] = {}
    for case in CASES:
        found |= gradients(subject, processes, case)
    folder.mkdir(parents=True, exist_ok=True)
    goal = objective(subject, STILL)
    data = TrainingSet(subject, subject.splits["train"])
    optim = replace(STILL.optim, epochs=2)
    train(goal, data, optim, folder, seed=3, key="k", processes=processes)
    found |= {f"trained/{k}": v.contiguous() for k, v in goal.model.state_dict().items()}
    save_file(found, folder / f"process{processes.index}.safetensors")
    (folder / f"process{processes.index}.json").write_text(json.dumps({"count": processes.count}))
    processes.wait()


if __name__ == "__main__":
    torch.set_num_threads(1)
    work(load_subject(Path(sys.argv[1])), Path(sys.argv[2]), join_processes("cpu"))
