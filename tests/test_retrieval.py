"""Claims about retrieval: ranks, ties, directions, pools."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mindeye import retrieval
from mindeye.errors import DataError


def naive_ranks(queries: Tensor, gallery: Tensor, truth: list[int]) -> list[float]:
    """One query and one gallery item at a time, in plain Python."""
    out = []
    for i, t in enumerate(truth):
        scores = [
            float((queries[i] @ g) / (queries[i].norm() * g.norm())) for g in gallery.double()
        ]
        better = sum(s > scores[t] for s in scores)
        tied = sum(s == scores[t] for s in scores) - 1
        out.append(better + tied / 2)
    return out


@pytest.fixture
def noisy_pair() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    image = torch.randn(60, 12, generator=rng, dtype=torch.float64)
    brain = image + 1.5 * torch.randn(60, 12, generator=rng, dtype=torch.float64)
    return brain, image


def test_rows_of_similarity_are_queries() -> None:
    queries = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    gallery = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    expected = torch.tensor([[1.0, 0.0, -1.0], [0.6, 0.8, -0.6]])
    torch.testing.assert_close(retrieval.similarity(queries, gallery), expected)


def test_ranks_by_hand_with_ties_counted_half() -> None:
    scores = torch.tensor([[0.9, 0.5, 0.9, 0.1], [0.2, 0.4, 0.8, 0.9], [0.3, 0.3, 0.3, 0.3]])
    found = retrieval.ranks_from_scores(scores, torch.tensor([0, 1, 2]))
    assert found.tolist() == [0.5, 2.0, 1.5]


def test_a_tie_for_first_place_is_no_top1_hit_but_a_top2_hit() -> None:
    tied = torch.tensor([0.5])
    assert retrieval.top_k_accuracy(tied, 1) == 0.0
    assert retrieval.top_k_accuracy(tied, 2) == 1.0


@pytest.mark.parametrize("chunk", [1, 7, 60, 1024])
def test_chunked_ranks_equal_the_naive_ones(noisy_pair: tuple[Tensor, Tensor], chunk: int) -> None:
    brain, image = noisy_pair
    truth = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    found = retrieval.ranks(brain, image, truth, chunk=chunk)
    assert found.tolist() == naive_ranks(brain, image, truth.tolist())


def test_the_two_directions_differ_and_are_not_swapped() -> None:
    # two brains near image 0: brain 1 finds image 0 instead of its own, image 1 finds brain 1
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    brain = torch.tensor([[1.0, 0.1], [1.0, 0.5]])
    brain_to_image = retrieval.ranks(brain, image)
    image_to_brain = retrieval.ranks(image, brain)
    assert brain_to_image.tolist() == [0.0, 1.0]
    assert image_to_brain.tolist() == [0.0, 0.0]


def test_noise_retrieves_at_chance() -> None:
    rng = torch.Generator().manual_seed(3)
    brain, image = (torch.randn(400, 8, generator=rng) for _ in range(2))
    ranks = retrieval.ranks(brain, image)
    assert abs(float(ranks.mean()) - 399 / 2) < 4 * (400 / np.sqrt(12)) / np.sqrt(400)
    assert retrieval.top_k_accuracy(ranks, 1) < 0.02


def test_constant_predictions_rank_in_the_middle() -> None:
    brain = torch.ones(11, 4)
    image = torch.randn(11, 4, generator=torch.Generator().manual_seed(0))
    assert retrieval.ranks(image, brain).tolist() == [5.0] * 11


def test_a_swapped_pair_lowers_the_score() -> None:
    image = torch.eye(10)
    brain = image.clone()
    assert retrieval.top_k_accuracy(retrieval.ranks(brain, image), 1) == 1.0
    brain[[2, 7]] = brain[[7, 2]]
    assert retrieval.top_k_accuracy(retrieval.ranks(brain, image), 1) == 0.8


def test_nway_draws_agree_with_the_exact_expectation(noisy_pair: tuple[Tensor, Tensor]) -> None:
    brain, image = noisy_pair
    drawn = retrieval.nway_top1(
        brain, image, candidates=10, draws=3000, rng=np.random.default_rng(0)
    )
    exact = retrieval.expected_nway_success(retrieval.ranks(brain, image), 60, 10)
    assert drawn.candidates == 10
    assert abs(drawn.value - float(exact.mean())) < 0.01
    assert float((drawn.per_query - exact).abs().max()) < 0.12


def test_nway_expectation_by_hand() -> None:
    # G = 5, n = 3: rank 1 loses unless the one better item is not among 2 of 4 drawn: 1/2
    found = retrieval.expected_nway_success(torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]), 5, 3)
    torch.testing.assert_close(
        found, torch.tensor([1.0, 1 / 2, 1 / 6, 0.0, 0.0], dtype=torch.float64)
    )


def test_nway_expectation_averages_to_chance_over_all_ranks() -> None:
    found = retrieval.expected_nway_success(torch.arange(982), 982, 300)
    assert float(found.mean()) == pytest.approx(1 / 300)


def test_with_few_stimuli_nway_uses_all_and_says_so(noisy_pair: tuple[Tensor, Tensor]) -> None:
    brain, image = noisy_pair
    found = retrieval.nway_top1(brain, image, rng=np.random.default_rng(0))
    assert found.candidates == 60
    assert found.value == retrieval.top_k_accuracy(retrieval.ranks(brain, image), 1)


def test_same_seed_same_pools(noisy_pair: tuple[Tensor, Tensor]) -> None:
    brain, image = noisy_pair
    first, second = (
        retrieval.nway_top1(brain, image, candidates=20, draws=5, rng=np.random.default_rng(9))
        for _ in range(2)
    )
    assert torch.equal(first.per_query.nan_to_num(-1), second.per_query.nan_to_num(-1))


def test_a_log_likelihood_matrix_is_ranked_by_the_same_core() -> None:
    log_likelihood = torch.tensor([[-900.0, -950.0], [-870.0, -880.0]])
    found = retrieval.nway_top1_from_scores(log_likelihood, rng=np.random.default_rng(0))
    assert found.per_query.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("chunk", [4, 1024])
def test_top_matches_agree_with_a_full_sort(noisy_pair: tuple[Tensor, Tensor], chunk: int) -> None:
    brain, image = noisy_pair
    indices, scores = retrieval.top_matches(brain, image, 5, chunk=chunk)
    full = retrieval.similarity(brain, image).numpy()
    assert np.array_equal(indices.numpy(), np.argsort(-full, axis=1)[:, :5])
    np.testing.assert_allclose(scores.numpy(), -np.sort(-full, axis=1)[:, :5], atol=1e-12)


def test_tokens_are_flattened_before_comparison() -> None:
    rng = torch.Generator().manual_seed(0)
    brain, image = (torch.randn(9, 3, 4, generator=rng) for _ in range(2))
    assert torch.equal(
        retrieval.ranks(brain, image), retrieval.ranks(brain.flatten(1), image.flatten(1))
    )


def test_broken_inputs_are_refused_by_name() -> None:
    good = torch.eye(3)
    with pytest.raises(DataError, match="NaN"):
        retrieval.ranks(torch.full((3, 3), torch.nan), good)
    with pytest.raises(DataError, match="features per row"):
        retrieval.ranks(torch.ones(3, 2), good)
    with pytest.raises(DataError, match="outside the gallery"):
        retrieval.ranks(good, good, torch.tensor([0, 1, 3]))
    with pytest.raises(DataError, match="square"):
        retrieval.nway_top1_from_scores(torch.ones(3, 4), rng=np.random.default_rng(0))


def test_the_rank_table_holds_the_rank_of_every_pairing(noisy_pair: tuple[Tensor, Tensor]) -> None:
    scores = retrieval.similarity(*noisy_pair)
    scores[3] = 0.25  # a row of ties
    table = retrieval.rank_table(scores)
    for j in range(60):
        expected = retrieval.ranks_from_scores(scores, torch.full((60,), j))
        assert torch.equal(table[:, j], expected)
