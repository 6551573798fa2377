from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mindeye.losses.chunked import chunked_bimixco
from mindeye.losses.contrastive import (
    bimixco_loss,
    info_nce_loss,
    soft_clip_loss,
    soft_contrastive_loss,
    unit_rows,
)
from mindeye.losses.mixco import MixCo, draw_mixco

QUERIES, WIDTH, TEMPERATURE = 12, 5, 0.1
MIX = draw_mixco(QUERIES, rng=torch.Generator().manual_seed(1))
IN_PLACE = MixCo(  # trials that are their own partner, where the published labels differ
    torch.tensor([1, 2, 0, *range(3, QUERIES)]), torch.linspace(0, 1, QUERIES), MIX.selected
)
Loss = Callable[[Tensor, Tensor, Tensor, int], Tensor]
LOSSES: dict[str, Loss] = {
    "infonce": lambda p, t, a, n: info_nce_loss(p, t, temperature=TEMPERATURE, chunk=n),
    "bimixco": lambda p, t, a, n: bimixco_loss(p, t, MIX, temperature=TEMPERATURE, chunk=n),
    "in place": lambda p, t, a, n: bimixco_loss(p, t, IN_PLACE, temperature=TEMPERATURE, chunk=n),
    "as published": lambda p, t, a, n: bimixco_loss(
        p, t, IN_PLACE, temperature=TEMPERATURE, as_published=True, chunk=n
    ),
    "mixco": lambda p, t, a, n: bimixco_loss(
        p, t, MIX, temperature=TEMPERATURE, bidirectional=False, chunk=n
    ),
    "softclip": lambda p, t, a, n: soft_clip_loss(p, t, temperature=TEMPERATURE, chunk=n),
    "soft": lambda p, t, a, n: soft_contrastive_loss(p, t, a, temperature=TEMPERATURE, chunk=n),
}


def _views(gallery: int, queries: int = QUERIES, width: int = WIDTH) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    sizes = (queries, gallery, gallery)
    return [unit_rows(torch.randn(n, width, generator=rng)).requires_grad_() for n in sizes]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("gallery", [QUERIES, QUERIES + 7])
@pytest.mark.parametrize("chunk", [1, 4, 5, QUERIES, 100])
def test_chunks_give_the_value_and_gradients_of_the_whole_matrix(
    name: str, gallery: int, chunk: int
) -> None:
    views = _views(gallery)
    whole, chunked = LOSSES[name](*views, 0), LOSSES[name](*views, chunk)
    torch.testing.assert_close(chunked, whole, atol=1e-6, rtol=1e-6)
    expected, got = (
        torch.autograd.grad(loss, views, allow_unused=True, materialize_grads=True)
        for loss in (whole, chunked)
    )
    assert expected[0].abs().max() > 1e-3
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_the_published_labels_are_another_loss_in_chunks_too() -> None:
    views = _views(QUERIES)
    assert not torch.isclose(LOSSES["in place"](*views, 5), LOSSES["as published"](*views, 5))


class Largest(TorchDispatchMode):
    """Count the numbers of the largest tensor that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(part, Tensor):
                self.numbers = max(self.numbers, part.numel())
        return result


def _largest(loss: Loss, views: list[Tensor], chunk: int) -> int:
    with Largest() as largest:
        loss(*views, chunk).backward()
    return largest.numbers


@pytest.mark.parametrize("name", ["infonce", "softclip", "soft"])
def test_no_operation_of_chunks_makes_a_matrix_larger_than_a_block(name: str) -> None:
    queries, gallery, chunk = 64, 100, 8
    views = _views(gallery, queries)
    assert _largest(LOSSES[name], views, 0) >= queries * gallery
    assert _largest(LOSSES[name], views, chunk) == chunk * gallery


def _saved_bytes(loss: Loss, views: list[Tensor], chunk: int) -> int:
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = loss(*views, chunk)
    inputs = {view.untyped_storage().data_ptr() for view in views}
    assert torch.isfinite(result)
    return sum(size for pointer, size in saved.items() if pointer not in inputs)


@pytest.mark.parametrize("name", ["infonce", "softclip", "soft"])
def test_nothing_of_the_matrix_is_kept_for_the_backward_pass(name: str) -> None:
    queries, gallery = 64, 100
    views = _views(gallery, queries)
    matrix = 4 * queries * gallery
    assert _saved_bytes(LOSSES[name], views, 0) >= matrix
    assert _saved_bytes(LOSSES[name], views, 8) < matrix / 8


def test_a_chunk_without_rows_is_named() -> None:
    prediction, target, _ = _views(QUERIES)
    with pytest.raises(ValueError, match="chunk is -1"):
        soft_clip_loss(prediction, target, temperature=0.1, chunk=-1)
    with pytest.raises(ValueError, match="chunk is 0"):
        chunked_bimixco(prediction, target, None, temperature=0.1, chunk=0)
