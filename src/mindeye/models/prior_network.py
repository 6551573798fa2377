"""The network of the diffusion prior: noisy tokens, time and brain tokens to clean tokens.

It knows nothing of diffusion: schedules, losses and samplers live in `mindeye.diffusion`.
Source: the MindEye paper (arXiv 2305.18274), section 3.2 and appendix A.4, and the published code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from mindeye.config.high import PriorConfig
from mindeye.models.sizes import Sizes
from mindeye.models.transformer import Transformer

QueryMode = Literal["none", "token", "pos_emb", "all_pos_emb"]

SINUSOID_BASE = 10000.0
"""Ratio of the slowest to the fastest sinusoid of the time embedding (arXiv 1706.03762, 3.5)."""

TIME_EXPANSION = 2
TIME_DEPTH = 2
"""Hidden width (in units of D) and hidden layers of the time MLP (published code)."""


class ContinuousTime(nn.Module):
    """Sinusoids of the timestep, then an MLP; (N,) to (N, D). D must be even and at least 4."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % 2 or dim < 4:
            raise ValueError(f"dim is {dim}; sinusoids need an even number, 4 or more")
        self.dim = dim
        sizes = [dim, *[TIME_EXPANSION * dim] * TIME_DEPTH, dim]
        self.linears = nn.ModuleList([nn.Linear(size, after) for size, after in pairwise(sizes)])

    def forward(self, times: Tensor) -> Tensor:
        """(N,) to (N, D)."""
        half = self.dim // 2
        steps = torch.arange(half, device=times.device, dtype=torch.float32)
        angles = times[:, None] * torch.exp(-steps * math.log(SINUSOID_BASE) / (half - 1))
        hidden = torch.cat([angles.sin(), angles.cos()], dim=-1).to(next(self.parameters()).dtype)
        for linear in self.linears[:-1]:
            hidden = functional.silu(linear(hidden))
        embedded: Tensor = self.linears[-1](hidden)
        return embedded


@dataclass(frozen=True)
class PriorVariant:
    """Options of the published code that no configuration has; by default as in the paper.

    Parameters
    ----------
    num_timesteps
        None embeds time by sinusoids and an MLP; a number by a table of that size.
    learned_query_mode
        "pos_emb" adds a learned position to every image token, "all_pos_emb" to every token,
        "token" appends K learned tokens and reads the prediction there, "none" does nothing.
    ff_mult
        Inner width of the feed-forward in units of D.
    causal
        Whether attention sees earlier tokens only.
    """

    num_timesteps: int | None = None
    learned_query_mode: QueryMode = "pos_emb"
    ff_mult: float = 4.0
    causal: bool = False

    def __post_init__(self) -> None:
        if self.learned_query_mode not in get_args(QueryMode):
            raise ValueError(
                f"learned_query_mode is {self.learned_query_mode!r}; "
                f"known: {', '.join(get_args(QueryMode))}"
            )


class PriorNetwork(nn.Module):
    """Predict clean tokens from noisy ones; a `mindeye.diffusion.Denoiser`.

    The transformer reads brain tokens, one time token and image tokens (then queries in mode
    "token"); the last K positions are the prediction.

    Parameters
    ----------
    config
        Layers, heads and attention of the transformer.
    sizes
        K and D of the tokens.
    variant
        Options of the published code.
    recompute
        Keep only the inputs of the transformer's layers in training and compute their insides
        again in the backward pass: less memory for more time, the same numbers.
    """

    def __init__(
        self,
        config: PriorConfig,
        sizes: Sizes,
        variant: PriorVariant | None = None,
        *,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        variant = variant or PriorVariant()
        num_tokens, dim = sizes.tokens, sizes.width
        learned_query_mode = variant.learned_query_mode
        self.dim = dim
        self.num_tokens = num_tokens
        self.learned_query_mode = learned_query_mode
        self.time_embedding = (
            ContinuousTime(dim)
            if variant.num_timesteps is None
            else nn.Embedding(variant.num_timesteps, dim)
        )
        if learned_query_mode != "none":
            rows = 2 * num_tokens + 1 if learned_query_mode == "all_pos_emb" else num_tokens
            scale = 1.0 if learned_query_mode == "token" else dim**-0.5  # published code
            self.learned_query = nn.Parameter(torch.randn(rows, dim) * scale)
        self.null_condition = nn.Parameter(torch.randn(num_tokens, dim))
        self.null_target = nn.Parameter(torch.randn(num_tokens, dim))
        self.transformer = Transformer(
            config, dim, ff_mult=variant.ff_mult, causal=variant.causal, recompute=recompute
        )

    def forward(
        self,
        x_t: Tensor,
        times: Tensor,
        condition: Tensor,
        *,
        keep_condition: Tensor | None = None,
        keep_target: Tensor | None = None,
    ) -> Tensor:
        """Predict `x_0`.

        Parameters
        ----------
        x_t
            (N, K, D) noisy embedding, scaled.
        times
            (N,) integer timesteps.
        condition
            (N, K, D) brain tokens.
        keep_condition, keep_target
            (N,) bool; where False the learned null embedding takes the place of the brain tokens
            or of the noisy ones. None keeps all.

        Returns
        -------
        Tensor
            (N, K, D).
        """
        condition = _replace_dropped(condition, keep_condition, self.null_condition)
        image = _replace_dropped(x_t, keep_target, self.null_target)
        time = self.time_embedding(times).to(image.dtype).unsqueeze(1)  # (N, 1, D)
        parts = [condition, time, image]
        if self.learned_query_mode == "pos_emb":
            parts[-1] = image + self.learned_query
        elif self.learned_query_mode == "token":
            parts.append(self.learned_query.to(image.dtype).expand(len(image), -1, -1))
        tokens = torch.cat(parts, dim=1)  # (N, 2 K + 1 or 3 K + 1, D)
        if self.learned_query_mode == "all_pos_emb":
            tokens = tokens + self.learned_query
        predicted: Tensor = self.transformer(tokens)
        return predicted[:, -self.num_tokens :]


def _replace_dropped(tokens: Tensor, keep: Tensor | None, null: Tensor) -> Tensor:
    """Tokens (N, K, D), with `null` (K, D) where `keep` (N,) is False."""
    if keep is None:
        return tokens
    return torch.where(keep[:, None, None], tokens, null.to(tokens.dtype))
