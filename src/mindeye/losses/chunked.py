"""The contrastive losses in blocks of rows, for galleries whose similarities do not fit.

The same values as the whole matrix up to rounding. A block is a few rows of the similarity matrix;
it is computed, reduced to one number and forgotten, and computed again in the backward pass, so
that one block of (chunk, G) is held at a time instead of several matrices of (Q, G). Costs a second
forward pass of the matrix products.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mindeye.losses.mixco import MixCo


def chunked_bimixco(
    prediction: Tensor,
    target: Tensor,
    mix: MixCo | None,
    *,
    temperature: float,
    chunk: int,
    bidirectional: bool = True,
    as_published: bool = False,
) -> Tensor:
    """`bimixco_loss` of (Q, D) against (G, D), `chunk` rows at a time.

    A row of labels holds two numbers, what the trial keeps and what its partner gets; they are
    looked up, so that the (Q, Q) labels are never written out either.
    """
    queries = len(prediction)
    place = torch.arange(queries, device=prediction.device)
    own, other, partner = torch.ones_like(place), torch.zeros_like(place), place
    if mix is not None:
        own, other, partner = mix.mix_weight, 1 - mix.mix_weight, mix.permutation
        if as_published:  # the partner's label overwrites the trial's own
            own = torch.where(partner == place, 0, own)
    giver = partner.argsort()  # (Q,) whose partner the trial is: the inverse permutation

    def brain_to_image(
        rows: Tensor, place: Tensor, own: Tensor, other: Tensor, partner: Tensor
    ) -> Tensor:
        logs = (rows @ target.T / temperature).log_softmax(-1)  # (chunk, G)
        return -(own * _pick(logs, place) + other * _pick(logs, partner)).sum()

    def image_to_brain(
        rows: Tensor, place: Tensor, own: Tensor, other: Tensor, giver: Tensor
    ) -> Tensor:
        logs = (rows @ prediction.T / temperature).log_softmax(-1)  # (chunk, Q)
        return -(own * _pick(logs, place) + other * _pick(logs, giver)).sum()

    forward = _mean_over_rows(brain_to_image, (prediction, place, own, other, partner), chunk)
    if not bidirectional:
        return forward
    columns = (target[:queries], place, own, other[giver], giver)
    return (forward + _mean_over_rows(image_to_brain, columns, chunk)) / 2


def chunked_soft_contrastive(
    prediction: Tensor,
    target: Tensor,
    target_augmented: Tensor,
    *,
    temperature: float,
    chunk: int,
) -> Tensor:
    """`soft_contrastive_loss` of (Q, D) against (G, D) and (G, D), `chunk` rows at a time."""
    queries = len(prediction)
    asked = target[:queries]

    def brain_to_image(rows: Tensor, teacher: Tensor) -> Tensor:
        logits = rows @ target_augmented.T / temperature  # (chunk, G)
        labels = (teacher @ target_augmented.T / temperature).softmax(-1)  # (chunk, G)
        return -(logits.log_softmax(-1) * labels).sum()

    def image_to_brain(rows: Tensor) -> Tensor:
        logits = rows @ prediction.T / temperature  # (chunk, Q)
        labels = (rows @ asked.T / temperature).softmax(-1)  # (chunk, Q)
        return -(logits.log_softmax(-1) * labels).sum()

    forward = _mean_over_rows(brain_to_image, (prediction, asked), chunk)
    return (forward + _mean_over_rows(image_to_brain, (target_augmented[:queries],), chunk)) / 2


def _mean_over_rows(
    block: Callable[..., Tensor], columns: tuple[Tensor, ...], chunk: int
) -> Tensor:
    """Cut all `columns` into `chunk` rows, sum `block` over the pieces, divide by the rows.

    Pieces come from one `split`, whose gradient is one concatenation; a slice for every block
    would build a gradient of full size for every block.
    """
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least 1 row")
    pieces = zip(*(torch.split(column, chunk) for column in columns), strict=True)
    sums = [
        checkpoint(block, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces
    ]
    return torch.stack(sums).sum() / len(columns[0])


def _pick(values: Tensor, index: Tensor) -> Tensor:
    """Entry `index[i]` of row i of (B, G); (B,)."""
    return values.gather(1, index[:, None])[:, 0]
