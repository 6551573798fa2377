"""Training state in one safetensors file: weights, optimiser, schedule, epoch. No pickles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mindeye.errors import CheckpointError
from mindeye.runs import atomic_path

FILE = "checkpoint.safetensors"


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    *,
    epoch: int,
    key: str,
) -> None:
    """Write the whole training state atomically.

    Parameters
    ----------
    folder
        Where `checkpoint.safetensors` goes.
    model, optimizer, schedule
        What is trained.
    epoch
        Epochs finished.
    key
        Hash of config and data; another key is not resumed from.
    """
    state = optimizer.state_dict()
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    for index, values in state["state"].items():
        for name, value in values.items():
            tensors[f"optimizer/{index}/{name}"] = torch.as_tensor(value)
    plain = {
        "epoch": epoch,
        "key": key,
        "groups": [dict(g) for g in state["param_groups"]],
        "schedule": {k: v for k, v in schedule.state_dict().items() if not callable(v)},
    }
    copies = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    with atomic_path(folder / FILE) as temporary:
        save_file(copies, temporary, metadata={"state": json.dumps(plain)})


def load_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    *,
    key: str,
) -> int:
    """Restore the training state and return the number of epochs finished, 0 if there is none.

    Raises
    ------
    CheckpointError
        If the checkpoint is torn or does not fit the model.
    """
    path = folder / FILE
    if not path.is_file():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            plain: dict[str, Any] = json.loads(file.metadata()["state"])
            if plain["key"] != key:
                return 0
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is torn ({error}); delete it to train this stage anew"
        ) from error
    try:
        model.load_state_dict(
            {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
        )
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit the model: {error}") from error
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, entry = name.split("/")
            state.setdefault(int(index), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": plain["groups"]})
    schedule.load_state_dict(plain["schedule"])
    return int(plain["epoch"])
