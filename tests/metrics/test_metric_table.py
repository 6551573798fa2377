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
from mindeye.metrics.features import FunctionExtractor, Missing
from mindeye.metrics.picture_rows import ReferenceImages, picture_rows
from mindeye.metrics.registry import metric
from mindeye.metrics.retrieval_rows import retrieval_rows, rows_from_scores
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.table import (
    Row,
    Scored,
    read_rows,
    read_scores,
    write_table,
)

QUICK = Scoring(candidates=20, draws=10, resamples=200, shuffles=50, slow_shuffles=2)


def embeddings(noise: float, n: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    image = torch.randn(n, 16, generator=rng)
    return image + noise * torch.randn(n, 16, generator=rng), image


def by_name(scored: list[Scored]) -> dict[str, Row]:
    return {one.row.metric: one.row for one in scored}


def retrieval(noise: float, seed: int = 0) -> list[Scored]:
    return retrieval_rows(
        "mindeye", *embeddings(noise), rng=np.random.default_rng(seed), scoring=QUICK
    )


def test_both_directions_are_reported_by_name() -> None:
    kinds = ("top1", "full_top1", "full_top5", "full_top10", "median_rank")
    assert [one.row.metric for one in retrieval(1.0)] == [
        f"{direction}_{kind}"
        for direction in ("brain_to_image", "image_to_brain")
        for kind in kinds
    ]


def test_every_row_has_value_inside_interval_and_floor_near_chance() -> None:
    for row, _ in retrieval(1.0):
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
    rows = retrieval_rows("ridge", *embeddings(1.0), rng=np.random.default_rng(0))
    top1 = by_name(rows)["brain_to_image_top1"]
    assert top1.chance == pytest.approx(1 / 50)
    assert "50 candidates" in top1.note
    assert top1.value == by_name(rows)["brain_to_image_full_top1"].value


def test_same_seed_gives_the_same_bits() -> None:
    assert by_name(retrieval(1.0, seed=4)) == by_name(retrieval(1.0, seed=4))
    assert by_name(retrieval(1.0, seed=4)) != by_name(retrieval(1.0, seed=5))


def test_a_score_matrix_is_read_as_brains_by_pictures() -> None:
    # every brain prefers its own picture; picture 1 is liked best by brain 0
    scores = torch.tensor([[3.0, 2.0], [0.0, 1.0]])
    rows = by_name(
        rows_from_scores("ideal_observer", scores, rng=np.random.default_rng(0), scoring=QUICK)
    )
    assert rows["brain_to_image_full_top1"].value == 1.0
    assert rows["image_to_brain_full_top1"].value == 0.5


def test_ceilings_reach_their_rows_only() -> None:
    rows = by_name(
        retrieval_rows(
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
        picture_rows(
            "both",
            (pictures() + 0.1).clamp(0, 1),
            ReferenceImages(pictures(), [mini, far], size=32),
            rng=np.random.default_rng(0),
            scoring=QUICK,
            k=4,
        )
    )
    among = "two_way_among_reconstructions_zoo_clip"
    assert list(rows) == ["PixCorr", "SSIM", "two_way_zoo_clip", among, "distance_tiny"]
    for name in ("PixCorr", "SSIM", "two_way_zoo_clip"):
        assert rows[name].floor is not None
        assert rows[name].value > rows[name].floor + 0.2
    assert rows["distance_tiny"].value < 0.3
    assert rows["two_way_zoo_clip"].chance == 0.5
    assert rows["PixCorr"].chance is None
    assert {row.k for row in rows.values()} == {4}


IDS = [f"s{i}" for i in range(50)]


def test_the_table_survives_the_round_trip_and_names_what_is_missing(tmp_path: Path) -> None:
    scored = retrieval(1.0)
    beside = dataclasses.replace(scored[0].row, references={"noise_ceiling": 0.5}, k=3)
    scored = [scored[0]._replace(row=beside), *scored[1:]]
    missing = [Missing("swav", "no weights", "fetch them")]
    write_table([(IDS, scored)], missing, tmp_path, settings={"n_candidates": 20})
    assert read_rows(tmp_path / "metrics.json") == [one.row for one in scored]
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["missing"] == [
        {"metric": "distance_swav", "why": "no weights", "how": "fetch them"}
    ]
    assert content["n_candidates"] == 20
    assert content["versions"]["image_to_brain_top1"] == metric("image_to_brain_top1").version
    frame = pd.read_csv(tmp_path / "metrics.csv")
    assert frame["value"].tolist() == pytest.approx([one.row.value for one in scored])
    assert (frame["noise_ceiling"][0], frame["k"][0]) == (0.5, 3)
    assert frame["noise_ceiling"].isna().sum() == len(scored) - 1
    names = ["metrics.csv", "metrics.json", "scores.csv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_rows_are_the_means_of_the_scores_that_are_written_per_stimulus(tmp_path: Path) -> None:
    scored = retrieval(1.0)  # pools of 20 of 50: a stimulus that no pool held has no score
    write_table([(IDS, scored)], [], tmp_path)
    frame = read_scores(tmp_path)
    for row, _ in scored:
        values = frame.loc[frame["metric"] == row.metric, "value"]
        assert len(values) == row.n
        middle = values.median() if "median" in row.metric else values.mean()
        assert middle == pytest.approx(row.value, abs=1e-12)


def test_a_metric_without_a_definition_has_no_version() -> None:
    assert metric("two_way_among_reconstructions_swav").version == 1
    with pytest.raises(DataError, match="FID"):
        metric("FID")


def test_a_failed_write_leaves_the_old_table(tmp_path: Path) -> None:
    scored = retrieval(1.0)
    write_table([(IDS, scored)], [], tmp_path)
    before = (tmp_path / "metrics.json").read_bytes()
    nan = dataclasses.replace(scored[0].row, metric="SSIM", value=float("nan"))
    strange = dataclasses.replace(scored[0].row, metric="SSIM", references={"luck": 1.0})
    for wrong, said in (
        (scored[0]._replace(row=nan), "SSIM of mindeye"),
        (scored[0]._replace(row=strange), "luck"),
        (scored[0], "twice"),
        (scored[0]._replace(values=np.zeros(3)), "3 scores|twice"),
    ):
        with pytest.raises(DataError, match=said):
            write_table([(IDS, [*scored, wrong])], [], tmp_path)
    assert (tmp_path / "metrics.json").read_bytes() == before
