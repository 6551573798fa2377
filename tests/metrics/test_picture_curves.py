"""Claims about the rows of feature networks in both readings, and about N-way curves."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
import torch

from mindeye.errors import DataError
from mindeye.metrics import identification as ident
from mindeye.metrics.curves import nway_curves, nway_points
from mindeye.metrics.features import FunctionExtractor
from mindeye.metrics.picture_rows import ReferenceImages, picture_rows
from mindeye.metrics.retrieval_rows import retrieval_rows
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.table import Scored
from mindeye.retrieval import expected_nway_success, ranks_from_scores, rounding

QUICK = Scoring(candidates=10, draws=4, resamples=200, shuffles=20)


def pictures(n: int = 24, seed: int = 0) -> torch.Tensor:
    coarse = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear")


@pytest.fixture(scope="module")
def rows() -> dict[str, Scored]:
    # every reconstruction is picture 0 plus a trace of its own picture: the readings differ
    seen = pictures()
    made = (0.7 * seen[:1] + 0.1 * seen + 0.2 * pictures(seed=1)).clamp(0, 1)
    flat = FunctionExtractor("flat", lambda x: x.flatten(1))
    far = FunctionExtractor("far", lambda x: x.flatten(1), "distance")
    found = picture_rows(
        "both",
        made,
        ReferenceImages(seen, [flat, far], None),
        rng=np.random.default_rng(0),
        scoring=QUICK,
    )
    return {one.row.metric: one for one in found}


def test_both_readings_stand_in_the_table_with_floor_interval_and_scores(
    rows: dict[str, Scored],
) -> None:
    assert list(rows) == [
        "PixCorr", "SSIM", "two_way_flat", "two_way_among_reconstructions_flat", "distance_far",
    ]  # fmt: skip
    code, text = rows["two_way_flat"], rows["two_way_among_reconstructions_flat"]
    assert text.row.value > code.row.value + 0.05
    assert "other reconstructions" in text.row.note
    for one in (code, text):
        assert one.row.chance == 0.5
        assert one.row.floor == pytest.approx(0.5, abs=0.05)
        assert one.row.low is not None
        assert one.row.high is not None
        assert one.row.low <= one.row.value <= one.row.high
        assert one.values is not None
        assert one.values.mean() == pytest.approx(one.row.value)


def test_features_of_the_pictures_seen_are_taken_once_for_all_systems() -> None:
    passes: list[int] = []

    def counted(images: torch.Tensor) -> torch.Tensor:
        passes.append(len(images))
        return images.flatten(1)

    seen = ReferenceImages(pictures(), [FunctionExtractor("flat", counted)], None)
    for system in ("low", "high", "both"):
        picture_rows(
            system, pictures(seed=2), seen, rng=np.random.default_rng(0), scoring=QUICK
        )  # fmt: skip
    assert len(passes) == 4


def test_curves_of_networks_begin_at_two_way_and_equal_the_exact_curve(
    rows: dict[str, Scored],
) -> None:
    points = nway_curves(list(rows.values()), rng=np.random.default_rng(0), scoring=QUICK)
    assert {p.metric for p in points} == {"two_way_flat", "two_way_among_reconstructions_flat"}
    seen = pictures()
    made = (0.7 * seen[:1] + 0.1 * seen + 0.2 * pictures(seed=1)).clamp(0, 1)
    for metric, reading in (
        ("two_way_flat", "ground_truths"),
        ("two_way_among_reconstructions_flat", "reconstructions"),
    ):
        curve = [p for p in points if p.metric == metric]
        assert [p.condition for p in curve] == ["2", "5", "10", "20"]  # there are 24 stimuli
        assert curve[0].value == pytest.approx(rows[metric].row.value)
        assert [p.chance for p in curve] == [1 / 2, 1 / 5, 1 / 10, 1 / 20]
        table = torch.from_numpy(ident.similarity_table(made.flatten(1), seen.flatten(1)))
        oriented = table if reading == "ground_truths" else table.T.contiguous()
        ranks = ranks_from_scores(oriented, tie_tolerance=rounding(table.dtype))
        expected = [expected_nway_success(ranks, 24, n).mean() for n in (2, 5, 10, 20)]
        np.testing.assert_allclose([p.value for p in curve], expected)


def test_curves_of_retrieval_come_from_its_ranks() -> None:
    rng = torch.Generator().manual_seed(0)
    image = torch.randn(60, 8, generator=rng)
    brain = image + torch.randn(60, 8, generator=rng)
    scored = retrieval_rows("mindeye", brain, image, rng=np.random.default_rng(0), scoring=QUICK)
    points = nway_curves(scored, rng=np.random.default_rng(0), scoring=QUICK)
    assert {p.metric for p in points} == {"brain_to_image_top1", "image_to_brain_top1"}
    ranks = next(o.values for o in scored if o.row.metric == "brain_to_image_median_rank")
    assert ranks is not None
    by_hand = np.mean([comb(59 - int(r), 9) / comb(59, 9) for r in ranks])
    at_ten = next(p for p in points if p.metric.startswith("brain") and p.condition == "10")
    assert at_ten.value == pytest.approx(by_hand)
    assert at_ten.low is not None
    assert at_ten.low < at_ten.value


def test_noise_lies_at_chance_all_along_the_curve() -> None:
    ranks = np.random.default_rng(0).permutation(np.repeat(np.arange(200), 5))[:1000] % 200
    for point in nway_points("noise", "x", ranks[:200] * 1.0, rng=np.random.default_rng(0)):
        assert point.chance is not None
        assert point.low is not None
        assert point.high is not None
        assert point.low - 0.02 <= point.chance <= point.high + 0.02


@pytest.mark.parametrize("bad", [np.nan, -1.0, 5.0])
def test_ranks_outside_the_gallery_are_refused(bad: float) -> None:
    with pytest.raises(DataError, match="between 0 and 4"):
        nway_points("s", "m", np.array([0, 1, 2, 3, bad]), rng=np.random.default_rng(0))
