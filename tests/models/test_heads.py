from __future__ import annotations

import pytest
import torch
from torch import nn

from mindeye.config import DecoderConfig
from mindeye.models.heads import HEADS
from mindeye.models.sizes import Sizes


def build_head(name: str, width: int, tokens: int, token_dim: int, head_width: int) -> nn.Module:
    config = DecoderConfig(width=width, head=name, head_width=head_width)
    return HEADS[config.head](config, Sizes(1, tokens, token_dim, (4, 8, 8)))


@pytest.mark.parametrize(
    ("name", "head_width", "parameters"),
    [
        ("full", 256, 808_649_472),
        ("low_rank", 256, 51_774_464),
        ("low_rank", 64, 13_091_648),
        ("shared", 256, 269_943_808),
        ("shared", 64, 67_633_984),
    ],
)
def test_documented_numbers_of_parameters(name: str, head_width: int, parameters: int) -> None:
    with torch.device("meta"):
        head = build_head(name, 4096, 257, 768, head_width)
    assert sum(p.numel() for p in head.parameters()) == parameters


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("head_width", [64, 256])
def test_every_head_starts_at_the_variance_of_the_full_one(name: str, head_width: int) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(128, 512)
    variance = build_head(name, 512, 9, 64, head_width)(hidden).var()
    # uniform weights within 1 / sqrt(inputs): a third
    assert variance.item() == pytest.approx(1 / 3, rel=0.2)


def test_shared_head_maps_every_token_by_the_same_layer() -> None:
    torch.manual_seed(0)
    head = build_head("shared", 6, 3, 5, 4)
    hidden = torch.randn(2, 6)
    with torch.no_grad():
        head.token_bias.normal_()
    tokens = head(hidden).unflatten(1, (3, 5))
    for token in range(3):
        rows = slice(4 * token, 4 * token + 4)
        values = hidden @ head.inner.weight[rows].T + head.inner.bias[rows]
        expected = values @ head.outer.weight.T + head.token_bias[token]
        torch.testing.assert_close(tokens[:, token], expected)


def test_low_rank_head_spans_head_width_dimensions() -> None:
    torch.manual_seed(0)
    head = build_head("low_rank", 32, 5, 8, 3)
    outputs = head(torch.randn(64, 32))
    assert torch.linalg.matrix_rank(outputs - outputs.mean(0), rtol=1e-4) == 3


def test_token_bias_starts_at_zero() -> None:
    assert not build_head("shared", 6, 3, 5, 4).token_bias.any()
