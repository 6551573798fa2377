from __future__ import annotations

import pytest
import torch

from mindeye.data.repeats import draw_repeats, mean_repeats, pick_repeat, weigh_repeats

BETAS = torch.tensor([[[0.0, 6.0], [3.0, 0.0]], [[1.0, 1.0], [5.0, 9.0]]])  # (N=2, R=2, V=2)


def test_one_repeat_is_picked_per_stimulus() -> None:
    assert pick_repeat(BETAS, torch.tensor([1, 0])).tolist() == [[3.0, 0.0], [1.0, 1.0]]


def test_weighted_mean_by_hand() -> None:
    weights = torch.tensor([[1.0, 2.0], [1.0, 1.0]])
    assert weigh_repeats(BETAS, weights).tolist() == [[2.0, 2.0], [3.0, 5.0]]
    assert torch.equal(weigh_repeats(BETAS, torch.ones(2, 2)), mean_repeats(BETAS))


def test_drawn_reduction_uses_all_three_ways_in_their_shares() -> None:
    rng = torch.Generator().manual_seed(0)
    counts = {"mean": 0, "single": 0, "combined": 0}
    for _ in range(600):
        drawn = draw_repeats(BETAS, rng=rng)
        assert drawn.shape == (2, 2)
        if torch.equal(drawn, mean_repeats(BETAS)):
            counts["mean"] += 1
        elif all((drawn[i] == BETAS[i]).all(dim=1).any() for i in range(2)):
            counts["single"] += 1
        else:
            counts["combined"] += 1
    assert counts["combined"] / 600 == pytest.approx(0.5, abs=0.06)
    assert counts["mean"] / 600 == pytest.approx(0.3, abs=0.06)


def test_the_same_seed_draws_the_same_repeats() -> None:
    one, other = (draw_repeats(BETAS, rng=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, other)
