"""Claims about the comparison with a lookup of training pictures."""

from __future__ import annotations

import numpy as np
import pytest

from mindeye.controls.references import against_lookup
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.systems import LOOKUP
from mindeye.metrics.table import Row, Scored

HOW = Scoring(resamples=400)


def scored(system: str, metric: str, values: np.ndarray) -> Scored:
    row = Row(metric, system, float(np.nanmean(values)), 0.0, 1.0, len(values), 0.5, 0.5)
    return Scored(row, values)


def said(own: dict[str, np.ndarray], lookup: dict[str, np.ndarray]):
    rows = [scored(LOOKUP, m, v) for m, v in lookup.items()]
    rows += [scored("both", m, v) for m, v in own.items()]
    return against_lookup(rows, ["both", "low"], rng=np.random.default_rng(0), scoring=HOW)


def test_a_system_that_draws_what_a_lookup_shows_is_warned_of() -> None:
    values = np.random.default_rng(1).random(80)
    for shift, passed in ((0.0, False), (-0.1, False), (0.1, True)):
        points, findings = said({"SSIM": values + shift}, {"SSIM": values})
        assert [f.passed for f in findings] == [passed]
        assert points[0].value == pytest.approx(shift, abs=1e-12)
    assert "SSIM (-0.100)" in said({"SSIM": values - 0.1}, {"SSIM": values})[1][0].text


def test_a_distance_is_better_when_it_is_smaller() -> None:
    values = np.random.default_rng(1).random(80)
    points, findings = said({"distance_swav": values - 0.1}, {"distance_swav": values})
    assert points[0].value == pytest.approx(0.1)
    assert findings[0].passed


def test_luck_of_both_sides_cancels_stimulus_by_stimulus() -> None:
    rng = np.random.default_rng(2)
    easy = rng.normal(0, 5, 60)  # how easy a stimulus is, far larger than the difference
    own, other = easy + 0.2 + rng.normal(0, 0.1, 60), easy
    assert said({"PixCorr": own}, {"PixCorr": other})[1][0].passed


def test_two_equal_systems_are_seldom_told_apart() -> None:
    passed = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values = {m: rng.random(50) for m in ("SSIM", "PixCorr", "two_way_x")}
        other = {m: rng.random(50) for m in values}
        passed += said(values, other)[1][0].passed
    assert passed <= 2


def test_without_a_lookup_nothing_is_said() -> None:
    rows = [scored("both", "SSIM", np.ones(4))]
    assert against_lookup(rows, ["both"], rng=np.random.default_rng(0)) == ([], [])
