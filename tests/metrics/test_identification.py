"""Claims about two-way identification, distances and n-way curves."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from mindeye.errors import DataError
from mindeye.metrics import identification as ident
from mindeye.metrics.curves import nway_points
from mindeye.retrieval import ranks_from_scores


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    actual = rng.normal(size=(40, 15))
    return actual + 2.0 * rng.normal(size=(40, 15)), actual


def naive_two_way(predicted: np.ndarray, actual: np.ndarray, distractors: str) -> list[float]:
    out = []
    for i in range(len(predicted)):
        own = np.corrcoef(predicted[i], actual[i])[0, 1]
        wins = 0.0
        for j in range(len(predicted)):
            if j == i:
                continue
            other = (
                np.corrcoef(predicted[i], actual[j])[0, 1]
                if distractors == "ground_truths"
                else np.corrcoef(predicted[j], actual[i])[0, 1]
            )
            wins += 1.0 if own > other else 0.5 if own == other else 0.0
        out.append(wins / (len(predicted) - 1))
    return out


def two_way(
    predicted: np.ndarray, actual: np.ndarray, distractors: ident.Distractors = "ground_truths"
) -> np.ndarray:
    scores = ident.similarity_table(predicted, actual)
    return np.diagonal(ident.two_way_from_scores(scores, distractors=distractors))


@pytest.mark.parametrize("distractors", ["ground_truths", "reconstructions"])
def test_two_way_equals_the_naive_loop(
    pair: tuple[np.ndarray, np.ndarray], distractors: ident.Distractors
) -> None:
    found = two_way(*pair, distractors=distractors)
    np.testing.assert_allclose(found, naive_two_way(*pair, distractors))


def test_the_two_definitions_differ_when_predictions_collapse() -> None:
    # every prediction is picture 0 plus a trace of its own picture
    rng = np.random.default_rng(1)
    actual = rng.normal(size=(30, 50))
    predicted = actual[0] + 0.1 * actual
    against_pictures = two_way(predicted, actual).mean()
    against_predictions = two_way(predicted, actual, distractors="reconstructions").mean()
    assert against_predictions > against_pictures + 0.05


def test_ties_count_half() -> None:
    actual = np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0], [3.0, 1.0, 0.0]])
    assert two_way(actual, actual).tolist() == [0.75, 0.75, 1.0]


def test_constant_predictions_score_chance() -> None:
    actual = np.random.default_rng(0).normal(size=(20, 8))
    collapsed = np.ones((20, 8))
    assert two_way(collapsed, actual).tolist() == [0.5] * 20


def test_noise_scores_chance() -> None:
    rng = np.random.default_rng(2)
    scores = two_way(rng.normal(size=(300, 20)), rng.normal(size=(300, 20)))
    assert abs(scores.mean() - 0.5) < 4 * scores.std() / np.sqrt(300)


def test_a_swapped_pair_lowers_the_score(pair: tuple[np.ndarray, np.ndarray]) -> None:
    _, actual = pair
    swapped = actual.copy()
    swapped[[3, 8]] = swapped[[8, 3]]
    assert two_way(actual, actual).mean() == 1.0
    scores = two_way(swapped, actual)
    assert scores[[3, 8]].max() < 1.0
    assert (np.delete(scores, [3, 8]) == 1.0).all()


def test_an_offset_of_all_features_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    actual = rng.normal(size=(25, 6))
    predicted = actual + rng.normal(size=(25, 6))
    moved = predicted + 5 * rng.normal(size=(25, 1))
    np.testing.assert_allclose(two_way(moved, actual), two_way(predicted, actual))


def test_correlation_distance_by_hand() -> None:
    actual = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    predicted = np.array([[1.0, 3.0, 5.0], [2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [7.0, 7.0, 7.0]])
    # r = 1, -1, -1/2, undefined (no information: as far as an unrelated picture)
    np.testing.assert_allclose(
        np.diagonal(ident.distance_from_scores(ident.similarity_table(predicted, actual))),
        [0, 2, 1.5, 1],
        atol=1e-12,
    )


def test_the_nway_curve_starts_at_two_way_and_ends_at_top1(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    scores = ident.similarity_table(*pair)
    ranks = ranks_from_scores(torch.from_numpy(scores)).numpy()
    points = nway_points("s", "two_way_x", ranks, rng=np.random.default_rng(0), sizes=[2, 10, 40])
    curve = [point.value for point in points]
    assert curve[0] == pytest.approx(two_way(*pair).mean())
    assert curve[2] == pytest.approx((scores.argmax(axis=1) == np.arange(40)).mean())
    assert curve[0] > curve[1] > curve[2]


def test_nan_features_are_refused() -> None:
    good = np.random.default_rng(0).normal(size=(4, 3))
    bad = good.copy()
    bad[1, 1] = np.nan
    with pytest.raises(DataError, match="predicted features contain NaN"):
        two_way(bad, good)
    with pytest.raises(DataError, match="pair up"):
        two_way(good[:3], good)


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_blocks_of_columns_give_what_the_whole_matrix_does(block: int) -> None:
    rng = np.random.default_rng(4)
    actual = rng.normal(size=(20, 100)) + 50.0
    predicted = actual + rng.normal(size=(20, 100))
    found = ident.similarity_table(predicted, actual, block=block)
    expected = np.corrcoef(predicted, actual)[:20, 20:]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_a_row_that_is_constant_but_for_rounding_has_no_correlation() -> None:
    actual = np.random.default_rng(5).normal(size=(3, 1000))
    predicted = np.full((3, 1000), 0.1, dtype=np.float32)
    assert not ident.similarity_table(predicted, actual, block=64).any()


def test_a_nan_in_the_last_block_is_found() -> None:
    good = np.random.default_rng(0).normal(size=(4, 100))
    bad = good.copy()
    bad[3, 99] = np.inf
    with pytest.raises(DataError, match="actual features contain NaN or infinity"):
        ident.similarity_table(good, bad, block=33)


def test_long_features_are_not_copied_whole() -> None:
    """Peak memory above the features is that of blocks: 80 pictures of 184,512 floats."""
    script = """
import resource, torch
from mindeye.metrics.identification import similarity_table
rng = torch.Generator().manual_seed(0)
actual = torch.randn(80, 184512, generator=rng)
predicted = torch.randn(80, 184512, generator=rng)
similarity_table(predicted[:, :9000], actual[:, :9000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
similarity_table(predicted, actual)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert float(answer.stdout) < 30  # MiB; one float64 copy of one of the two has 113
