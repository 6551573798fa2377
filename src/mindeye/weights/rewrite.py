"""Pickled weights, rewritten as safetensors once, so that no run ever loads a pickle."""

from __future__ import annotations

from pathlib import Path

from mindeye.errors import CheckpointError
from mindeye.files import atomic_path
from mindeye.weights.complete import check_file


def rewrite_pickle(pickled: Path, target: Path) -> None:
    """Read a pickled state dict, tensors and plain containers alone, and write safetensors.

    Parameters
    ----------
    pickled
        Path of the pickle, which is deleted afterwards.
    target
        Path of the safetensors file; tensors keep names, shapes and types.

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
        state = torch.load(pickled, map_location="cpu", weights_only=True, mmap=True)
        state = state.get("state_dict", state)
        # Tensors that share memory are not allowed in safetensors.
        tensors = {name: value.detach().clone().contiguous() for name, value in state.items()}
        if not tensors or not all(isinstance(name, str) for name in tensors):
            raise ValueError("no tensors by name")
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"{pickled} is no plain file of tensors ({reason}); it is not loaded: delete it, and "
            "fetch again if it is torn"
        ) from error
    with atomic_path(target) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    check_file(target)
    pickled.unlink()
