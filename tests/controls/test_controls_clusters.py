"""Claims about same-cluster distractors, held-out clusters and the shuffled floor's verdict."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from mindeye.controls import clusters, held_out
from mindeye.controls.references import floor_findings
from mindeye.errors import DataError
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.table import Row, Scored

HOW = Scoring(resamples=300)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def scores(table: torch.Tensor) -> clusters.Scores:
    return clusters.Scores("s", "brain_to_image", table)


def value(points: list, condition: str, metric: str) -> float:
    (found,) = [
        p for p in points if p.condition == condition and p.metric == f"brain_to_image_{metric}"
    ]
    return found.value


def test_ranks_within_clusters_by_hand() -> None:
    table = torch.tensor(
        [
            [3.0, 4.0, 9.0, 9.0, 9.0],  # second of its two
            [1.0, 2.0, 9.0, 0.0, 0.0],  # first of its two
            [9.0, 9.0, 1.0, 2.0, 0.0],  # second of its three
            [0.0, 0.0, 1.0, 3.0, 2.0],  # first of its three
            [0.0, 0.0, 2.0, 2.0, 2.0],  # tied with both: rank 1
        ]
    )
    labels = np.array([0, 0, 1, 1, 1])
    points, _ = clusters.same_cluster(scores(table), labels, rng=rng(), scoring=HOW)
    assert value(points, clusters.SAME, "rank") == pytest.approx((1 + 0 + 1 + 0 + 1) / 5)
    assert value(points, clusters.SAME, "top1") == pytest.approx(2 / 5)
    assert value(points, clusters.SAME, "two_way") == pytest.approx((0 + 1 + 0.5 + 1 + 0.5) / 5)
    chances = {p.metric: p.chance for p in points}
    assert chances["brain_to_image_top1"] == pytest.approx((2 / 2 + 3 / 3) / 5)
    assert chances["brain_to_image_rank"] == pytest.approx((2 * 0.5 + 3 * 1) / 5)


def test_random_distractors_are_the_mean_over_all_choices_of_as_many() -> None:
    table = torch.from_numpy(rng().normal(size=(7, 7)))
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    points, _ = clusters.same_cluster(scores(table), labels, rng=rng(), scoring=HOW)
    first, beaten, rank = [], [], []
    for i, label in enumerate(labels):
        others = [j for j in range(7) if j != i]
        drawn = list(combinations(others, int((labels == label).sum()) - 1))
        better = [sum(bool(table[i, j] > table[i, i]) for j in pool) for pool in drawn]
        first.append(np.mean([count == 0 for count in better]))
        rank.append(np.mean(better))
        beaten.append(1 - np.mean(better) / len(drawn[0]))
    assert value(points, clusters.RANDOM, "top1") == pytest.approx(np.mean(first))
    assert value(points, clusters.RANDOM, "two_way") == pytest.approx(np.mean(beaten))
    assert value(points, clusters.RANDOM, "rank") == pytest.approx(np.mean(rank))


def test_with_one_cluster_of_all_both_kinds_of_distractors_agree() -> None:
    table = torch.from_numpy(rng().normal(size=(30, 30)) + 2 * np.eye(30))
    points, _ = clusters.same_cluster(scores(table), np.zeros(30, int), rng=rng(), scoring=HOW)
    for metric in ("top1", "two_way", "rank"):
        assert value(points, clusters.SAME, metric) == pytest.approx(
            value(points, clusters.RANDOM, metric)
        )


def test_a_decoder_that_knows_exactly_the_clusters_is_warned_of() -> None:
    labels = rng().integers(0, 6, 120)
    table = 5.0 * (labels[:, None] == labels) + rng().normal(size=(120, 120))
    points, (finding,) = clusters.same_cluster(
        scores(torch.from_numpy(table)),
        labels,
        rng=rng(),
        scoring=HOW,
    )
    assert value(points, clusters.RANDOM, "two_way") > 0.85
    assert not finding.passed


def test_noise_is_at_chance_in_both_and_that_is_the_floors_business() -> None:
    values = []
    for seed in range(40):
        table = torch.from_numpy(rng(seed).normal(size=(60, 60)))
        labels = rng(seed).integers(0, 8, 60)
        points, (finding,) = clusters.same_cluster(scores(table), labels, rng=rng(), scoring=HOW)
        assert finding.passed
        values.append(value(points, clusters.SAME, "two_way"))
    assert np.mean(values) == pytest.approx(0.5, abs=0.02)


def test_pictures_alone_in_their_cluster_are_left_out() -> None:
    table = torch.eye(5, dtype=torch.float64)
    points, _ = clusters.same_cluster(
        scores(table),
        np.array([0, 0, 1, 2, 2]),
        rng=rng(),
        scoring=HOW,
    )
    assert {point.n for point in points} == {4}
    with pytest.raises(DataError, match="a cluster with two test pictures"):
        clusters.same_cluster(scores(table), np.arange(5), rng=rng())
    with pytest.raises(DataError, match="labels do not describe scores"):
        clusters.same_cluster(scores(table), np.zeros(4, int), rng=rng())


def test_clusters_are_found_on_the_scale_of_every_feature_and_by_seed() -> None:
    kind = np.arange(60) % 3
    centres = np.eye(3) * [1.0, 100.0, 0.01]
    rows = centres[kind] + rng().normal(size=(60, 3)) * [0.05, 5.0, 0.0005]
    labels = clusters.cluster_labels(rows[:30], rng=rng(), training=rows[30:], clusters=3)
    pairs = {(k, label) for k, label in zip(kind[:30], labels, strict=True)}
    assert len(pairs) == 3
    again = clusters.cluster_labels(rows[:30], rng=rng(), training=rows[30:], clusters=3)
    np.testing.assert_array_equal(labels, again)


def test_predictions_that_are_all_alike_make_one_cluster() -> None:
    labels = clusters.prediction_labels(np.ones((20, 4)), rng=rng())
    assert labels.tolist() == [0] * 20


def split() -> held_out.HeldOut:
    """Three trained clusters and two new ones, each along an axis of its own."""
    labels, trained = np.repeat([3, 4], 20), np.repeat([0, 1, 2], 20)
    rows = [np.eye(5)[x] + 0.05 * rng(7).normal(size=(len(x), 5)) for x in (labels, trained)]
    return held_out.HeldOut(rows[0], labels, rows[1], trained)


def test_true_embeddings_reach_their_new_cluster_and_trained_centroids_do_not() -> None:
    held = split()
    points, (finding,) = held_out.held_out_clusters("s", held.actual, held, rng=rng(), scoring=HOW)
    assert [point.value for point in points] == [1.0, 1.0]
    assert points[0].chance == pytest.approx(1 / 4)
    assert finding.passed
    points, (finding,) = held_out.held_out_clusters(
        "s", held.training[:40], held, rng=rng(), scoring=HOW
    )
    assert points[0].value == 0.0
    assert points[0].reference == 1.0
    assert not finding.passed


def test_the_own_centroid_leaves_the_picture_out() -> None:
    # Two new pictures of one cluster that have nothing in common: each is alone with itself.
    trained = np.repeat(np.eye(4)[[0, 1]], 5, axis=0)
    actual = np.eye(4)[[2, 3]]
    held = held_out.HeldOut(actual, np.array([9, 9]), trained, np.repeat([0, 1], 5))
    points, _ = held_out.held_out_clusters("s", actual, held, rng=rng(), scoring=HOW)
    assert points[0].reference == points[0].value
    similarity = (actual - trained.mean(0))[0] @ (actual - trained.mean(0))[1]
    assert similarity == pytest.approx(0.5)


def test_splits_that_hold_nothing_out_are_named() -> None:
    held = split()
    both = held_out.HeldOut(held.actual, held.labels - 1, held.training, held.training_labels)
    with pytest.raises(DataError, match="cluster 2 is in training and in test"):
        held_out.held_out_clusters("s", held.actual, both, rng=rng())
    with pytest.raises(DataError, match="do not fit"):
        held_out.held_out_clusters("s", held.actual[:3], held, rng=rng())
    alone = held_out.HeldOut(held.actual[:2], np.array([8, 9]), held.training, held.training_labels)
    with pytest.raises(DataError, match="two test pictures in one cluster"):
        held_out.held_out_clusters("s", held.actual[:2], alone, rng=rng())


def row(metric: str, value: float, low: float, high: float, system: str = "s") -> Scored:
    made = Row(metric, system, value, None, None, 3, None, (low + high) / 2,
               floor_low=low, floor_high=high)  # fmt: skip
    return Scored(made, np.zeros(3))


def test_the_floor_is_beaten_on_the_better_side_only() -> None:
    good = [row("two_way_x", 0.7, 0.4, 0.6), row("distance_x", 0.2, 0.9, 1.1)]
    poor = [row("two_way_x", 0.3, 0.4, 0.6, "t"), row("distance_x", 1.2, 0.9, 1.1, "t")]
    found = floor_findings([*good, *poor])
    assert [(f.system, f.passed) for f in found] == [("s", True), ("t", False)]
    assert found[0].text == "2 of 2 metrics are better than with shuffled pairs."
    assert "not two_way_x, distance_x" in found[1].text


def test_half_of_the_metrics_is_not_enough_and_rows_without_floor_do_not_count() -> None:
    rows = [row("two_way_x", 0.7, 0.4, 0.6), row("PixCorr", 0.1, 0.0, 0.2)]
    bare = Scored(Row("effective_rank", "s", 5.0, None, None, 3, None, 1.0), None)
    (found,) = floor_findings([*rows, bare])
    assert not found.passed
    assert found.text.startswith("1 of 2 metrics")
    assert math.isclose(rows[0].row.floor or 0, 0.5)
