"""Training state in safetensors files: weights, optimiser, schedule, step. No pickles."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mindeye.errors import CheckpointError
from mindeye.files import atomic_path
from mindeye.training.average import WeightAverage

KEPT = 2
"""Checkpoints kept: should the last one be torn, the one before it is there."""


@dataclass
class TrainingState:
    """Everything a training needs to go on as if it had never stopped.

    Parameters
    ----------
    model, optimizer, schedule
        What is trained and how.
    average
        Moving average of the weights, None without one.
    step
        Steps done.
    sums
        Sums of this epoch's losses so far, by name.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    average: WeightAverage | None = None
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the newest first."""
    return sorted(folder.glob("checkpoint-*.safetensors"), reverse=True)


def save_checkpoint(folder: Path, state: TrainingState, *, key: str) -> Path:
    """Write the whole training state atomically, and remove all but the last `KEPT`.

    Parameters
    ----------
    folder
        Gets `checkpoint-STEP.safetensors`.
    state
        Training state; tensors on the CPU are written where they lie, without a copy.
    key
        Hash of config and data; another key is not resumed from.
    """
    tensors = {f"model/{k}": v for k, v in state.model.state_dict().items()}
    if state.average is not None:
        tensors |= {f"average/{k}": v for k, v in state.average.state_dict().items()}
    optimizer = state.optimizer.state_dict()
    scalars: dict[str, Any] = {}
    for index, entries in optimizer["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                scalars[f"{index}/{name}"] = value
    plain = {
        "step": state.step,
        "key": key,
        "sums": state.sums,
        "groups": [dict(group) for group in optimizer["param_groups"]],
        "scalars": scalars,
        "schedule": {k: v for k, v in state.schedule.state_dict().items() if not callable(v)},
    }
    path = folder / f"checkpoint-{state.step:09d}.safetensors"
    with atomic_path(path) as temporary:
        save_file(_unshared(tensors), temporary, metadata={"state": json.dumps(plain)})
    for old in checkpoint_files(folder)[KEPT:]:
        old.unlink()
    return path


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors on the CPU; of those that share memory, all but the first as copies."""
    places: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if place in places else tensor
        places.add(place)
    return separate


def load_checkpoint(folder: Path, state: TrainingState, *, key: str) -> bool:
    """Restore the newest checkpoint that can be read; a torn one is skipped with a warning.

    Parameters
    ----------
    folder
        Folder of the checkpoints.
    state
        Training state that is overwritten.
    key
        A checkpoint of another key is passed over.

    Returns
    -------
    bool
        Whether there was one.

    Raises
    ------
    CheckpointError
        If a checkpoint of this key does not fit the model.
    """
    for path in checkpoint_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                plain: dict[str, Any] = json.loads(file.metadata()["state"])
                if plain["key"] != key:
                    continue
                names = list(file.keys())
                tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            warnings.warn(
                f"{path} is torn ({error}) and skipped; training goes on from the one before it, "
                "or from the start",
                stacklevel=2,
            )
            continue
        _restore(path, state, plain, tensors)
        return True
    return False


def _restore(
    path: Path, state: TrainingState, plain: dict[str, Any], tensors: dict[str, Tensor]
) -> None:
    def under(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    try:
        state.model.load_state_dict(under("model/"))
        if state.average is not None:
            state.average.load_state_dict(under("average/"))
        entries: dict[int, dict[str, Any]] = {}
        for name, value in [*under("optimizer/").items(), *plain["scalars"].items()]:
            index, _, entry = name.partition("/")
            entries.setdefault(int(index), {})[entry] = value
        state.optimizer.load_state_dict({"state": entries, "param_groups": plain["groups"]})
        state.schedule.load_state_dict(plain["schedule"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} does not fit the model ({' '.join(str(error).split())[:300]}); delete it to "
            "train this stage anew"
        ) from error
    state.step, state.sums = int(plain["step"]), dict(plain["sums"])


def discard_checkpoints(folder: Path) -> None:
    """Remove the training state once the finished model is saved."""
    for path in checkpoint_files(folder):
        path.unlink()
