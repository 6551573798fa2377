"""A loss of one's own takes one entry in a dict, and no other change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from mindeye.config.fingerprints import config_hash
from mindeye.config.settings import run_config
from mindeye.errors import ConfigError
from mindeye.losses import LOSSES


def sphere_distance(prediction: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    """Mean squared distance on the sphere."""
    return (prediction - target).square().sum(dim=-1).mean() / temperature


@pytest.fixture
def registered() -> Iterator[str]:
    LOSSES["sphere"] = sphere_distance
    yield "sphere"
    del LOSSES["sphere"]


def test_a_run_takes_the_name_of_a_registered_loss(registered: str) -> None:
    config = run_config("demo", [f"high.contrastive.soft={registered}"])
    assert config.high.contrastive.soft == registered
    assert config_hash(config) != config_hash(run_config("demo"))


def test_a_name_that_nobody_registered_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(
        ConfigError, match=r"high\.contrastive\.soft is 'sphere'.*softclip, infonce"
    ):
        run_config("demo", ["high.contrastive.soft=sphere"])


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_shipped_losses_are_least_for_the_targets_themselves(name: str) -> None:
    rng = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(8, 5, generator=rng), dim=1)
    own, other = (LOSSES[name](p, rows, temperature=0.1) for p in (rows, rows.flip(0)))
    assert own < other
