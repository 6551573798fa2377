"""Output heads of the decoder: hidden (N, width) to flat tokens (N, K * D).

At the paper's size (width 4096, K 257, D 768) the one linear layer `full` holds 85 % of the
decoder's parameters. The other two are ours, for subjects with few trials and for small memory:

| head                         | parameters  |
|------------------------------|-------------|
| `full`                       | 808,649,472 |
| `low_rank`, `head_width` 256 | 51,774,464  |
| `low_rank`, `head_width` 64  | 13,091,648  |
| `shared`, `head_width` 256   | 269,943,808 |
| `shared`, `head_width` 64    | 67,633,984  |
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mindeye.config.high import DecoderConfig, Head
from mindeye.models.sizes import Sizes


class LowRankHead(nn.Module):
    """Linear to `head_width` values, then linear to all tokens; (N, width) to (N, K * D).

    At the paper's size 51,774,464 parameters with `head_width` 256, 13,091,648 with 64. All tokens
    of a trial lie in a space of `head_width` dimensions.
    """

    def __init__(self, config: DecoderConfig, sizes: Sizes) -> None:
        super().__init__()
        self.inner = _unit_variance_linear(config.width, config.head_width)
        self.outer = nn.Linear(config.head_width, sizes.tokens * sizes.width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, width) to (N, K * D)."""
        flat: Tensor = self.outer(self.inner(hidden))
        return flat


class SharedHead(nn.Module):
    """Linear to `head_width` values per token, then one linear for all tokens and a bias each.

    (N, width) to (N, K * D). At the paper's size 269,943,808 parameters with `head_width` 256,
    67,633,984 with 64. Each token less its bias lies in a space of `head_width` dimensions, the
    same for all tokens.
    """

    def __init__(self, config: DecoderConfig, sizes: Sizes) -> None:
        super().__init__()
        self.tokens = sizes.tokens
        self.inner = _unit_variance_linear(config.width, sizes.tokens * config.head_width)
        # Without a bias: the bias per token holds it.
        self.outer = nn.Linear(config.head_width, sizes.width, bias=False)
        self.token_bias = nn.Parameter(torch.zeros(sizes.tokens, sizes.width))

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, width) to (N, K * D)."""
        values = self.inner(hidden).unflatten(1, (self.tokens, -1))  # (N, K, head_width)
        tokens: Tensor = self.outer(values) + self.token_bias  # (N, K, D)
        return tokens.flatten(1)


def _full(config: DecoderConfig, sizes: Sizes) -> nn.Module:
    """Build the published head: one linear layer."""
    return nn.Linear(config.width, sizes.tokens * sizes.width)


HEADS: dict[Head, Callable[[DecoderConfig, Sizes], nn.Module]] = {
    "full": _full,
    "low_rank": LowRankHead,
    "shared": SharedHead,
}
"""Output heads by name."""


def _unit_variance_linear(inputs: int, outputs: int) -> nn.Linear:
    """Linear layer that keeps the variance of its input.

    torch's own start gives a third of it, so two layers in a row would start at a ninth where the
    published head starts at a third.
    """
    linear = nn.Linear(inputs, outputs)
    nn.init.kaiming_uniform_(linear.weight, nonlinearity="linear")
    return linear
