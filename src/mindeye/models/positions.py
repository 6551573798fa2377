"""Where tokens stand: the learned bias on attention logits and the rotary embedding."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

ROTARY_BASE = 10000.0
"""Base of the rotary frequencies (arXiv 2104.09864, section 3.4.3)."""

POSITION_BUCKETS = 32
"""Buckets of the position bias (arXiv 1910.10683, section 2.1)."""

POSITION_MAX_DISTANCE = 128
"""Distance from which all positions share the last bucket (the same section)."""


def position_buckets(
    relative_position: Tensor,
    *,
    buckets: int = POSITION_BUCKETS,
    max_distance: int = POSITION_MAX_DISTANCE,
) -> Tensor:
    """T5 bucket of each relative position (key index minus query index), causal form.

    Bucket 0 for every key at or after the query, one bucket per distance up to half of the
    buckets, logarithmic ones up to `max_distance`, the last one beyond.
    """
    distance = (-relative_position).clamp_min(0)
    exact = buckets // 2
    ratio = torch.log(distance.clamp_min(1).float() / exact) / math.log(max_distance / exact)
    logarithmic = exact + (ratio * (buckets - exact)).long()
    return torch.where(distance < exact, distance, logarithmic.clamp_max(buckets - 1))


class PositionBias(nn.Module):
    """One learned number per bucket and head, added to attention logits."""

    def __init__(
        self,
        heads: int,
        *,
        buckets: int = POSITION_BUCKETS,
        max_distance: int = POSITION_MAX_DISTANCE,
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(buckets, heads)
        self.max_distance = max_distance

    def forward(self, queries: int, keys: int) -> Tensor:
        """(heads, queries, keys); key 0 is the null key, so token j is key j + 1."""
        device = self.table.weight.device
        relative = (
            torch.arange(keys, device=device)[None] - torch.arange(queries, device=device)[:, None]
        )
        buckets = position_buckets(
            relative, buckets=self.table.num_embeddings, max_distance=self.max_distance
        )
        bias: Tensor = self.table(buckets)  # (queries, keys, heads)
        return bias.permute(2, 0, 1).contiguous()  # once, for all layers


class Rotary(nn.Module):
    """Angles by which `rotate` turns the first dimensions of a head.

    One instance serves all layers; its frequencies are fixed and part of the published state.
    """

    frequencies: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        exponent = torch.arange(0, dim, 2).float() / dim
        self.register_buffer("frequencies", 1.0 / ROTARY_BASE**exponent)

    def forward(self, positions: int) -> Tensor:
        """(positions, dim / 2) complex numbers of length 1, one per position and pair."""
        frequencies = self.frequencies.float()
        angles = torch.arange(positions, device=frequencies.device)[:, None] * frequencies
        return torch.polar(torch.ones_like(angles), angles)


def rotate(inputs: Tensor, turns: Tensor) -> Tensor:
    """Turn adjacent pairs of the first dimensions of a head by position-dependent angles.

    (..., positions, head width) to the same shape. A pair is one complex number and `turns`
    (positions, pairs) of `Rotary` its factor: one product instead of six and two copies.
    """
    rotated_dims = 2 * turns.shape[-1]
    pairs = torch.unflatten(at_least_float32(inputs[..., :rotated_dims]), -1, (-1, 2))
    turned = torch.view_as_real(torch.view_as_complex(pairs) * turns).flatten(-2)
    return torch.cat([turned.to(inputs.dtype), inputs[..., rotated_dims:]], dim=-1)


def at_least_float32(inputs: Tensor) -> Tensor:
    """Return the inputs in float32, or in their own dtype where that is wider."""
    return inputs.to(torch.promote_types(inputs.dtype, torch.float32))
