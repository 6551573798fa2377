from __future__ import annotations

import numpy as np
import pytest

from mindeye.data.preprocess import fit_scaler, noise_ceiling
from mindeye.data.splits import check_disjoint, hold_out
from mindeye.errors import DataError, LeakageError


def test_noise_ceiling_by_hand() -> None:
    # Two stimuli, two repeats: within-stimulus variance 2 and 2, total variance of 0, 2, 10, 12.
    betas = np.array([[0.0], [2.0], [10.0], [12.0]])
    total = betas.var(ddof=1)
    ceiling = noise_ceiling(betas, [np.array([0, 1]), np.array([2, 3])])
    assert ceiling is not None
    assert ceiling[0] == pytest.approx(1 - 2 / total)


def test_noise_ceiling_recovers_the_share_of_signal() -> None:
    rng = np.random.default_rng(0)
    share = np.array([0.0, 0.1, 0.4, 0.9])
    signal = rng.standard_normal((2000, 1, 4)) * np.sqrt(share)
    betas = (signal + rng.standard_normal((2000, 3, 4)) * np.sqrt(1 - share)).reshape(-1, 4)
    measured = noise_ceiling(betas, list(np.arange(6000).reshape(2000, 3)))
    np.testing.assert_allclose(measured, share, atol=0.03)


def test_no_repeats_no_noise_ceiling() -> None:
    assert noise_ceiling(np.ones((3, 2)), [np.array([0]), np.array([1])]) is None


def test_a_session_with_one_training_trial_is_refused() -> None:
    betas = np.random.default_rng(0).standard_normal((6, 3))
    sessions = np.array([0, 0, 0, 1, 1, 1])
    training = np.array([True, True, True, True, False, False])
    with pytest.raises(DataError, match="session 1 has 1 training trials"):
        fit_scaler(betas, sessions, training, zscore="session")


def test_hold_out_never_empties_a_side() -> None:
    rng = np.random.default_rng(0)
    kept, held = hold_out(["a", "b"], 0.001, rng)
    assert len(kept) == len(held) == 1
    with pytest.raises(DataError):
        hold_out(["a"], 0.5, rng)


def test_a_shared_stimulus_is_named() -> None:
    with pytest.raises(LeakageError, match="'b' is in both train and val"):
        check_disjoint({"train": ["a", "b"], "val": ["b"], "test": []})
