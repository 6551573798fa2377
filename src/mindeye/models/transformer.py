"""The transformer of the diffusion prior: parts and stack.

It differs from a textbook encoder in five ways, all from the published prior (a descendant of the
DALL-E 2 prior, arXiv 2204.06125) and all needed to read its checkpoints: one key/value head shared
by all query heads (arXiv 1911.02150), a learned null key and value in front, cosine attention
(arXiv 2010.04245) with a fixed scale, rotary embedding (arXiv 2104.09864) together with a T5
position bias (arXiv 1910.10683), and the *causal* form of that bias although attention is not
causal: every later token falls into the bucket of distance 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from mindeye.config.high import PriorConfig
from mindeye.models.attention import GainNorm, SharedKeyAttention
from mindeye.models.positions import PositionBias, Rotary

ROTARY_DIMS = 32
"""At most so many dimensions of a head are rotated (published code)."""


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

    def __init__(self, config: PriorConfig, dim: int, *, inner: int, causal: bool = False) -> None:
        super().__init__()
        self.attention = SharedKeyAttention(config, dim, causal=causal)
        self.feed_forward = GatedFeedForward(dim, inner=inner)

    def forward(self, tokens: Tensor, bias: Tensor, turns: Tensor) -> Tensor:
        """(N, K, D) to (N, K, D)."""
        tokens = tokens + self.attention(tokens, bias, turns)
        fed: Tensor = self.feed_forward(tokens)
        return tokens + fed


class Transformer(nn.Module):
    """The stack: layers that share one position bias and one rotary embedding, norm, projection.

    Parameters
    ----------
    config
        Layers, heads and attention.
    dim
        Width D of a token.
    ff_mult
        Inner width of the feed-forward in units of D.
    causal
        Whether a token sees earlier tokens only.
    recompute
        Keep only the inputs of the layers in training and compute their insides again in the
        backward pass.
    """

    def __init__(
        self,
        config: PriorConfig,
        dim: int,
        *,
        ff_mult: float = 4.0,
        causal: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.recompute = recompute
        self.position_bias = PositionBias(config.heads)
        self.rotary = Rotary(min(ROTARY_DIMS, config.dim_head))
        inner = int(ff_mult * dim)
        self.layers = nn.ModuleList(
            [TransformerLayer(config, dim, inner=inner, causal=causal) for _ in range(config.depth)]
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
