from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mindeye.data.ideal import log_likelihood
from mindeye.data.responses import feature_maps, gabor_filters, low_level_responses
from mindeye.data.simulate import simulate_subject
from mindeye.data.simulation import SimulateConfig
from mindeye.data.subject import Subject
from mindeye.data.subject_checks import check_subject
from mindeye.errors import DataError
from small_simulation import SMALL


def test_a_simulated_subject_passes_its_own_check(small_subject: Subject) -> None:
    check_subject(small_subject.path)


def test_same_seed_same_files(small_subject: Subject, tmp_path: Path) -> None:
    again = simulate_subject(SMALL, 0, tmp_path / "again")
    assert again.info["sha256"] == small_subject.info["sha256"]
    other = simulate_subject(SMALL, 1, tmp_path / "other")
    assert other.info["sha256"]["betas.npy"] != small_subject.info["sha256"]["betas.npy"]


def test_subjects_differ_in_voxels_and_agree_on_pictures(tmp_path: Path) -> None:
    config = SimulateConfig(train=20, test=5)
    one = simulate_subject(config, 0, tmp_path / "one")
    two = simulate_subject(replace(config, subject="sim02"), 0, tmp_path / "two")
    assert one.betas.shape[1] != two.betas.shape[1]
    assert (one.pictures == two.pictures).all()


def test_every_stimulus_is_seen_three_times_in_different_places(small_subject: Subject) -> None:
    counts = small_subject.trials["stimulus_id"].value_counts()
    assert (counts == 3).all()
    assert small_subject.trials["session"].nunique() == 3


def test_measured_noise_ceilings_follow_the_planted_ones(tmp_path: Path) -> None:
    config = replace(SMALL, train=500, voxels=80)
    voxels = simulate_subject(config, 3, tmp_path / "s").voxels
    planted, measured = voxels["true_noise_ceiling"], voxels["noise_ceiling"]
    assert np.corrcoef(planted, measured)[0, 1] > 0.95
    assert planted.std() > 0.1


def test_noise_is_correlated_across_voxels(tmp_path: Path) -> None:
    def spread(share: float) -> float:
        config = replace(
            SMALL, ceiling_low=0.01, ceiling_high=0.01, correlated_noise=share, drift=0
        )
        betas = simulate_subject(config, 0, tmp_path / f"s{share}").betas
        correlation = np.corrcoef(betas.T)
        return float(correlation[np.triu_indices_from(correlation, 1)].std())

    assert spread(0.8) > 2 * spread(0.0)


def test_the_ideal_observer_knows_more_than_chance_and_less_when_noise_grows(
    tmp_path: Path,
) -> None:
    def accuracy(ceiling: float) -> float:
        config = replace(SMALL, test=60, ceiling_low=ceiling, ceiling_high=ceiling)
        subject = simulate_subject(config, 0, tmp_path / f"c{ceiling}")
        scores = log_likelihood(subject, subject.splits["test"])
        return float((scores.argmax(axis=1) == np.arange(len(scores))).mean())

    strong, weak, none = accuracy(0.3), accuracy(0.02), accuracy(1e-6)
    assert strong > weak > none
    assert strong == 1.0
    assert none < 0.15  # chance is 1 / 60


def test_log_likelihood_is_the_gaussian_one(small_subject: Subject) -> None:
    ids = small_subject.splits["test"][:6]
    fast = log_likelihood(small_subject, ids)
    truth = small_subject.path / "truth"
    loadings = np.load(truth / "noise_loadings.npy").astype(float)
    covariance = loadings @ loadings.T + np.diag(np.load(truth / "noise_deviation.npy") ** 2.0)
    rows = [small_subject.row_of_stimulus[s] for s in ids]
    means = np.load(truth / "responses.npy")[rows].astype(float)
    betas = small_subject.betas_of(ids).astype(float)
    precision = np.linalg.inv(covariance / 3)
    residual = betas[:, None] - means[None]
    naive = -0.5 * np.einsum("qgv,vw,qgw->qg", residual, precision, residual)
    # Both are up to a constant a row.
    np.testing.assert_allclose(
        fast - fast.mean(axis=1, keepdims=True),
        naive - naive.mean(axis=1, keepdims=True),
        rtol=1e-6,
    )


def test_a_real_subject_has_no_ideal_observer(small_subject: Subject, tmp_path: Path) -> None:
    bare = replace(small_subject, path=tmp_path)
    with pytest.raises(DataError, match="not simulated"):
        log_likelihood(bare, small_subject.splits["test"])


def test_gabor_filters_do_not_answer_to_brightness() -> None:
    filters = gabor_filters().numpy()
    np.testing.assert_allclose(filters.sum(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose((filters**2).sum(axis=(1, 2, 3)), 1, rtol=1e-5)


def test_a_grating_drives_the_filter_of_its_orientation() -> None:
    x = np.arange(64)
    wave = (127 + 100 * np.sin(2 * np.pi * x / 8)).astype(np.uint8)
    vertical = np.repeat(np.tile(wave, (64, 1))[..., None], 3, axis=-1)
    maps = feature_maps(np.stack([vertical, vertical.transpose(1, 0, 2)]))
    energy = maps[:, 4:8].mean(axis=(2, 3))  # wavelength 8, four orientations
    assert energy[0].argmax() == 0
    assert energy[1].argmax() == 2


def test_low_level_voxels_answer_where_their_field_is() -> None:
    rng = np.random.default_rng(0)
    pictures = np.full((200, 64, 64, 3), 128, dtype=np.uint8)
    for i in range(200):
        y, x = rng.integers(0, 56, 2)
        pictures[i, y : y + 8, x : x + 8] = rng.integers(0, 256, 3)
    maps = feature_maps(pictures)
    responses, fields = low_level_responses(maps, 60, np.random.default_rng(1))
    # Blank the left half: voxels that look right must not notice.
    blanked = maps.copy()
    blanked[..., :4] = maps[..., :4].mean()
    after, _ = low_level_responses(blanked, 60, np.random.default_rng(1))
    far_right = fields[:, 0] > 0.75
    far_left = fields[:, 0] < 0.12
    agree = [np.corrcoef(responses[:, v], after[:, v])[0, 1] for v in range(60)]
    assert np.median(np.array(agree)[far_right]) > 0.95
    assert np.median(np.array(agree)[far_left]) < 0.6
