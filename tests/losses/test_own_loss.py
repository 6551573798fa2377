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
from mindeye.losses.contrastive import unit_rows
from mindeye.models import Sizes
from mindeye.models.pipelines import HighLevel
from mindeye.targets.views import StoredTargets
from mindeye.training.high import HighDraw, HighObjective
from mindeye.training.objective import Validation


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


def test_the_high_level_objective_minimises_it(registered: str) -> None:
    words = [f"high.contrastive.soft={registered}", "high.prior.kind=none", "high.decoder.width=8"]
    config = run_config({}, words).high
    model = HighLevel(config, Sizes(voxels=5, tokens=2, width=4, latents=(3, 8, 8)))
    tokens = torch.randn(6, 2, 4, generator=torch.Generator().manual_seed(0))
    nobody = Validation(tokens[:0], torch.zeros(0, dtype=torch.long), tokens)
    goal = HighObjective(model, config, StoredTargets([tokens]), nobody)
    draw = HighDraw(torch.zeros(6, 5), tokens, None, None, temperature=0.5)
    predicted = tokens.flip(0)
    expected = sphere_distance(unit_rows(predicted), unit_rows(tokens), temperature=0.5)
    assert torch.equal(goal.coupled(predicted, draw)["contrastive"], expected)


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
