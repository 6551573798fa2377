from __future__ import annotations

import numpy as np
import pytest

from mindeye.errors import DataError
from mindeye.models.columns import Columns
from mindeye.models.neighbours import COUNTS, choose_count, nearest, predict_by_neighbours


def planted(groups: int, size: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Betas in groups, and targets that are the same within a group but for noise."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(groups), size)
    centres, wanted = rng.standard_normal((groups, 50)), rng.standard_normal((groups, 20))
    betas = centres[group] + 0.1 * rng.standard_normal((groups * size, 50))
    targets = wanted[group] + noise * rng.standard_normal((groups * size, 20))
    return betas.astype(np.float32), targets.astype(np.float32)


def test_planted_neighbours_are_found_whatever_their_gain_and_offset() -> None:
    rng = np.random.default_rng(0)
    betas = rng.standard_normal((40, 30)).astype(np.float32)
    order = rng.permutation(40)[:10]
    test = 5 * betas[order] + 3  # correlation 1, though others lie closer
    assert (nearest(betas, test, 1)[:, 0] == order).all()
    expected = np.argsort(-np.corrcoef(test, betas)[:10, 10:], axis=1)[:, :4]
    assert (nearest(betas, test, 4) == expected).all()


def test_the_prediction_is_the_mean_of_the_neighbours_targets() -> None:
    targets = np.arange(24, dtype=np.float32).reshape(6, 2, 2)  # of 6 stored stimuli
    columns = Columns(targets, np.array([5, 1, 3]), block=3)
    found = predict_by_neighbours(np.array([[0, 2], [1, 0]]), columns, "t")
    np.testing.assert_allclose(found[0], (targets[5] + targets[3]).ravel() / 2)
    np.testing.assert_allclose(found[1], (targets[1] + targets[5]).ravel() / 2)


def test_noisy_targets_are_averaged_over_about_as_many_as_are_alike() -> None:
    betas, targets = planted(groups=20, size=18, noise=2.0)
    noisy = choose_count(betas, targets, seed=0)
    assert noisy.count == 10  # 12 of a group are known in two of three folds
    assert noisy.scores[10] > noisy.scores[1]
    assert noisy.scores[10] > noisy.scores[100]
    assert choose_count(betas, targets, seed=0) == noisy
    single, wanted = planted(groups=60, size=2, noise=0.0)
    assert choose_count(single, wanted, seed=0).count == 1


def test_noise_is_at_chance() -> None:
    rng = np.random.default_rng(2)
    betas, targets = (rng.standard_normal((200, n)).astype(np.float32) for n in (40, 30))
    assert max(abs(s) for s in choose_count(betas, targets, seed=0).scores.values()) < 0.05


def test_few_stimuli_are_enough_or_refused_by_name() -> None:
    betas, targets = planted(groups=3, size=2, noise=0.0)
    assert set(choose_count(betas, targets, seed=0).scores) == {k for k in COUNTS if k <= 4}
    with pytest.raises(DataError, match="needs two"):
        choose_count(betas[:1], targets[:1], seed=0)
    with pytest.raises(DataError, match="7 neighbours among 6"):
        nearest(betas, betas, 7)
