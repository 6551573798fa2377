from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mindeye.config import ContrastiveConfig, DecoderConfig, HighConfig, LowConfig, PriorConfig
from mindeye.data.dataset import Batch
from mindeye.losses.contrastive import soft_clip_loss, soft_contrastive_loss, unit_rows
from mindeye.models.pipelines import HighLevel, Sizes, build_low
from mindeye.training.objectives import HighObjective, LowObjective, Validation

SIZES = Sizes(voxels=10, tokens=4, width=8, latents=(3, 4, 4))
HIGH = HighConfig(
    decoder=DecoderConfig(width=16, blocks=1, projector_width=16, dropout_block=0.0),
    prior=PriorConfig(depth=1, heads=2, dim_head=8, timesteps=10, sample_steps=4),
    contrastive=ContrastiveConfig(soft_temperature_start=0.1, soft_temperature_end=0.3),
)
LOW = LowConfig(
    width=16, blocks=1, seed_channels=8, channels=8, dropout_in=0.0, dropout_block=0.0,
    contrastive_rows=0,
)  # fmt: skip


def batch() -> Batch:
    return Batch(
        torch.randn(6, 10, generator=torch.Generator().manual_seed(0)),
        torch.tensor([5, 3, 1, 0, 2, 4]),
    )


def high(config: HighConfig = HIGH) -> HighObjective:
    torch.manual_seed(0)
    tokens = torch.randn(7, 4, 8)
    model = HighLevel(SIZES, config).eval()
    model.standardise(tokens)
    return HighObjective(
        model, config, tokens, Validation(torch.randn(2, 10), torch.tensor([0, 1]))
    )


def losses(goal: HighObjective, progress: float, seed: int = 0) -> dict[str, torch.Tensor]:
    return goal.losses(batch(), progress=progress, rng=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("progress", "temperature"), [(1 / 3, 0.1), (2 / 3, 0.2), (1.0, 0.3)])
def test_after_the_first_third_the_loss_is_soft_clip_at_the_scheduled_temperature(
    progress: float, temperature: float
) -> None:
    goal = high()
    prediction = goal.model(batch().betas).contrastive
    expected = soft_clip_loss(
        unit_rows(prediction),
        unit_rows(goal.tokens[batch().stimulus_rows]),
        temperature=temperature,
    )
    torch.testing.assert_close(losses(goal, progress)["contrastive"], expected)


def test_mixing_is_on_in_the_first_third_only() -> None:
    goal = high()
    mixed = {float(losses(goal, 0.2, seed)["contrastive"]) for seed in range(4)}
    plain = {float(losses(goal, 0.5, seed)["contrastive"]) for seed in range(4)}
    assert len(mixed) > 1
    assert len(plain) == 1


def test_betas_of_the_batch_are_not_edited_by_mixing() -> None:
    given = batch()
    before = given.betas.clone()
    high().losses(given, progress=0.0, rng=torch.Generator().manual_seed(0))
    assert torch.equal(given.betas, before)


def test_the_prior_teaches_the_backbone() -> None:
    """The joint loss: gradients of the prior's loss reach the layer over voxels."""
    goal = high()
    losses(goal, 0.9)["prior"].backward()
    gradient = goal.model.decoder.backbone.input.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_standardised_units_have_no_mean_and_unit_variance_and_come_back() -> None:
    goal = high()
    scaled = goal.model.to_prior(goal.tokens)
    torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(4, 8), atol=1e-6, rtol=0)
    assert float(scaled.square().mean()) == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(goal.model.from_prior(scaled), goal.tokens)


def test_published_units_are_sqrt_of_the_width() -> None:
    model = HighLevel(SIZES, HIGH)
    tokens = torch.randn(3, 4, 8)
    torch.testing.assert_close(model.to_prior(tokens), tokens * 8**0.5)


def low(config: LowConfig = LOW) -> LowObjective:
    torch.manual_seed(0)
    model = build_low(SIZES, config, (4, 8)).eval()
    maps = (torch.randn(7, 4, 8), torch.randn(7, 4, 8))
    validation = Validation(torch.randn(2, 10), torch.tensor([0, 1]))
    return LowObjective(model, config, torch.randn(7, 3, 4, 4), maps, validation)


def test_low_level_losses_by_hand() -> None:
    goal, given = low(), batch()
    found = goal.losses(given, progress=0.0, rng=torch.Generator().manual_seed(0))
    output = goal.model(given.betas)
    expected = (output.latents - goal.latents[given.stimulus_rows]).abs().mean()
    torch.testing.assert_close(found["latents"], expected)
    assert goal.maps is not None
    views = [unit_rows(m[given.stimulus_rows].reshape(-1, 8)) for m in goal.maps]
    maps = soft_contrastive_loss(unit_rows(output.maps.reshape(-1, 8)), *views, temperature=0.075)
    torch.testing.assert_close(found["maps"], maps)
    assert goal.weights == {"latents": 1.0, "maps": 0.1}


def test_a_subset_of_positions_is_drawn_by_the_generator() -> None:
    goal = low(replace(LOW, contrastive_rows=9))

    def value(seed: int) -> float:
        rng = torch.Generator().manual_seed(seed)
        return float(goal.losses(batch(), progress=0.0, rng=rng)["maps"])

    assert value(0) == value(0)
    assert value(0) != value(1)
