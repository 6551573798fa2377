from __future__ import annotations

import pytest
import torch

from mindeye.losses.mixco import MixCo, apply_mixco, draw_mixco, mixco_targets


def _mix() -> MixCo:
    """Trial 0 with 1, 1 with 0, 2 with itself and 3 with itself; 1 and 3 are not selected."""
    return MixCo(
        permutation=torch.tensor([1, 0, 2, 3]),
        mix_weight=torch.tensor([0.25, 1.0, 0.75, 1.0]),
        selected=torch.tensor([True, False, True, False]),
    )


def test_mixing_is_the_convex_combination_of_the_two_trials() -> None:
    betas = torch.tensor([[0.0, 4.0], [8.0, 0.0], [1.0, 1.0], [2.0, 3.0]])
    expected = torch.tensor([[6.0, 1.0], [8.0, 0.0], [1.0, 1.0], [2.0, 3.0]])
    assert torch.equal(apply_mixco(betas, _mix()), expected)


def test_mixing_does_not_edit_its_input() -> None:
    betas = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    before = betas.clone()
    mixed = apply_mixco(betas, _mix())
    assert torch.equal(betas, before)
    assert not torch.equal(mixed, before)


def test_mixing_keeps_axes_behind_the_trials_and_the_dtype() -> None:
    tokens = torch.arange(24, dtype=torch.float64).reshape(4, 3, 2)
    mixed = apply_mixco(tokens, _mix())
    assert mixed.dtype == tokens.dtype
    torch.testing.assert_close(mixed[0], 0.25 * tokens[0] + 0.75 * tokens[1])
    assert torch.equal(mixed[1], tokens[1])


def test_a_trial_that_is_not_selected_is_untouched_by_a_broken_partner() -> None:
    betas = torch.tensor([[torch.nan], [1.0], [1.0], [1.0]])
    assert apply_mixco(betas, _mix())[1].item() == 1.0


def test_targets_by_hand() -> None:
    expected = torch.tensor([[0.25, 0.75, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])
    assert torch.equal(mixco_targets(_mix()), expected)


def test_published_targets_lose_mass_where_a_trial_stays_in_place() -> None:
    rows = mixco_targets(_mix(), as_published=True).sum(dim=1)
    torch.testing.assert_close(rows, torch.tensor([1.0, 1.0, 0.25, 0.0]))


def test_targets_sum_to_one_for_every_draw_and_the_published_ones_do_not() -> None:
    rng = torch.Generator().manual_seed(1)
    broken = 0
    for _ in range(200):
        mix = draw_mixco(32, rng=rng)
        torch.testing.assert_close(mixco_targets(mix).sum(dim=1), torch.ones(32))
        published = mixco_targets(mix, as_published=True).sum(dim=1)
        broken += not torch.allclose(published, torch.ones(32))
    assert 0.5 < broken / 200 < 0.75  # 1 - 1/e is expected


def test_drawn_weights_are_the_beta_distribution() -> None:
    mix = draw_mixco(40_000, rng=torch.Generator().manual_seed(2), concentration=0.15, share=1.0)
    weight = mix.mix_weight
    assert ((weight >= 0) & (weight <= 1)).all()
    assert weight.mean().item() == pytest.approx(0.5, abs=0.01)
    # variance of Beta(a, a) is 1 / (4 (2 a + 1))
    assert weight.var().item() == pytest.approx(1 / (4 * 1.3), abs=0.005)


@pytest.mark.parametrize("concentration", [0.05, 1.0, 2.0])
def test_drawn_weights_have_the_variance_of_their_concentration(concentration: float) -> None:
    rng = torch.Generator().manual_seed(3)
    weight = draw_mixco(20_000, rng=rng, concentration=concentration, share=1.0).mix_weight
    assert weight.var().item() == pytest.approx(1 / (4 * (2 * concentration + 1)), abs=0.006)


def test_share_is_the_share_of_mixed_trials() -> None:
    mix = draw_mixco(20_000, rng=torch.Generator().manual_seed(4), share=0.3)
    assert mix.selected.float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert (mix.mix_weight[~mix.selected] == 1).all()


def test_the_same_seed_draws_the_same_mix() -> None:
    one, other = (draw_mixco(16, rng=torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_concentration_must_be_positive() -> None:
    with pytest.raises(ValueError, match="concentration"):
        draw_mixco(4, rng=torch.Generator(), concentration=0.0)
