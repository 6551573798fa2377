"""Claims about a metric of one's own: one entry, and it comes out right everywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mindeye.controls.references import against_lookup, floor_findings
from mindeye.errors import ConfigError, DataError
from mindeye.metrics.comparison import compare
from mindeye.metrics.picture_rows import ReferenceImages, picture_rows
from mindeye.metrics.registry import METRICS, Metric, metric
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.systems import LOOKUP
from mindeye.metrics.table import Row, Scored, read_rows, read_scores, write_table
from mindeye.reporting.build import render
from mindeye.reporting.data import ReportData, SubjectFacts

QUICK = Scoring(resamples=100, shuffles=20, slow_shuffles=4)
N = 24


def mean_error(drawn: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return (drawn - truth).abs().mean(dim=(1, 2, 3))


@pytest.fixture(params=["lower"])
def own(request: pytest.FixtureRequest) -> Iterator[Metric]:
    METRICS["LPIPS"] = Metric(
        "LPIPS", direction=request.param, chance=None, range=(0, 1), compute=mean_error
    )
    yield METRICS["LPIPS"]
    del METRICS["LPIPS"]


def images(noise: float) -> torch.Tensor:
    coarse = torch.rand(N, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    plain = torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear")
    drawn = noise * torch.randn(plain.shape, generator=torch.Generator().manual_seed(1))
    return (plain + drawn).clamp(0, 1)


def rows(system: str, noise: float) -> list[Scored]:
    seen = ReferenceImages(images(0), size=None)
    rng = np.random.default_rng(0)
    return picture_rows(system, images(noise), seen, rng=rng, scoring=QUICK)


def of(scored: list[Scored], name: str) -> Scored:
    (found,) = [one for one in scored if one.row.metric == name]
    return found


def compared(folder: Path) -> pd.Series[Any]:
    """Compare a good system (A) with a bad one (B)."""
    for name, noise in (("good", 0.05), ("bad", 0.4)):
        groups = [([f"s{i}" for i in range(N)], rows("both", noise))]
        write_table(groups, [], folder / name)
    table = compare(folder / "good", folder / "bad", resamples=200)
    return table.set_index("metric").loc["LPIPS"]


def test_it_is_in_the_table_with_floor_and_interval(own: Metric, tmp_path: Path) -> None:
    scored = rows("both", 0.1)
    write_table([([f"s{i}" for i in range(N)], scored)], [], tmp_path)
    row = next(r for r in read_rows(tmp_path / "metrics.json") if r.metric == "LPIPS")
    expected = mean_error(images(0.1), images(0)).double().numpy()
    assert row.value == pytest.approx(expected.mean(), abs=1e-6)
    assert row.low is not None
    assert row.floor is not None
    assert row.low < row.value < row.floor
    frame = read_scores(tmp_path)
    values = frame.loc[frame["metric"] == "LPIPS", "value"]
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_it_moves_no_other_number(own: Metric) -> None:
    with_it = {one.row.metric: one.row for one in rows("both", 0.1)}
    saved = METRICS.pop("LPIPS")
    without = {one.row.metric: one.row for one in rows("both", 0.1)}
    METRICS["LPIPS"] = saved
    assert {name: row for name, row in with_it.items() if name != "LPIPS"} == without


def test_a_comparison_knows_its_direction(own: Metric, tmp_path: Path) -> None:
    test = compared(tmp_path)
    assert test.lower_is_better
    assert test.difference < 0
    assert test.verdict == "A better"


@pytest.mark.parametrize("own", ["higher"], indirect=True)
def test_a_flipped_direction_flips_the_verdict(own: Metric, tmp_path: Path) -> None:
    assert compared(tmp_path).verdict == "B better"


@pytest.mark.parametrize(("own", "passed"), [("lower", True), ("higher", False)], indirect=["own"])
def test_controls_know_its_direction(own: Metric, passed: bool) -> None:
    good, bad = of(rows("both", 0.1), "LPIPS"), of(rows(LOOKUP, 0.4), "LPIPS")
    rng = np.random.default_rng(0)
    points, findings = against_lookup([good, bad], ["both"], rng=rng, scoring=QUICK)
    assert (points[0].value > 0) is passed
    assert [one.passed for one in findings] == [passed]
    assert [one.passed for one in floor_findings([good])] == [passed]


def page(found: list[Row]) -> str:
    grey = np.zeros((N, 8, 8, 3), np.uint8)
    facts = SubjectFacts("s", "synthetic", simulated=True)
    return render(ReportData("t", facts, grey, None, rows=found))


def test_the_page_shows_it_with_its_direction(own: Metric) -> None:
    found = [one.row for one in rows("both", 0.1)]
    html = page([row for row in found if row.metric == "LPIPS"])
    assert "LPIPS (lower is better)" in html
    assert f"{of(rows('both', 0.1), 'LPIPS').row.value:.3f}" in html


def test_a_page_of_a_metric_that_is_no_longer_known_still_opens(own: Metric) -> None:
    found = [one.row for one in rows("both", 0.1)]
    del METRICS["LPIPS"]
    assert "Lpips" in page(found)
    METRICS["LPIPS"] = own


def test_a_metric_that_is_not_known_is_not_compared(own: Metric, tmp_path: Path) -> None:
    compared(tmp_path)
    del METRICS["LPIPS"]
    table = compare(tmp_path / "good", tmp_path / "bad", resamples=200)
    METRICS["LPIPS"] = own
    assert "LPIPS" not in set(table.metric)
    assert any("LPIPS" in one and "METRICS" in one for one in table.attrs["left_out"])


def test_what_makes_no_metric_is_refused_in_one_line(own: Metric) -> None:
    with pytest.raises(ConfigError, match="better: direction is 'up'"):
        Metric("better", direction="up")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="range"):
        Metric("better", direction="lower", range=(1, 0))
    METRICS["LPIPS"] = dataclasses.replace(own, compute=lambda drawn, truth: drawn.mean())
    with pytest.raises(DataError, match="LPIPS: compute must return one finite score an image"):
        rows("both", 0.1)


def test_families_and_entries_are_told_apart() -> None:
    assert metric("two_way_among_reconstructions_swav").family == "two_way_among_reconstructions"
    assert metric("two_way_swav").title == "Two-way, SwAV"
    assert metric("distance_my_net").title == "Distance, my net"
    assert not metric("brain_to_image_top1").family
    with pytest.raises(DataError, match="not known"):
        metric("distances")
