"""Cosine attention of many query heads over one shared key and value, in three ways."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from mindeye.config.high import Attention, PriorConfig
from mindeye.models.positions import at_least_float32, rotate

COSINE_SCALE = 16.0
"""Factor on the cosine of query and key (published code)."""

EPS_FLOAT32 = 1e-5
EPS_OTHER = 1e-3
"""Epsilon of `GainNorm` in any dtype but float32, float64 included (published code)."""


EPS_LENGTH = 1e-12
"""Least length a query or key is divided by (torch's `normalize`, as published)."""

LOGITS_AT_ONCE = 2**21
"""Attention logits the CPU holds at once. 8 MB: larger blocks leave the cache, and the allocator
gives those from 32 MB back to the system each time. Measured: any from 2**19 to 2**22 does."""


class GainNorm(nn.Module):
    """Layer norm over the last axis with a gain and no bias.

    `stable` first divides by the signed maximum of the row (published code, last norm only).
    """

    def __init__(self, dim: int, *, stable: bool = False) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim))
        self.stable = stable

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        if self.stable:
            inputs = inputs / inputs.amax(dim=-1, keepdim=True).detach()
        eps = EPS_FLOAT32 if inputs.dtype == torch.float32 else EPS_OTHER
        return functional.layer_norm(inputs, inputs.shape[-1:], weight=self.gain, eps=eps)


def unit_length(inputs: Tensor) -> Tensor:
    """Rows (..., d) at length 1, in float32 at least; cheaper backward than torch's `normalize`."""
    inputs = at_least_float32(inputs)
    square = inputs.square().sum(dim=-1, keepdim=True)
    return inputs * square.clamp_min(EPS_LENGTH**2).rsqrt()


def explicit_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attention with its matrix written out and a softmax in float32, as published.

    Parameters
    ----------
    query
        (N, heads, K, d), rows of length 1.
    key, value
        (N, K + 1, d), one head for all queries; the keys' rows of length 1.
    bias
        (heads, K, K + 1), minus infinity where a key is closed.

    Returns
    -------
    Tensor
        (N, heads, K, d) in the dtype of `value`.
    """
    query, key = query.to(value.dtype), key.to(value.dtype)
    logits = torch.einsum("nhqd,nkd->nhqk", query, key) * COSINE_SCALE + bias
    weights = logits.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    return torch.einsum("nhqk,nkd->nhqd", weights, value)


def fused_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """`explicit_attention` by torch's fused kernels, on the CPU by `blockwise_attention`."""
    if query.device.type == "cpu":
        return blockwise_attention(query, key, value, bias)
    shape = (-1, query.shape[1], -1, -1)
    return functional.scaled_dot_product_attention(
        query.to(value.dtype),
        key.to(value.dtype).unsqueeze(1).expand(shape),
        value.unsqueeze(1).expand(shape),
        attn_mask=bias.to(value.dtype),
        scale=COSINE_SCALE,
    )


def blockwise_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """`explicit_attention`, some trials at a time, in float32 even under autocast.

    torch's fused kernel for the CPU has no gradient for the bias; where one is asked, torch writes
    the matrix out for all trials and copies the one key to every head. Here the heads are rows of
    one query matrix, and a block of trials stays in the cache.
    """
    heads, dtype = query.shape[1], torch.promote_types(value.dtype, torch.float32)
    rows = bias.to(dtype).flatten(0, 1)  # (heads * K, K + 1)
    trials = max(1, LOGITS_AT_ONCE // rows.numel())
    parts = (query.to(dtype).flatten(1, 2), key.to(dtype), value.to(dtype))
    blocks = zip(*(torch.split(part, trials) for part in parts), strict=True)
    attended = []
    with torch.autocast(query.device.type, enabled=False):
        for queries, keys, values in blocks:
            logits = torch.baddbmm(rows, queries, keys.transpose(1, 2), alpha=COSINE_SCALE)
            attended.append(torch.bmm(logits.softmax(dim=-1), values))
    return torch.unflatten(torch.cat(attended), 1, (heads, -1)).to(value.dtype)


ATTENTION: dict[Attention, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "sdpa": fused_attention,
    "explicit": explicit_attention,
}


class SharedKeyAttention(nn.Module):
    """Cosine attention of many query heads over one shared key/value head; (N, K, D) to itself.

    Parameters
    ----------
    config
        Heads, their width, and the way attention is computed.
    dim
        Width D of a token.
    causal
        Whether a token sees earlier tokens only.
    """

    def __init__(self, config: PriorConfig, dim: int, *, causal: bool = False) -> None:
        super().__init__()
        heads, dim_head = config.heads, config.dim_head
        self.heads = heads
        self.causal = causal
        self.attention: Attention = config.attention
        self.norm = GainNorm(dim)
        self.null_key_value = nn.Parameter(torch.randn(2, dim_head))
        self.to_query = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_key_value = nn.Linear(dim, 2 * dim_head, bias=False)
        self.to_output = nn.Linear(heads * dim_head, dim, bias=False)
        self.norm_output = GainNorm(dim)

    def forward(self, tokens: Tensor, bias: Tensor, turns: Tensor) -> Tensor:
        """Attend.

        Parameters
        ----------
        tokens
            (N, K, D).
        bias
            (heads, K, K + 1), the null key first.
        turns
            Rotations of `Rotary` for K positions, applied to queries and keys before they are
            normalised. The null key is not rotated.
        """
        hidden = self.norm(tokens)
        query = self.to_query(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.to_key_value(hidden).chunk(2, dim=-1)  # (N, K, d)
        query, key = rotate(query, turns), rotate(key, turns)  # query: (N, heads, K, d)

        null = self.null_key_value.to(key.dtype)[:, None, None]  # (2, 1, 1, d)
        null_key, null_value = null.expand(-1, len(tokens), -1, -1)
        key = torch.cat([null_key, key], dim=-2)  # (N, K + 1, d)
        value = torch.cat([null_value, value], dim=-2)

        attend = ATTENTION[self.attention]
        attended = attend(unit_length(query), unit_length(key), value, self._mask(bias))
        output: Tensor = self.norm_output(self.to_output(attended.transpose(1, 2).flatten(2)))
        return output

    def _mask(self, bias: Tensor) -> Tensor:
        """Return the bias, with later keys closed if attention is causal."""
        if not self.causal:
            return bias
        later = torch.ones(bias.shape[-2:], dtype=torch.bool, device=bias.device).triu(2)
        return bias.masked_fill(later, -math.inf)
