"""Pickled weights, rewritten as safetensors once, so that no run ever loads a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mindeye.errors import CheckpointError
from mindeye.files import atomic_path
from mindeye.weights.complete import check_file


def rewrite_pickle(pickled: Path, target: Path) -> None:
    """Read a pickled state dict, tensors and plain containers alone, and write safetensors.

    Parameters
    ----------
    pickled
        The file; deleted afterwards.
    target
        The safetensors file; tensors keep names, shapes and types.

    Raises
    ------
    CheckpointError
        If the file is torn, or holds anything but tensors by name; nothing in it is executed
        (`torch.load(weights_only=True)`).
    """
    import torch
    from safetensors.torch import save_file

    check_file(pickled, allow_pickles=True)
    try:
        state: Any = torch.load(pickled, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, ValueError, EOFError, OSError) as error:
        # Files of before torch 1.6 cannot be mapped.
        state = _read_old(pickled, error)
    except Exception as error:
        raise _not_plain(pickled, error) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise _not_plain(pickled, "no tensors by name")
    tensors = {}
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise _not_plain(pickled, f"{name!r} is no tensor")
        # Tensors that share memory are not allowed in safetensors.
        tensors[name] = value.detach().clone().contiguous()
    with atomic_path(target) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    check_file(target)
    pickled.unlink()


def _read_old(pickled: Path, first: Exception) -> Any:
    import torch

    try:
        return torch.load(pickled, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _not_plain(pickled, first) from error


def _not_plain(path: Path, why: object) -> CheckpointError:
    said = " ".join(str(why).split())[:160]
    return CheckpointError(
        f"{path} is no plain file of tensors ({said}); it is not loaded: delete it, and fetch "
        "again if it is torn"
    )
