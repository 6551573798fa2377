"""The alignment self-test passes right pairings and refuses shuffled and shifted ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from mindeye.data.simulate import simulate_subject
from mindeye.data.subject import Subject
from mindeye.data.trials import complete_trials
from mindeye.errors import DataError
from mindeye.preparation.alignment import (
    Alignment,
    AlignmentConfig,
    measure_alignment,
    require_aligned,
    sessions_at_chance,
)
from mindeye.preparation.alignment_sample import Sample
from mindeye.preparation.encoding_score import EncodingModel, unit_columns
from mindeye.preparation.picture_features import (
    layout_features,
    principal_components,
    thumbnails,
)
from small_simulation import SMALL

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
QUICK = AlignmentConfig(permutations=99)


def measure(
    betas: np.ndarray,
    trials: pd.DataFrame,
    pictures: np.ndarray,
    stimuli: pd.DataFrame,
    *,
    seed: int = 0,
    config: AlignmentConfig = QUICK,
) -> Alignment:
    rng = np.random.default_rng(seed)
    return measure_alignment(betas, trials, pictures, stimuli, rng=rng, config=config)


def of_subject(subject: Subject, *, betas: np.ndarray | None = None, seed: int = 0) -> Alignment:
    betas = subject.betas if betas is None else betas
    return measure(betas, subject.trials, subject.pictures, subject.stimuli, seed=seed)


@pytest.fixture(scope="module")
def six_sessions(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    config = replace(SMALL, train=180, test=20, sessions=6, voxels=200)
    return simulate_subject(config, 1, tmp_path_factory.mktemp("six") / "subject")


def test_right_pairing_passes_and_says_how_clearly(small_subject: Subject) -> None:
    result = of_subject(small_subject)
    require_aligned(result)
    assert result.score is not None
    assert result.score > 0.15
    assert result.p_value == 0.01
    assert result.best_lag is None
    assert result.n_pictures == 80
    assert result.n_trials == 240
    back = json.loads(json.dumps(result.to_dict()))
    assert back["score"] == result.score
    assert len(back["lags"]) == 12


@pytest.mark.parametrize(("count", "ceiling"), [(30, 0.5), (60, 0.3)])
def test_small_subjects_pass_whatever_the_draw(tmp_path: Path, count: int, ceiling: float) -> None:
    config = replace(
        SMALL, train=count - 6, test=6, ceiling_low=ceiling, ceiling_high=ceiling, voxels=150
    )
    for seed in range(2):
        subject = simulate_subject(config, seed, tmp_path / f"s{seed}")
        require_aligned(of_subject(subject, seed=seed))


@pytest.mark.parametrize("seed", range(3))
def test_a_shift_by_one_trial_is_refused_and_named(small_subject: Subject, seed: int) -> None:
    shifted = np.roll(small_subject.betas, 1, axis=0)
    with pytest.raises(DataError) as error:
        require_aligned(of_subject(small_subject, betas=shifted, seed=seed))
    for part in ("shifted by 1 trial", "encoding score", "p = ", "--no-alignment-test"):
        assert part in str(error.value)


def test_the_lag_has_the_sign_of_the_shift(small_subject: Subject) -> None:
    for shift in (-2, 3):
        result = of_subject(small_subject, betas=np.roll(small_subject.betas, shift, axis=0))
        assert result.best_lag is not None
        assert result.best_lag.lag == shift


def test_shuffled_trials_pass_no_oftener_than_the_significance(small_subject: Subject) -> None:
    passed = 0
    for seed in range(20):
        order = np.random.default_rng(seed + 50).permutation(len(small_subject.betas))
        passed += of_subject(small_subject, betas=small_subject.betas[order], seed=seed).ok
    assert passed <= 2


def test_a_wrong_map_from_stimulus_to_picture_fails_though_repeats_agree(
    small_subject: Subject,
) -> None:
    order = np.random.default_rng(5).permutation(80)
    result = measure(
        small_subject.betas, small_subject.trials, small_subject.pictures[order],
        small_subject.stimuli,
    )  # fmt: skip
    assert not result.ok
    assert "looks shuffled" in result.verdict
    assert result.best_lag is None


def test_ids_that_share_a_picture_are_held_out_together(small_subject: Subject) -> None:
    # Three ids a picture, all betas of a picture alike, but pictures dealt to the wrong betas: a
    # fit that had seen one of the three ids would recognise the others.
    trials = small_subject.trials.copy()
    ids = trials["stimulus_id"] + "-" + trials["repeat"].astype(str)
    position = small_subject.row_of_stimulus
    order = np.random.default_rng(6).permutation(80)
    picture = order[[position[s] for s in trials["stimulus_id"]]]
    trials["stimulus_id"] = ids
    stimuli = pd.DataFrame({"stimulus_id": ids})
    wrong = measure(small_subject.betas, trials, small_subject.pictures[picture], stimuli)
    assert wrong.n_pictures == 80
    assert not wrong.ok
    back = np.argsort(order)[picture]
    assert measure(small_subject.betas, trials, small_subject.pictures[back], stimuli).ok


def test_session_scale_and_offset_change_nothing(small_subject: Subject) -> None:
    session = small_subject.trials["session"].to_numpy()[:, None]
    raw = (small_subject.betas * (2.0 + session) + 400 * session).astype(np.float32)
    plain, scaled = of_subject(small_subject), of_subject(small_subject, betas=raw)
    assert scaled.score == pytest.approx(plain.score, abs=1e-3)
    assert scaled.ok


def test_session_offsets_alone_do_not_pass_where_sessions_show_other_pictures() -> None:
    rng = np.random.default_rng(0)
    session = np.repeat([1, 2], 60)
    pictures = rng.integers(0, 100, (120, 16, 16, 3)) + 100 * (session - 1)[:, None, None, None]
    ids = [f"p{i}" for i in range(120)]
    trials = complete_trials(pd.DataFrame({"stimulus_id": ids, "session": session}))
    betas = rng.standard_normal((120, 50)) + 5.0 * session[:, None]
    result = measure(betas, trials, pictures.astype(np.uint8), pd.DataFrame({"stimulus_id": ids}))
    assert result.p_value is not None
    assert result.p_value > 0.01


def test_noise_is_refused(small_subject: Subject) -> None:
    noise = np.random.default_rng(1).standard_normal(small_subject.betas.shape)
    result = of_subject(small_subject, betas=noise)
    assert not result.ok
    assert result.score == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("fault", ["shifted", "swapped"])
def test_a_wrong_session_is_named_while_the_rest_agrees(six_sessions: Subject, fault: str) -> None:
    assert of_subject(six_sessions).sessions_at_chance == ()
    session = six_sessions.trials["session"].to_numpy()
    betas = np.array(six_sessions.betas)
    second, fifth = np.flatnonzero(session == 1), np.flatnonzero(session == 4)
    if fault == "shifted":
        betas[second] = np.roll(betas[second], 1, axis=0)
        wrong: tuple[int, ...] = (1,)
    else:
        betas[np.concatenate([second, fifth])] = betas[np.concatenate([fifth, second])]
        wrong = (1, 4)
    result = of_subject(six_sessions, betas=betas)
    assert result.p_value == 0.01
    assert result.sessions_at_chance == wrong
    with pytest.raises(DataError, match="session 1 looks paired with other pictures"):
        require_aligned(result)


def test_sessions_at_chance_by_hand() -> None:
    def named(*z: float, trials: tuple[int, ...] | None = None) -> tuple[int, ...]:
        pairs = list(enumerate(z, 1))
        return sessions_at_chance(pairs, trials or (100,) * len(z))

    assert named(10, 0.5, 11) == (2,)
    assert named(10, 1.7, 11) == ()  # p < .05
    assert named(5, 0.5, 5) == ()  # the others are not clear enough
    # A session of a tenth of the trials is expected at 10 * sqrt(.1) = 3.2: not judged.
    assert named(10, 0.5, 10, trials=(100, 10, 100)) == ()
    assert named(0.1) == ()


def test_too_few_or_constant_pictures_are_not_judged(small_subject: Subject) -> None:
    blank = np.full_like(small_subject.pictures, 90)
    result = measure(small_subject.betas, small_subject.trials, blank, small_subject.stimuli)
    assert result.ok
    assert result.score is None
    assert "not applicable: 1 distinct" in result.verdict
    few = (small_subject.trials["stimulus_id"] < "scene00015").to_numpy()
    result = measure(
        small_subject.betas[few], small_subject.trials[few].reset_index(drop=True),
        small_subject.pictures, small_subject.stimuli,
    )  # fmt: skip
    assert result.ok
    assert "not applicable: 15 distinct" in result.verdict
    json.dumps(result.to_dict())


def test_memory_map_and_broken_voxels_do_no_harm(small_subject: Subject) -> None:
    betas = np.array(small_subject.betas)
    before = betas.copy()
    result = of_subject(small_subject, betas=betas)
    np.testing.assert_array_equal(betas, before)
    assert result == of_subject(small_subject)
    betas[:, 3], betas[7, 5] = 0, np.nan
    assert of_subject(small_subject, betas=betas).ok


def test_tables_that_do_not_fit_are_refused(small_subject: Subject) -> None:
    with pytest.raises(DataError, match="240 trials"):
        of_subject(small_subject, betas=small_subject.betas[:-1])
    with pytest.raises(DataError, match="80 stimuli"):
        measure(
            small_subject.betas, small_subject.trials, small_subject.pictures[:-1],
            small_subject.stimuli,
        )  # fmt: skip


def test_the_voxels_that_repeat_are_chosen_whatever_the_session_offsets() -> None:
    rng = np.random.default_rng(0)
    members = np.tile(np.arange(100), 2)
    signal = np.zeros((200, 60))
    signal[:, 20:30] = rng.standard_normal((100, 10))[members]
    session = np.repeat([0, 1], 100)
    betas = signal + 0.5 * rng.standard_normal((200, 60)) + 30 * session[:, None]
    sample = Sample(session, members, 60, 10, rng)
    # By blocks of voxels, as a preparation looks at them.
    sample.choose(np.concatenate([sample.reliability(b) for b in np.split(betas, 4, axis=1)]))
    np.testing.assert_array_equal(sample.voxels, np.arange(20, 30))


def test_held_out_predictions_equal_those_of_scikit_learn(small_subject: Subject) -> None:
    rng = np.random.default_rng(0)
    features = principal_components(layout_features(thumbnails(small_subject.pictures)), 12)
    betas = unit_columns(small_subject.betas_of(list(small_subject.row_of_stimulus)))
    model = EncodingModel.build(features, folds=5, ridge=0.7, rng=rng)
    expected = np.empty_like(betas)
    for fold in range(5):
        held = model.folds == fold
        ridge = Ridge(alpha=0.7 * (~held).sum(), fit_intercept=False)
        ridge.fit(features[~held].astype(float), betas[~held].astype(float))
        expected[held] = ridge.predict(features[held])
    np.testing.assert_allclose(model.predict(betas), expected, atol=1e-5)
    by_voxel = [np.corrcoef(expected[:, v], betas[:, v])[0, 1] for v in range(betas.shape[1])]
    assert model.score(betas) == pytest.approx(np.mean(by_voxel), abs=1e-5)


def real_data(name: str) -> tuple[np.ndarray, pd.DataFrame, np.ndarray, pd.DataFrame]:
    path = SHARED / name
    if not path.is_file():
        pytest.skip("no shared folder with real data beside the repository")
    with np.load(path, allow_pickle=False) as file:
        betas, pictures = file["voxels"], file["images"]
    pictures = pictures * np.uint8(255 // pictures.max())
    ids = [str(i) for i in range(len(betas))]
    trials = complete_trials(pd.DataFrame({"stimulus_id": ids}))
    rgb = np.repeat(pictures[..., None], 3, axis=-1)
    return betas, trials, rgb, pd.DataFrame({"stimulus_id": ids})


@pytest.mark.parametrize("name", ["digit69/digit69.npz", "miyawaki2008/v1_figures.npz"])
def test_real_data_pass_and_are_refused_when_shifted_or_shuffled(name: str) -> None:
    betas, trials, pictures, stimuli = real_data(name)
    config = AlignmentConfig()
    for seed in range(2):
        right = measure(betas, trials, pictures, stimuli, seed=seed, config=config)
        require_aligned(right)
        assert right.score is not None
        assert right.score > 0.1
        moved = np.roll(betas, 1, axis=0)
        shifted = measure(moved, trials, pictures, stimuli, seed=seed, config=config)
        assert not shifted.ok
        assert "shifted by 1 trial" in shifted.verdict
        order = np.random.default_rng(seed).permutation(len(betas))
        assert not measure(betas[order], trials, pictures, stimuli, seed=seed, config=config).ok
