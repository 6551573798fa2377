"""The permutation null loses the pairing in train and val, and nothing else."""

from __future__ import annotations

import numpy as np

from mindeye.data.permutation import permuted_subject
from mindeye.data.subject import Subject


def _brains(subject: Subject, split: str) -> dict[str, bytes]:
    return {s: subject.betas[subject.rows_by_stimulus[s]].tobytes() for s in subject.splits[split]}


def test_zero_is_the_subject_itself(small_subject: Subject) -> None:
    assert permuted_subject(small_subject, 0) is small_subject


def test_each_split_keeps_its_brains_and_loses_whose_they_are(small_subject: Subject) -> None:
    null = permuted_subject(small_subject, 1)
    for split in ("train", "val"):
        before, after = _brains(small_subject, split), _brains(null, split)
        assert sorted(before.values()) == sorted(after.values())  # whole stimuli, repeats together
        kept = [s for s in before if before[s] == after[s]]
        assert len(kept) < 5, "a random permutation leaves one stimulus its own brain on average"
    assert _brains(null, "test") == _brains(small_subject, "test")
    assert null.splits == small_subject.splits
    assert np.array_equal(null.pictures, small_subject.pictures)


def test_permutations_are_told_apart_by_their_number_and_come_again(small_subject: Subject) -> None:
    first, again, second = (_brains(permuted_subject(small_subject, n), "train") for n in (1, 1, 2))
    assert first == again
    assert first != second


def test_the_recorded_subject_is_left_as_it_is(small_subject: Subject) -> None:
    before = small_subject.trials.copy()
    permuted_subject(small_subject, 1)
    assert small_subject.trials.equals(before)


def test_over_many_permutations_every_brain_comes_to_every_stimulus(small_subject: Subject) -> None:
    """Uniform: none of 200 permutations prefers a place (3 of 1,000 would be the rarest)."""
    ids = small_subject.splits["val"]
    own = _brains(small_subject, "val")
    counts = np.zeros((len(ids), len(ids)))
    place = {brain: i for i, brain in enumerate(own.values())}
    for n in range(1, 201):
        after = _brains(permuted_subject(small_subject, n), "val")
        for j, brain in enumerate(after.values()):
            counts[place[brain], j] += 1
    expected = 200 / len(ids)
    chi = ((counts - expected) ** 2 / expected).sum()
    freedom = (len(ids) - 1) ** 2
    assert abs(chi - freedom) < 5 * np.sqrt(2 * freedom)
