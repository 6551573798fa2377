"""Several repeats of one stimulus to one row of betas: pick one, average, or weigh at random.

Source: published code (its training set holds three repeats of every stimulus).
"""

from __future__ import annotations

import torch
from torch import Tensor

COMBINE_SHARE = 0.5
"""Share of batches with a random weighted mean (published code)."""

MEAN_SHARE = 0.3
"""Share of batches with the plain mean (published code); the rest pick one repeat per stimulus."""


def pick_repeat(betas: Tensor, index: Tensor) -> Tensor:
    """(N, R, V) and one repeat index per stimulus (N,) to (N, V)."""
    return betas[torch.arange(len(betas), device=betas.device), index]


def mean_repeats(betas: Tensor) -> Tensor:
    """(N, R, V) to the mean over repeats (N, V)."""
    return betas.mean(dim=1)


def weigh_repeats(betas: Tensor, weights: Tensor) -> Tensor:
    """(N, R, V) and non-negative weights (N, R) to the weighted mean (N, V)."""
    column = weights[:, :, None].to(betas.dtype)
    return (column * betas).sum(dim=1) / column.sum(dim=1)


def draw_repeats(betas: Tensor, *, rng: torch.Generator) -> Tensor:
    """Reduce (N, R, V) to (N, V) in one of the three ways, drawn as the published code does."""
    trials, repeats, _ = betas.shape
    source = rng.device
    choice = float(torch.rand((), generator=rng, device=source))
    if choice <= COMBINE_SHARE:
        weights = torch.rand(trials, repeats, generator=rng, device=source)
        return weigh_repeats(betas, weights.to(betas.device))
    if choice <= COMBINE_SHARE + MEAN_SHARE:
        return mean_repeats(betas)
    index = torch.randint(repeats, (trials,), generator=rng, device=source)
    return pick_repeat(betas, index.to(betas.device))
