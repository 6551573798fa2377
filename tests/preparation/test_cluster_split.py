"""Whole clusters are held out, and test pictures are then farther from training."""

from __future__ import annotations

import numpy as np
import pytest

from mindeye.data.scenes import draw_scenes, make_scenes
from mindeye.data.splits import hold_out
from mindeye.errors import DataError
from mindeye.preparation.clusters import cluster_split, default_clusters
from mindeye.preparation.picture_features import (
    layout_features,
    principal_components,
    thumbnails,
)

COUNT = 300
IDS = [f"p{i:03d}" for i in range(COUNT)]


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    small = thumbnails(draw_scenes(make_scenes(COUNT, 12)))
    return principal_components(layout_features(small), 10)


def nearest(features: np.ndarray, train: list[str], test: list[str]) -> float:
    """Mean distance of test pictures to the nearest training picture."""
    row = {s: i for i, s in enumerate(IDS)}
    a, b = features[[row[s] for s in test]], features[[row[s] for s in train]]
    return float(np.linalg.norm(a[:, None] - b[None], axis=-1).min(axis=1).mean())


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_no_cluster_is_on_both_sides_and_the_share_is_met(
    features: np.ndarray, share: float
) -> None:
    train, test, labels = cluster_split(features, IDS, share=share, rng=np.random.default_rng(0))
    assert sorted(train + test) == IDS
    of = dict(zip(IDS, labels.tolist(), strict=True))
    assert not {of[s] for s in train} & {of[s] for s in test}
    assert abs(len(test) / COUNT - share) < 0.05


def test_test_pictures_are_farther_from_training_than_under_a_random_split(
    features: np.ndarray,
) -> None:
    ratios = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        train, test, _ = cluster_split(features, IDS, share=0.15, rng=rng)
        by_chance = hold_out(IDS, 0.15, rng)
        ratios.append(nearest(features, train, test) / nearest(features, *by_chance))
    assert min(ratios) > 1
    assert np.mean(ratios) > 1.1


def test_the_same_seed_gives_the_same_split_and_another_seed_another(features: np.ndarray) -> None:
    once, twice, other = (
        cluster_split(features, IDS, share=0.1, rng=np.random.default_rng(s))[1] for s in (3, 3, 4)
    )
    assert once == twice != other


def test_planted_clusters_are_kept_whole() -> None:
    rng = np.random.default_rng(0)
    group = np.arange(COUNT) % 6
    centres = rng.standard_normal((6, 4)) * 50
    train, test, _ = cluster_split(
        centres[group] + rng.standard_normal((COUNT, 4)), IDS, share=0.2, rng=rng, clusters=6
    )
    groups = [{int(group[IDS.index(s)]) for s in side} for side in (train, test)]
    assert not groups[0] & groups[1]
    assert len(groups[1]) == 1


def test_a_share_smaller_than_any_cluster_holds_the_smallest_out() -> None:
    features = np.repeat(np.arange(3.0)[:, None] * 100, COUNT // 3, axis=0)
    features[:20] = -500
    train, test, labels = cluster_split(
        features, IDS, share=0.001, rng=np.random.default_rng(0), clusters=4
    )
    assert len(test) == 20
    assert len(train) == COUNT - 20
    assert len(set(labels.tolist())) == 4


def test_a_share_near_one_leaves_a_cluster_to_train_on(features: np.ndarray) -> None:
    train, test, _ = cluster_split(
        features, IDS, share=0.99, rng=np.random.default_rng(0), clusters=2
    )
    assert train
    assert test


def test_pictures_that_are_all_alike_are_refused() -> None:
    with pytest.raises(DataError, match="1 distinct"):
        cluster_split(np.ones((5, 3)), IDS[:5], share=0.2, rng=np.random.default_rng(0))
    with pytest.raises(DataError, match="not describe"):
        cluster_split(np.ones((4, 3)), IDS[:5], share=0.2, rng=np.random.default_rng(0))


def test_default_number_of_clusters_is_bounded() -> None:
    assert [default_clusters(n) for n in (3, 9, 100, 900, 10_000, 73_000)] == [
        3, 4, 10, 30, 100, 100
    ]  # fmt: skip
