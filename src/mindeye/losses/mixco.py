"""MixCo: convex mixing of trials, and the soft targets that go with it.

Source: Kim et al., "MixCo: Mix-up Contrastive Learning" (arXiv 2010.06300), in its bidirectional
form of the MindEye paper (arXiv 2305.18274), section 3.2, equations 1 and 2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CONCENTRATION = 0.15
"""Both parameters of the Beta distribution (paper, section 3.2)."""

SHARE = 0.5
"""Share of the trials that is mixed with another one (published code)."""


class MixCo(NamedTuple):
    """How a batch of N trials is mixed.

    Attributes
    ----------
    permutation
        (N,) integer; trial i is mixed with trial `permutation[i]`.
    mix_weight
        (N,) in [0, 1], what trial i keeps of itself; 1 where it is not selected.
    selected
        (N,) bool, which trials are mixed.
    """

    permutation: Tensor
    mix_weight: Tensor
    selected: Tensor


def draw_mixco(
    trials: int,
    *,
    rng: torch.Generator,
    concentration: float = CONCENTRATION,
    share: float = SHARE,
    device: torch.device | str | None = None,
) -> MixCo:
    """Draw how to mix `trials` trials; the result lies on `device` (default: the one of `rng`).

    `mix_weight` is Beta(concentration, concentration) for a share `share` of the trials.
    """
    if concentration <= 0:
        raise ValueError(f"concentration is {concentration}; it must be positive")
    source = rng.device
    permutation = torch.randperm(trials, generator=rng, device=source)
    weight = _draw_symmetric_beta(trials, concentration, rng)
    selected = torch.rand(trials, generator=rng, device=source) <= share
    weight = torch.where(selected, weight, torch.ones_like(weight))
    where = device if device is not None else source
    return MixCo(permutation.to(where), weight.to(where), selected.to(where))


def _draw_symmetric_beta(count: int, concentration: float, rng: torch.Generator) -> Tensor:
    """(count,) draws of Beta(a, a) by Joehnk's rejection, in logarithms: small a underflows."""
    weight = torch.empty(count, dtype=torch.float64, device=rng.device)
    pending = torch.arange(count, device=rng.device)
    while len(pending):
        uniform = torch.rand(
            2, len(pending), generator=rng, device=rng.device, dtype=torch.float64
        ).clamp_min(torch.finfo(torch.float64).tiny)
        logs = uniform.log() / concentration
        total = torch.logsumexp(logs, dim=0)
        accepted = total <= 0
        weight[pending[accepted]] = (logs[0] - total)[accepted].exp()
        pending = pending[~accepted]
    return weight.to(torch.float32)


def apply_mixco(values: Tensor, mix: MixCo) -> Tensor:
    """Mix trials: `w_i x_i + (1 - w_i) x_permutation[i]` where selected, `x_i` elsewhere.

    Parameters
    ----------
    values
        (N, ...); not edited, unlike in the published code.
    mix
        Partners and weights of the mixture, from `draw_mixco`.

    Returns
    -------
    Tensor
        (N, ...) of the same dtype.
    """
    column = (-1, *[1] * (values.ndim - 1))
    weight = mix.mix_weight.reshape(column).to(values.dtype)
    mixed = values * weight + values[mix.permutation] * (1 - weight)
    return torch.where(mix.selected.reshape(column), mixed, values)


def mixco_targets(mix: MixCo, *, as_published: bool = False) -> Tensor:
    """Soft targets (N, N): `w_i` on the diagonal, `1 - w_i` at `(i, permutation[i])`.

    Every row sums to one. The published code overwrites the diagonal where the permutation leaves
    a trial in place: its row is `1 - w_i`, which is nothing at all for a trial that is not
    selected. At least one such row occurs in about 63 % of the batches (1 - 1/e).
    `as_published` reproduces that.
    """
    weight = mix.mix_weight
    rows = torch.arange(len(weight), device=weight.device)
    return torch.diag(weight).index_put(
        (rows, mix.permutation), 1 - weight, accumulate=not as_published
    )
