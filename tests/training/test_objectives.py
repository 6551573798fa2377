from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mindeye.config import ContrastiveConfig, DecoderConfig, HighConfig, LowConfig, PriorConfig
from mindeye.data.dataset import Batch
from mindeye.losses.contrastive import (
    bimixco_loss,
    info_nce_loss,
    soft_clip_loss,
    soft_contrastive_loss,
    unit_rows,
)
from mindeye.models.lowlevel import LowLevel
from mindeye.models.pipelines import HighLevel
from mindeye.models.sizes import Sizes
from mindeye.targets.views import StoredTargets, moments
from mindeye.training.high import HighObjective
from mindeye.training.low import LowObjective
from mindeye.training.objective import Validation

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

_DRAWN = torch.Generator().manual_seed(9)
LOW_TARGETS = {
    "latents": torch.randn(7, 3, 4, 4, generator=_DRAWN),
    "plain": torch.randn(7, 4, 8, generator=_DRAWN),
    "augmented": torch.randn(7, 4, 8, generator=_DRAWN),
}


def batch() -> Batch:
    return Batch(
        torch.randn(6, 10, generator=torch.Generator().manual_seed(0)),
        torch.tensor([5, 3, 1, 0, 2, 4]),
    )


def embeddings() -> torch.Tensor:
    return torch.randn(7, 4, 8, generator=torch.Generator().manual_seed(3))


def held_out(targets: torch.Tensor) -> Validation:
    return Validation(torch.randn(2, 10), torch.tensor([0, 1]), targets)


def high(config: HighConfig = HIGH) -> HighObjective:
    torch.manual_seed(0)
    tokens = embeddings()
    model = HighLevel(config, SIZES).eval()
    model.set_units(*moments(tokens, torch.arange(7).numpy()))
    return HighObjective(model, config, StoredTargets([tokens]), held_out(tokens))


def losses(goal: HighObjective, progress: float, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = goal.draw(batch(), progress=progress, rng=torch.Generator().manual_seed(seed))
    terms = goal.forward(draw)
    coupled = {} if terms.embedding is None else goal.coupled(terms.embedding, draw)
    return {**terms.losses, **coupled}


def contrastive(**changes: object) -> HighConfig:
    return replace(HIGH, contrastive=replace(HIGH.contrastive, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(("progress", "temperature"), [(1 / 3, 0.1), (2 / 3, 0.2), (1.0, 0.3)])
def test_after_the_first_third_the_loss_is_soft_clip_at_the_scheduled_temperature(
    progress: float, temperature: float
) -> None:
    goal = high()
    prediction = goal.model(batch().betas).contrastive
    expected = soft_clip_loss(
        unit_rows(prediction),
        unit_rows(embeddings()[batch().stimulus_rows]),
        temperature=temperature,
    )
    torch.testing.assert_close(losses(goal, progress)["contrastive"], expected)


def test_mixing_is_on_in_the_first_third_only() -> None:
    goal = high()
    mixed = {losses(goal, 0.2, seed)["contrastive"].item() for seed in range(4)}
    plain = {losses(goal, 0.5, seed)["contrastive"].item() for seed in range(4)}
    assert len(mixed) > 1
    assert len(plain) == 1


def test_betas_of_the_batch_are_not_edited_by_mixing() -> None:
    given = batch()
    before = given.betas.clone()
    high().draw(given, progress=0.0, rng=torch.Generator().manual_seed(0))
    assert torch.equal(given.betas, before)


def test_the_prior_teaches_the_backbone() -> None:
    """The joint loss: gradients of the prior's loss reach the layer over voxels."""
    goal = high()
    losses(goal, 0.9)["prior"].backward()
    gradient = goal.model.decoder.backbone.input.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_standardised_units_have_no_mean_and_unit_variance_and_come_back() -> None:
    goal, tokens = high(), embeddings()
    scaled = goal.model.to_prior(tokens)
    torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(4, 8), atol=1e-6, rtol=0)
    assert float(scaled.square().mean()) == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(goal.model.from_prior(scaled), tokens)


def test_published_units_are_sqrt_of_the_width() -> None:
    model = HighLevel(HIGH, SIZES)
    tokens = torch.randn(3, 4, 8)
    torch.testing.assert_close(model.to_prior(tokens), tokens * 8**0.5)


def test_the_mixed_loss_is_bimixco_of_the_drawn_mix_in_the_way_asked_for() -> None:
    for published in (False, True):
        for mixing in ("bimixco", "mixco"):
            goal = high(contrastive(mixing=mixing, published_targets=published))
            draw = goal.draw(batch(), progress=0.0, rng=torch.Generator().manual_seed(8))
            assert draw.mix is not None
            draw.mix.permutation[0] = 0  # a row mixed with itself: there the two targets differ
            prediction = unit_rows(goal.model(draw.betas).contrastive)
            expected = bimixco_loss(
                prediction, unit_rows(draw.target), draw.mix, temperature=0.02,
                bidirectional=mixing == "bimixco", as_published=published,
            )  # fmt: skip
            embedding = goal.embed(draw)
            assert embedding is not None
            torch.testing.assert_close(goal.coupled(embedding, draw)["contrastive"], expected)


def test_without_mixing_the_soft_loss_starts_at_once() -> None:
    goal = high(contrastive(mixing="none", soft="infonce"))
    draw = goal.draw(batch(), progress=0.0, rng=torch.Generator().manual_seed(0))
    assert draw.mix is None
    assert torch.equal(draw.betas, batch().betas)
    assert draw.temperature == pytest.approx(0.1)  # the first temperature, at the first step
    expected = info_nce_loss(
        unit_rows(goal.model(batch().betas).contrastive), unit_rows(draw.target), temperature=0.1
    )
    torch.testing.assert_close(losses(goal, 0.0)["contrastive"], expected)


def test_without_a_projector_the_backbone_itself_is_contrasted() -> None:
    config = replace(HIGH, decoder=replace(HIGH.decoder, projector=False))
    goal = high(config)
    output = goal.model(batch().betas)
    assert torch.equal(output.backbone, output.contrastive)
    assert not any("projector" in name for name, _ in goal.model.named_parameters())


def test_mse_regresses_the_backbone_onto_embeddings_in_the_units_of_the_prior() -> None:
    goal = high(replace(HIGH, prior=replace(HIGH.prior, kind="mse")))
    assert goal.model.prior is None
    output = goal.model(batch().betas)
    target = goal.model.to_prior(embeddings()[batch().stimulus_rows])
    expected = (output.backbone - target).square().mean()
    torch.testing.assert_close(losses(goal, 0.5)["mse"], expected)
    estimate = goal.model.point_estimate(output.backbone, output.contrastive)
    torch.testing.assert_close(estimate, goal.model.from_prior(output.backbone))


def test_without_a_prior_the_estimate_has_the_direction_of_the_contrastive_embedding() -> None:
    goal = high(replace(HIGH, prior=replace(HIGH.prior, kind="none")))
    output = goal.model(batch().betas)
    estimate = goal.model.point_estimate(output.backbone, output.contrastive)
    cosine = torch.nn.functional.cosine_similarity(
        estimate.flatten(1), output.contrastive.flatten(1)
    )
    torch.testing.assert_close(cosine, torch.ones(6))
    typical = embeddings().square().mean().sqrt()
    torch.testing.assert_close(estimate.square().mean(dim=(1, 2)).sqrt(), typical.expand(6))


def test_validation_in_blocks_is_validation_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    goal = high()
    goal.validation = Validation(
        torch.randn(7, 10, generator=torch.Generator().manual_seed(1)), torch.arange(7),
        embeddings(),
    )  # fmt: skip
    with torch.no_grad():
        whole = goal.validate(goal.model, rng=torch.Generator().manual_seed(0))
        monkeypatch.setattr("mindeye.training.objective.BLOCK", 3)
        cut = goal.validate(goal.model, rng=torch.Generator().manual_seed(0))
    assert whole.keys() == cut.keys()
    for name in ("contrastive", "brain_to_image_top1", "image_to_brain_top1"):
        assert whole[name] == pytest.approx(cut[name], rel=1e-5), name


def low(config: LowConfig = LOW) -> LowObjective:
    torch.manual_seed(0)
    model = LowLevel(config, SIZES, (4, 8)).eval()
    maps = (StoredTargets([LOW_TARGETS["plain"]]), StoredTargets([LOW_TARGETS["augmented"]]))
    latents = LOW_TARGETS["latents"]
    return LowObjective(model, config, StoredTargets([latents]), maps, held_out(latents))


def low_losses(goal: LowObjective, seed: int = 0) -> dict[str, torch.Tensor]:
    draw = goal.draw(batch(), progress=0.0, rng=torch.Generator().manual_seed(seed))
    terms = goal.forward(draw)
    assert terms.embedding is not None
    embedding = goal.embed(draw)
    assert embedding is not None
    assert torch.equal(terms.embedding, embedding)
    return {**terms.losses, **goal.coupled(terms.embedding, draw)}


def test_low_level_losses_by_hand() -> None:
    goal, given = low(), batch()
    found = low_losses(goal)
    output = goal.model(given.betas)
    expected = (output.latents - LOW_TARGETS["latents"][given.stimulus_rows]).abs().mean()
    torch.testing.assert_close(found["latents"], expected)
    views = [
        unit_rows(LOW_TARGETS[name][given.stimulus_rows].reshape(-1, 8))
        for name in ("plain", "augmented")
    ]
    maps = soft_contrastive_loss(unit_rows(output.maps.reshape(-1, 8)), *views, temperature=0.075)
    torch.testing.assert_close(found["maps"], maps)
    assert goal.weights == {"latents": 1.0, "maps": 0.1}


def test_a_subset_of_positions_is_drawn_by_the_generator() -> None:
    goal = low(replace(LOW, contrastive_rows=9))
    assert low_losses(goal, 0)["maps"] == low_losses(goal, 0)["maps"]
    assert low_losses(goal, 0)["maps"] != low_losses(goal, 1)["maps"]
