"""Broken voxels and copied trials are named, and facts survive an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mindeye.errors import DataError
from mindeye.preparation.voxel_checks import (
    SessionFacts,
    check_voxels,
    duplicated_trials,
    session_facts,
)

LIMIT = 32767 / 300


def sessions(count: int = 3, trials: int = 300, voxels: int = 20) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((trials, voxels)).astype(np.float32) for _ in range(count)]


def facts_of(betas: list[np.ndarray]) -> list[SessionFacts]:
    return [session_facts(b, session=i + 1, saturation=109.0) for i, b in enumerate(betas)]


def test_sound_betas_keep_every_voxel() -> None:
    found = check_voxels(facts_of(sessions()), "refuse")
    assert found.kept.all()
    assert found.dropped == 0
    assert found.counts == {"constant": 0, "not_finite": 0, "saturated": 0}


@pytest.mark.parametrize(
    ("value", "trials", "words"),
    [
        (np.nan, [290], "holds NaN"),
        (np.inf, [0], "holds NaN or infinite"),
        (LIMIT, range(4), "limit of its storage"),
        (-LIMIT, range(296, 300), "limit of its storage"),
        (1.5, range(300), "never changes"),
    ],
)
def test_each_fault_is_refused_by_name_or_dropped(
    value: float, trials: range | list[int], words: str
) -> None:
    betas = sessions()
    betas[1][list(trials), 7] = value
    voxels = pd.DataFrame({"x": np.arange(20) + 1, "y": np.arange(20) + 30, "z": 5})
    with pytest.raises(DataError) as error:
        check_voxels(facts_of(betas), "refuse", voxels=voxels)
    for part in ("voxel 7 at (8, 37, 5)", words, "session 2", "--bad-voxels drop"):
        assert part in str(error.value)
    found = check_voxels(facts_of(betas), "drop", voxels=voxels)
    assert np.flatnonzero(~found.kept).tolist() == [7]
    assert list(found.counts.values()) == [w in words for w in ("never", "NaN", "limit")]


def test_few_clipped_trials_do_not_make_a_voxel_saturated() -> None:
    betas = sessions()
    betas[0][:3, 4] = LIMIT  # exactly 1 % of 300 trials
    short = sessions(1, trials=30)
    short[0][0, 4] = LIMIT  # more than 1 % of 30, but a single trial
    assert check_voxels(facts_of(betas), "refuse").kept.all()
    assert check_voxels(facts_of(short), "refuse").kept.all()


def test_saturation_is_not_looked_for_where_storage_has_no_limit() -> None:
    betas = sessions()[0]
    betas[:50, 3] = 1000
    assert check_voxels([session_facts(betas, session=1)], "refuse").kept.all()


def test_a_voxel_constant_in_one_session_and_alive_in_others_is_dropped() -> None:
    betas = sessions()
    betas[0][:, 2] = 0
    betas[2][:, 5] = np.nan
    found = check_voxels(facts_of(betas), "drop")
    assert np.flatnonzero(~found.kept).tolist() == [2, 5]
    assert found.dropped == 2


def test_more_than_half_broken_is_refused_even_where_dropping_is_asked_for() -> None:
    betas = sessions()
    betas[0][:, :10] = 0
    assert check_voxels(facts_of(betas), "drop").kept.sum() == 10
    betas[0][:, 10] = 0
    with pytest.raises(DataError, match="11 of 20 voxels are broken"):
        check_voxels(facts_of(betas), "drop")


def test_a_session_copied_under_another_number_is_refused_naming_both() -> None:
    betas = sessions()
    betas[2] = betas[0].copy()
    with pytest.raises(DataError, match=r"trial 0 of session 3 .* trial 0 of session 1 \(300 such"):
        check_voxels(facts_of(betas), "drop")


def test_one_trial_copied_within_a_session_is_refused() -> None:
    betas = sessions()
    betas[1][250] = betas[1][40]
    facts = facts_of(betas)
    assert duplicated_trials(facts) == ((2, 40), (2, 250), 1)
    betas[1][250, 19] += np.float32(1e-3)
    assert duplicated_trials(facts_of(betas)) is None


def test_few_integer_valued_voxels_are_not_taken_for_copies() -> None:
    rng = np.random.default_rng(0)
    betas = rng.integers(0, 3, (200, 2)).astype(np.float32)
    assert check_voxels([session_facts(betas, session=1)], "refuse").kept.all()


def test_blocks_and_memory_maps_give_the_same_facts_as_the_whole(tmp_path: Path) -> None:
    betas = sessions(1, trials=600)[0]
    betas[:, 3] = 2
    betas[599, 3] = 2.5  # changes in the last block alone
    betas[599, 8] = np.nan
    np.save(tmp_path / "betas.npy", np.asfortranarray(betas))
    mapped = np.load(tmp_path / "betas.npy", mmap_mode="r")
    found = session_facts(mapped, session=1)
    assert not found.constant.any()
    assert np.flatnonzero(found.not_finite).tolist() == [8]
    np.testing.assert_array_equal(found.digests, session_facts(betas, session=1).digests)


def test_facts_read_back_are_the_same(tmp_path: Path) -> None:
    betas = sessions()
    betas[1][:, 7] = 3
    betas[2][5, 11] = np.inf
    facts = facts_of(betas)
    for fact in facts:
        fact.save(tmp_path / "facts" / f"session{fact.session:02d}.npz")
    back = [SessionFacts.load(p) for p in sorted((tmp_path / "facts").iterdir())]
    assert [f.session for f in back] == [1, 2, 3]
    for one, other in zip(facts, back, strict=True):
        for name in ("constant", "not_finite", "saturated", "digests"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(check_voxels(back, "drop").kept, check_voxels(facts, "drop").kept)


def test_torn_facts_are_a_named_error(tmp_path: Path) -> None:
    path = tmp_path / "session01.npz"
    facts_of(sessions(1))[0].save(path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"nonsense"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="session01"):
            SessionFacts.load(path)
    path.unlink()
    with pytest.raises(DataError, match="session01"):
        SessionFacts.load(path)


def test_sessions_of_different_width_are_refused() -> None:
    narrow = session_facts(sessions()[0][:, :10], session=2)
    with pytest.raises(DataError, match=r"\[10, 20\]"):
        check_voxels([facts_of(sessions())[0], narrow], "drop")
    with pytest.raises(DataError, match="session 4"):
        session_facts(np.zeros(5, np.float32), session=4)
