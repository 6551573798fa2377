"""Claims about nearness to training, strata and the rank correlation, by hand values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from mindeye.controls import nearness, strata
from mindeye.controls.measures import Measure, measures_of
from mindeye.errors import DataError
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.table import Row, Scored

HOW = Scoring(resamples=300)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_nearness_is_the_largest_centred_cosine_in_blocks_as_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training, test = rng().normal(size=(50, 6)) + 3, rng().normal(size=(7, 6)) + 3
    mean = training.mean(axis=0)
    a, b = (x - mean for x in (test, training))
    cosine = (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
    own = (b @ b.T) / np.linalg.norm(b, axis=1)[:, None] / np.linalg.norm(b, axis=1)
    np.fill_diagonal(own, -1)
    whole = nearness.nearness(test, training, rng=rng())
    monkeypatch.setattr(nearness, "BLOCK", 8)
    for found in (whole, nearness.nearness(torch.from_numpy(test), training, rng=rng())):
        np.testing.assert_allclose(found.similarity, cosine.max(axis=1), atol=1e-6)
        np.testing.assert_array_equal(found.nearest, cosine.argmax(axis=1))
        np.testing.assert_allclose(found.within, own.max(axis=1), atol=1e-6)


def test_a_picture_is_a_copy_below_a_tenth_of_the_usual_distance() -> None:
    within = np.full(20, 0.6)  # the usual distance is 0.4, the bound 0.04
    found = nearness.Nearness(np.array([0.97, 0.95, 1.0]), np.zeros(3, np.int64), within)
    assert found.copies.tolist() == [True, False, True]
    points, (finding,) = nearness.similarity_audit(found, ["a", "b", "c"])
    assert finding.text.startswith("2 of 3 test pictures are near copies")
    assert "(a, c)" in finding.text
    assert [point.value for point in points] == pytest.approx([0.97, 0.6])


def test_the_bound_is_lowered_where_distinct_pictures_come_close() -> None:
    # Distances uniform in [0, 1]: their share below d is d, so 0.01 copies of 50 need d = 2e-4.
    within = 1 - (np.arange(2000) + 0.5) / 2000
    found = nearness.Nearness(np.full(50, 0.5), np.zeros(50, np.int64), within)
    assert found.copy_bound == pytest.approx(2e-4, rel=0.02)


def test_where_all_training_pictures_have_a_copy_only_equal_ones_are_copies() -> None:
    found = nearness.Nearness(np.array([0.9999, 1.0]), np.zeros(2, np.int64), np.ones(20))
    assert found.copies.tolist() == [False, True]


def test_a_random_split_is_seldom_called_too_close() -> None:
    warned = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        rows = draw.normal(size=(260, 5)) * [3, 2, 1, 1, 1]
        near = nearness.nearness(rows[:60], rows[60:], rng=draw)
        warned += not nearness.similarity_audit(near, [str(i) for i in range(60)])[1][0].passed
    assert warned <= 1


def test_strata_are_tertiles() -> None:
    similarity = np.array([0.1, 0.9, 0.5, 0.4, 0.8, 0.2])
    tertiles = strata.strata(similarity)
    assert {k: v.tolist() for k, v in tertiles.items()} == {
        "near": [1, 4],
        "middle": [2, 3],
        "far": [0, 5],
    }


def test_equal_similarities_still_make_three_equal_strata() -> None:
    found = strata.strata(np.full(9, 0.5))
    assert [len(rows) for rows in found.values()] == [3, 3, 3]


def test_each_stratum_scores_its_own_stimuli_and_rho_is_scipys() -> None:
    similarity = np.arange(12) / 12
    values = np.array([0.0] * 4 + [0.5] * 4 + [1.0] * 4)
    measure = Measure("s", "two_way_x", values, 0.5)
    points, _ = strata.stratified(similarity, [measure], rng=rng(), scoring=HOW)
    found = {point.condition: point for point in points}
    assert {k: p.value for k, p in found.items() if k != "spearman"} == {
        "all": 0.5,
        "near": 1.0,
        "middle": 0.5,
        "far": 0.0,
    }
    assert found["far"].reference == 0.5
    assert found["spearman"].value == pytest.approx(stats.spearmanr(similarity, values).statistic)
    assert found["spearman"].low > 0.7


def test_rho_is_positive_where_near_pictures_score_better_whatever_the_direction() -> None:
    similarity = np.linspace(0, 1, 30)
    distance = Measure("s", "distance_x", 1 - similarity, 1.0)
    points, _ = strata.stratified(similarity, [distance], rng=rng(), scoring=HOW)
    assert points[-1].condition == "spearman"
    assert points[-1].value == pytest.approx(1.0)


def test_rho_of_constant_scores_is_named_undefined() -> None:
    points, findings = strata.stratified(
        np.linspace(0, 1, 9), [Measure("s", "SSIM", np.ones(9))], rng=rng(), scoring=HOW
    )
    assert (points[-1].value, points[-1].low) == (0.0, None)
    assert "undefined" in points[-1].note
    assert findings == []  # a metric without chance cannot fall to it


def test_stimuli_without_a_score_are_left_out_of_their_stratum() -> None:
    values = np.ones(9)
    values[:3] = np.nan
    measure = Measure("s", "brain_to_image_top1", values, 0.1)
    points, _ = strata.stratified(np.linspace(0, 1, 9), [measure], rng=rng(), scoring=HOW)
    assert [(point.condition, point.n) for point in points] == [
        ("all", 6),
        ("near", 3),
        ("middle", 3),
        ("spearman", 6),
    ]


def test_rows_of_the_table_bring_their_direction() -> None:
    def scored(metric: str) -> Scored:
        return Scored(Row(metric, "s", 0.0, None, None, 3, 0.5, None), np.arange(3.0))

    names = ("two_way_x", "distance_x", "brain_to_image_median_rank")
    alone = Scored(Row("effective_rank", "s", 1.0, None, None, 3, None, None), None)
    found = measures_of([*map(scored, names), alone])
    assert [measure.sign for measure in found] == [1, -1, -1]
    assert found[2].statistic is np.median


@pytest.mark.parametrize(
    ("test", "training", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 3)), "at least 3 training pictures, got 2"),
        (np.ones((2, 3)), np.ones((5, 4)), "3 features, training 4"),
        (np.full((2, 3), np.nan), np.ones((5, 3)), "test embeddings contain NaN"),
        (np.ones((0, 3)), np.ones((5, 3)), "not rows of features"),
    ],
)
def test_pictures_that_do_not_fit_are_named(
    test: np.ndarray, training: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        nearness.nearness(test, training, rng=rng())


def test_scores_and_similarities_of_other_lengths_are_named() -> None:
    with pytest.raises(DataError, match="3 scores for 4 similarities"):
        strata.stratified(np.ones(4), [Measure("s", "brain_to_image_top1", np.ones(3))], rng=rng())


def test_a_handful_of_training_pictures_says_nothing_of_what_is_near() -> None:
    few = nearness.Nearness(np.array([0.99, 0.2]), np.zeros(2, np.int64), np.full(6, 0.6))
    (finding,) = nearness.similarity_audit(few, ["a", "b"])[1]
    assert finding.passed
    assert "6 training pictures are too few" in finding.text
