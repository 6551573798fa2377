"""The transformer of the diffusion prior: parts and stack.

It differs from a textbook encoder in five ways, all from the published prior (a descendant of the
DALL-E 2 prior, arXiv 2204.06125) and all needed to read its checkpoints: one key/value head shared
by all query heads (arXiv 1911.02150), a learned null key and value in front, cosine attention
(arXiv 2010.04245) with a fixed scale, rotary embedding (arXiv 2104.09864) together with a T5
position bias (arXiv 1910.10683), and the *causal* form of that bias although attention is not
causal: every later token falls into the bucket of distance 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

AttentionKind = Literal["sdpa", "explicit"]

COSINE_SCALE = 16.0
"""Factor on the cosine of query and key (published code)."""

ROTARY_DIMS = 32
"""At most so many dimensions of a head are rotated (published code)."""

ROTARY_BASE = 10000.0
"""Base of the rotary frequencies (arXiv 2104.09864, section 3.4.3)."""

POSITION_BUCKETS = 32
"""Buckets of the position bias (arXiv 1910.10683, section 2.1)."""

POSITION_MAX_DISTANCE = 128
"""Distance from which all positions share the last bucket (the same section)."""

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
    pairs = torch.unflatten(_at_least_float32(inputs[..., :rotated_dims]), -1, (-1, 2))
    turned = torch.view_as_real(torch.view_as_complex(pairs) * turns).flatten(-2)
    return torch.cat([turned.to(inputs.dtype), inputs[..., rotated_dims:]], dim=-1)


def unit_length(inputs: Tensor) -> Tensor:
    """Rows (..., d) at length 1, in float32 at least; cheaper backward than torch's `normalize`."""
    inputs = _at_least_float32(inputs)
    square = inputs.square().sum(dim=-1, keepdim=True)
    return inputs * square.clamp_min(EPS_LENGTH**2).rsqrt()


def _at_least_float32(inputs: Tensor) -> Tensor:
    return inputs.to(torch.promote_types(inputs.dtype, torch.float32))


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


ATTENTION: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "sdpa": fused_attention,
    "explicit": explicit_attention,
}


class SharedKeyAttention(nn.Module):
    """Cosine attention of many query heads over one shared key/value head; (N, K, D) to itself."""

    def __init__(
        self,
        dim: int,
        *,
        heads: int,
        dim_head: int,
        causal: bool = False,
        attention: AttentionKind = "sdpa",
    ) -> None:
        super().__init__()
        if attention not in ATTENTION:
            raise ValueError(f"attention is {attention!r}; known: {', '.join(ATTENTION)}")
        self.heads = heads
        self.causal = causal
        self.attention = attention
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
            Of `Rotary`, for K positions; applied to queries and keys before they are normalised.
            The null key is not rotated.
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


class GatedFeedForward(nn.Module):
    """Norm, linear to twice the inner width, SiLU gate, linear; no biases; (..., D) to itself."""

    def __init__(self, dim: int, *, inner: int) -> None:
        super().__init__()
        self.norm = GainNorm(dim)
        self.expand = nn.Linear(dim, 2 * inner, bias=False)
        self.contract = nn.Linear(inner, dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        value, gate = self.expand(self.norm(tokens)).chunk(2, dim=-1)
        output: Tensor = self.contract(value * functional.silu(gate))
        return output


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each with a residual."""

    def __init__(
        self,
        dim: int,
        *,
        heads: int,
        dim_head: int,
        inner: int,
        causal: bool = False,
        attention: AttentionKind = "sdpa",
    ) -> None:
        super().__init__()
        self.attention = SharedKeyAttention(
            dim, heads=heads, dim_head=dim_head, causal=causal, attention=attention
        )
        self.feed_forward = GatedFeedForward(dim, inner=inner)

    def forward(self, tokens: Tensor, bias: Tensor, turns: Tensor) -> Tensor:
        """(N, K, D) to (N, K, D)."""
        tokens = tokens + self.attention(tokens, bias, turns)
        fed: Tensor = self.feed_forward(tokens)
        return tokens + fed


class Transformer(nn.Module):
    """The stack: layers that share one position bias and one rotary embedding, norm, projection.

    `ff_mult` is the inner width of the feed-forward in units of `dim`. With `recompute`, training
    keeps only the inputs of the layers and computes their insides again in the backward pass.
    """

    def __init__(
        self,
        dim: int,
        *,
        depth: int,
        heads: int,
        dim_head: int,
        ff_mult: float = 4.0,
        causal: bool = False,
        attention: AttentionKind = "sdpa",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.position_bias = PositionBias(heads)
        self.rotary = Rotary(min(ROTARY_DIMS, dim_head))
        self.layers = nn.ModuleList(
            [
                TransformerLayer(
                    dim,
                    heads=heads,
                    dim_head=dim_head,
                    inner=int(ff_mult * dim),
                    causal=causal,
                    attention=attention,
                )
                for _ in range(depth)
            ]
        )
        self.norm = GainNorm(dim, stable=True)
        self.project = nn.Linear(dim, dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, K, D) to (N, K, D)."""
        count = tokens.shape[1]
        bias = self.position_bias(count, count + 1)
        turns = self.rotary(count)
        recompute = self.recompute and self.training and torch.is_grad_enabled()
        for layer in self.layers:
            if recompute:
                # a layer draws no random numbers
                tokens = checkpoint(
                    layer, tokens, bias, turns, use_reentrant=False, preserve_rng_state=False
                )
            else:
                tokens = layer(tokens, bias, turns)
        output: Tensor = self.project(self.norm(tokens))
        return output
