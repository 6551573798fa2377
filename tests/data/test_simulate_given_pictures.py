"""Simulated subjects that look at pictures of one's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mindeye.data.given import GivenPictures
from mindeye.data.ideal import log_likelihood
from mindeye.data.simulate import Simulation, simulate, simulate_given, write_simulation
from mindeye.data.subject_checks import check_subject
from mindeye.errors import DataError
from small_simulation import SMALL

COUNT = SMALL.train + SMALL.test


@pytest.fixture(scope="module")
def given() -> GivenPictures:
    """Blurry noise of 32 x 32 with unrelated attributes."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)
    return GivenPictures(
        ids=[f"p{i}" for i in range(COUNT)],
        pictures=coarse.repeat(4, axis=1).repeat(4, axis=2),
        attributes=rng.standard_normal((COUNT, 6)).astype(np.float32),
        captions=[f"number {i}" for i in range(COUNT)],
        source="a test",
        licence="CC0-1.0",
    )


def test_scenes_given_as_pictures_give_the_very_numbers_of_scenes_drawn() -> None:
    drawn = simulate(SMALL, 0)
    again = simulate_given(SMALL, 0, drawn.given)
    assert drawn.scenes
    assert not again.scenes
    np.testing.assert_array_equal(again.betas, drawn.betas)
    assert again.trials.equals(drawn.trials)
    assert again.kept == drawn.kept


def test_low_voxels_follow_pictures_and_high_voxels_follow_meaning(given: GivenPictures) -> None:
    plain = simulate_given(SMALL, 0, given)
    low = len(plain.fields)
    inverted = simulate_given(SMALL, 0, replace(given, pictures=given.pictures[::-1]))
    renamed = simulate_given(SMALL, 0, replace(given, attributes=given.attributes[::-1]))
    assert not np.allclose(inverted.responses[:, :low], plain.responses[:, :low])
    np.testing.assert_array_equal(inverted.responses[:, low:], plain.responses[:, low:])
    np.testing.assert_array_equal(renamed.responses[:, :low], plain.responses[:, :low])
    assert not np.allclose(renamed.responses[:, low:], plain.responses[:, low:])


def test_a_picture_is_seen_at_one_size_whatever_size_it_is_given_at(given: GivenPictures) -> None:
    larger = given.pictures.repeat(4, axis=1).repeat(4, axis=2)  # 128 x 128
    small, large = (
        simulate_given(SMALL, 0, replace(given, pictures=p)) for p in (given.pictures, larger)
    )
    unscaled = simulate_given(replace(SMALL, size=128), 0, replace(given, pictures=larger))

    def agreement(other: Simulation) -> float:
        low = len(small.fields)
        pairs = zip(small.responses.T[:low], other.responses.T[:low], strict=True)
        return float(np.median([np.corrcoef(a, b)[0, 1] for a, b in pairs]))

    assert agreement(large) > 0.998
    # Seen at another size, a pattern meets other filters.
    assert agreement(unscaled) < 0.995


def test_what_was_given_is_what_is_written(given: GivenPictures, tmp_path: Path) -> None:
    subject = write_simulation(simulate_given(SMALL, 0, given), tmp_path / "s")
    check_subject(subject.path)
    np.testing.assert_array_equal(subject.pictures, given.pictures)
    assert subject.splits["test"] == given.ids[SMALL.train :]
    assert set(subject.splits["train"]) | set(subject.splits["val"]) == set(given.ids[:60])
    assert subject.stimuli["caption"].tolist() == given.captions
    assert (subject.info["licence"], subject.info["source"]) == ("CC0-1.0", "a test")
    scores = log_likelihood(subject, subject.splits["test"])
    assert (scores.argmax(axis=1) == np.arange(SMALL.test)).mean() > 0.9


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda g: {"captions": g.captions[1:]}, "79 captions were given for train=60 and test=20"),
        (lambda g: {"pictures": g.pictures[:-1]}, "79 pictures"),
        (lambda g: {"ids": [*g.ids[:-1], "p3"]}, "'p3' was given twice"),
        (lambda g: {"pictures": g.pictures / 255}, "pictures are float64"),
        (lambda g: {"pictures": g.pictures[..., 0]}, r"shape \(80, 32, 32\)"),
        (lambda g: {"attributes": np.full_like(g.attributes, np.nan)}, "finite"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(
    given: GivenPictures, fault: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        simulate_given(SMALL, 0, replace(given, **fault(given)))
