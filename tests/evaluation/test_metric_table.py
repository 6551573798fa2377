"""Claims about the tidy table."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mindeye.errors import DataError
from mindeye.evaluation import suite
from mindeye.evaluation.features import FunctionExtractor, Missing

QUICK = suite.Scoring(candidates=20, draws=10, resamples=200, shuffles=50, slow_shuffles=2)


def embeddings(noise: float, n: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    image = torch.randn(n, 16, generator=rng)
    return image + noise * torch.randn(n, 16, generator=rng), image


def by_name(rows: list[suite.Row]) -> dict[str, suite.Row]:
    return {row.metric: row for row in rows}


def retrieval(noise: float, seed: int = 0) -> list[suite.Row]:
    return suite.retrieval_rows(
        "mindeye", *embeddings(noise), rng=np.random.default_rng(seed), scoring=QUICK
    )


def test_both_directions_are_reported_by_name() -> None:
    kinds = ("top1", "full_top1", "full_top5", "median_rank")
    assert [row.metric for row in retrieval(1.0)] == [
        f"{direction}_{kind}"
        for direction in ("brain_to_image", "image_to_brain")
        for kind in kinds
    ]


def test_every_row_has_value_inside_interval_and_floor_near_chance() -> None:
    for row in retrieval(1.0):
        assert row.low is not None
        assert row.high is not None
        assert row.low <= row.value <= row.high
        assert row.chance is not None
        assert row.floor is not None
        assert abs(row.floor - row.chance) < 0.15 * (25 if "rank" in row.metric else 1)


def test_a_better_decoder_scores_higher_and_ranks_lower() -> None:
    good, bad = by_name(retrieval(0.5)), by_name(retrieval(3.0))
    for name, row in good.items():
        assert (row.value < bad[name].value) == ("rank" in name)


def test_pools_shrink_to_the_stimuli_there_are_and_the_row_says_so() -> None:
    rows = suite.retrieval_rows("ridge", *embeddings(1.0), rng=np.random.default_rng(0))
    top1 = by_name(rows)["brain_to_image_top1"]
    assert top1.chance == pytest.approx(1 / 50)
    assert "50 candidates" in top1.note
    assert top1.value == by_name(rows)["brain_to_image_full_top1"].value


def test_same_seed_gives_the_same_bits() -> None:
    assert retrieval(1.0, seed=4) == retrieval(1.0, seed=4)
    assert retrieval(1.0, seed=4) != retrieval(1.0, seed=5)


def test_a_score_matrix_is_read_as_brains_by_pictures() -> None:
    # every brain prefers its own picture; picture 1 is liked best by brain 0
    scores = torch.tensor([[3.0, 2.0], [0.0, 1.0]])
    rows = by_name(
        suite.rows_from_scores(
            "ideal_observer", scores, rng=np.random.default_rng(0), scoring=QUICK
        )
    )
    assert rows["brain_to_image_full_top1"].value == 1.0
    assert rows["image_to_brain_full_top1"].value == 0.5


def test_ceilings_reach_their_rows_only() -> None:
    rows = by_name(
        suite.retrieval_rows(
            "mindeye",
            *embeddings(1.0),
            rng=np.random.default_rng(0),
            scoring=QUICK,
            ceiling={"brain_to_image_top1": 0.97},
        )
    )
    assert rows["brain_to_image_top1"].ceiling == 0.97
    assert rows["image_to_brain_top1"].ceiling is None


def pictures(n: int = 12) -> torch.Tensor:
    coarse = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear")


def test_picture_rows_name_the_encoder_in_use_and_beat_their_floor() -> None:
    mini = FunctionExtractor("zoo_clip", lambda x: x.flatten(1))
    far = FunctionExtractor("tiny", lambda x: x.flatten(1), "distance")
    rows = by_name(
        suite.picture_rows(
            "both",
            (pictures() + 0.1).clamp(0, 1),
            pictures(),
            [mini, far],
            rng=np.random.default_rng(0),
            scoring=QUICK,
            size=32,
        )
    )
    assert list(rows) == ["PixCorr", "SSIM", "two_way_zoo_clip", "distance_tiny"]
    for name in ("PixCorr", "SSIM", "two_way_zoo_clip"):
        assert rows[name].floor is not None
        assert rows[name].value > rows[name].floor + 0.2
    assert rows["distance_tiny"].value < 0.3
    assert rows["two_way_zoo_clip"].chance == 0.5
    assert rows["PixCorr"].chance is None


def test_the_table_survives_the_round_trip_and_names_what_is_missing(tmp_path: Path) -> None:
    rows = retrieval(1.0)
    suite.write_table(rows, [Missing("swav", "no weights", "fetch them")], tmp_path, scoring=QUICK)
    assert suite.read_rows(tmp_path / "metrics.json") == rows
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["missing"] == [
        {"metric": "distance_swav", "why": "no weights", "how": "fetch them"}
    ]
    assert content["n_candidates"] == 20
    frame = pd.read_csv(tmp_path / "metrics.csv")
    assert frame["value"].tolist() == pytest.approx([row.value for row in rows])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.csv", "metrics.json"]


def test_a_failed_write_leaves_the_old_table(tmp_path: Path) -> None:
    rows = retrieval(1.0)
    suite.write_table(rows, [], tmp_path)
    before = (tmp_path / "metrics.json").read_bytes()
    broken = dataclasses.replace(rows[0], metric="other", value=float("nan"))
    with pytest.raises(DataError, match="other of mindeye"):
        suite.write_table([*rows, broken], [], tmp_path)
    with pytest.raises(DataError, match="twice"):
        suite.write_table([*rows, rows[0]], [], tmp_path)
    assert (tmp_path / "metrics.json").read_bytes() == before
