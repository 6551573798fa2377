"""Checkpoint files written by `torch.save`: their weights, read without running code in them.

`torch.load` unpickles a file with a list of allowed names and calls nothing else. The authors'
files need two names more: with torch 2.0 the state of their learning rate schedule holds a
reference to a function. Both names are given objects here that do nothing.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindeye.errors import CheckpointError

WEIGHTS = "model_state_dict"
WRAPPER = "module."
"""What distributed training puts before every name; the published code strips it too."""

COUNTER = "num_batches_tracked"
"""Buffers of batch norm that hold an integer."""

FINITE_CHUNK = 1 << 24
"""Values checked at once, which keeps the memory of the check small."""


class _Nothing:
    """Stands for a class that a file names but the weights do not need."""


def _no_attribute(*_: object) -> None:
    """Stand for `getattr`; looks nothing up."""


_REPLACEMENTS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_no_attribute, "builtins.getattr"),
    (_Nothing, "torch.optim.lr_scheduler.OneCycleLR"),
]


def read_published_state(path: Path) -> dict[str, Tensor]:
    """Return the weights in a file, mapped from it, under the names that stand there.

    Parameters
    ----------
    path
        Holds a dict with `model_state_dict`, or a bare state dict.

    Raises
    ------
    CheckpointError
        If there is no such file, it is torn, it names code, or it holds no weights.
    """
    content = _load(path)
    state = content.get(WEIGHTS, content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(
            f"{path} holds no {WEIGHTS} and no state dict but a {type(content).__name__}; give "
            "the .pth file that the published training wrote"
        )
    for key, value in state.items():
        _check_entry(path, key, value)
    if all(key.startswith(WRAPPER) for key in state):
        return {key.removeprefix(WRAPPER): value for key, value in state.items()}
    return dict(state)


def refuse_non_finite(path: Path, state: Mapping[str, Tensor]) -> None:
    """Refuse NaN and infinity, naming the tensors that hold them."""
    broken = [key for key, value in state.items() if not _is_finite(value)]
    if broken:
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise CheckpointError(
            f"{path}: {', '.join(broken[:3])}{more} not finite; such weights decode nothing, "
            "take an earlier checkpoint"
        )


def _load(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"{path} is no file; give the .pth file of the published training")
    try:
        with torch.serialization.safe_globals(_REPLACEMENTS):
            mapped = zipfile.is_zipfile(path)
            return torch.load(path, map_location="cpu", mmap=mapped, weights_only=True)
    except Exception as error:  # a torn or hostile file can make the reader fail in any way
        code = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and code:
            raise CheckpointError(
                f"{path} names code ({code.group(1)}) and was not read; nothing in it was run. If "
                f"you trust its source, load it there and save its {WEIGHTS} alone"
            ) from error
        raise CheckpointError(
            f"{path} is cut off, torn or no checkpoint of torch ({type(error).__name__}); download "
            "or copy it again"
        ) from error


def _check_entry(path: Path, key: object, value: object) -> None:
    if not isinstance(key, str) or not isinstance(value, Tensor):
        raise CheckpointError(
            f"{path}: {key!r} is no tensor but a value of type {type(value).__name__}; give the "
            f".pth file that the published training wrote, with {WEIGHTS} or nothing but tensors"
        )
    if value.layout != torch.strided or not (value.is_floating_point() or key.endswith(COUNTER)):
        raise CheckpointError(
            f"{path}: {key} is {value.layout} of {value.dtype}, not plain floating point; no "
            "checkpoint of the authors holds such weights"
        )
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise CheckpointError(
            f"{path}: {key} claims shape {tuple(value.shape)}, its data are smaller; download or "
            "copy the file again"
        )


def _is_finite(value: Tensor) -> bool:
    parts = torch.split(value.flatten(), FINITE_CHUNK)
    return all(bool(part.isfinite().all()) for part in parts)
