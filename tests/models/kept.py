"""What a forward pass keeps for the backward pass, for tests of recomputed activations."""

from __future__ import annotations

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


def kept_bytes(model: nn.Module, *inputs: Tensor) -> int:
    """Bytes kept for the backward pass, parameters excepted; every storage once."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model(*inputs)
    return sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in own)
