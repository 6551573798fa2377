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

import torch
from torch import Tensor, nn
from torch.nn import functional

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
        normed = functional.layer_norm(inputs, inputs.shape[-1:], eps=eps)
        return normed * self.gain


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
        return bias.permute(2, 0, 1)


class Rotary(nn.Module):
    """Rotates adjacent pairs of the first dimensions of a head by position-dependent angles.

    One instance serves all layers; its frequencies are fixed and part of the published state.
    """

    frequencies: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        exponent = torch.arange(0, dim, 2).float() / dim
        self.register_buffer("frequencies", 1.0 / ROTARY_BASE**exponent)

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., positions, head width) to the same shape."""
        rotated_dims = 2 * len(self.frequencies)
        positions = torch.arange(inputs.shape[-2], device=inputs.device).float()
        angles = positions[:, None] * self.frequencies.float()  # (positions, rotated_dims / 2)
        cos, sin = angles.cos().to(inputs.dtype), angles.sin().to(inputs.dtype)
        turned, rest = inputs[..., :rotated_dims], inputs[..., rotated_dims:]
        even, odd = turned[..., 0::2], turned[..., 1::2]
        pairs = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1)
        return torch.cat([pairs.flatten(-2), rest], dim=-1)


class SharedKeyAttention(nn.Module):
    """Cosine attention of many query heads over one shared key/value head; (N, K, D) to itself."""

    def __init__(self, dim: int, *, heads: int, dim_head: int, causal: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.norm = GainNorm(dim)
        self.null_key_value = nn.Parameter(torch.randn(2, dim_head))
        self.to_query = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_key_value = nn.Linear(dim, 2 * dim_head, bias=False)
        self.to_output = nn.Linear(heads * dim_head, dim, bias=False)
        self.norm_output = GainNorm(dim)

    def forward(self, tokens: Tensor, bias: Tensor, rotary: Rotary) -> Tensor:
        """Attend.

        Parameters
        ----------
        tokens
            (N, K, D).
        bias
            (heads, K, K + 1), the null key first.
        rotary
            Applied to queries and keys before they are normalised; the null key is not rotated.
        """
        hidden = self.norm(tokens)
        query = self.to_query(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.to_key_value(hidden).unsqueeze(1).chunk(2, dim=-1)  # (N, 1, K, d)
        query, key = rotary(query), rotary(key)  # query: (N, heads, K, d)

        null = self.null_key_value.to(key.dtype)[:, None, None, None]  # (2, 1, 1, 1, d)
        null_key, null_value = null.expand(-1, len(tokens), -1, -1, -1)
        key = torch.cat([null_key, key], dim=-2)  # (N, 1, K + 1, d)
        value = torch.cat([null_value, value], dim=-2)

        shape = (-1, self.heads, -1, -1)
        attended = functional.scaled_dot_product_attention(
            functional.normalize(query, dim=-1),
            functional.normalize(key, dim=-1).expand(shape),
            value.expand(shape),
            attn_mask=self._mask(bias).to(query.dtype),
            scale=COSINE_SCALE,
        )  # (N, heads, K, d)
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
        self, dim: int, *, heads: int, dim_head: int, inner: int, causal: bool = False
    ) -> None:
        super().__init__()
        self.attention = SharedKeyAttention(dim, heads=heads, dim_head=dim_head, causal=causal)
        self.feed_forward = GatedFeedForward(dim, inner=inner)

    def forward(self, tokens: Tensor, bias: Tensor, rotary: Rotary) -> Tensor:
        """(N, K, D) to (N, K, D)."""
        tokens = tokens + self.attention(tokens, bias, rotary)
        fed: Tensor = self.feed_forward(tokens)
        return tokens + fed


class Transformer(nn.Module):
    """The stack: layers that share one position bias and one rotary embedding, norm, projection.

    `ff_mult` is the inner width of the feed-forward in units of `dim`.
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
    ) -> None:
        super().__init__()
        self.position_bias = PositionBias(heads)
        self.rotary = Rotary(min(ROTARY_DIMS, dim_head))
        self.layers = nn.ModuleList(
            [
                TransformerLayer(
                    dim, heads=heads, dim_head=dim_head, inner=int(ff_mult * dim), causal=causal
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
        for layer in self.layers:
            tokens = layer(tokens, bias, self.rotary)
        output: Tensor = self.project(self.norm(tokens))
        return output
