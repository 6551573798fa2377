"""Claims about what the page shows, read from its parts."""

from __future__ import annotations

import base64
import dataclasses
import io
import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_run
import torch
from PIL import Image

from mindeye.data.images import to_pictures
from mindeye.errors import DataError
from mindeye.metrics.evaluate import evaluate
from mindeye.metrics.table import Row, Scored, write_table
from mindeye.reporting import names, pictures
from mindeye.reporting.build import build_report, flattened, render
from mindeye.reporting.data import ReportData, SubjectFacts
from mindeye.reporting.figures.curves import cumulative_match, curve_panels
from mindeye.reporting.figures.dots import dot_panel, dot_panels
from mindeye.reporting.headline import headline_tiles
from mindeye.runs.report import report


@pytest.fixture(scope="module")
def data() -> ReportData:
    return synthetic_run.coloured(30)


def row(metric: str = "SSIM", system: str = "both", **changes: object) -> Row:
    fields = {"value": 0.4, "low": 0.3, "high": 0.5, "n": 10, "chance": None, "floor": 0.2}
    return Row(metric, system, **(fields | changes))  # type: ignore[arg-type]


def test_stimuli_are_chosen_by_rank_alone() -> None:
    ranks = np.array([5, 0, 9, 2, 7, 1, 8, 3, 4])
    groups = pictures.selected_by_rank(ranks, 2)
    assert {name: ranks[i].tolist() for name, i in groups.items()} == {
        "Best": [0, 1],
        "Median": [3, 4],
        "Worst": [8, 9],
    }


def test_ties_are_shown_in_the_order_of_the_stimuli() -> None:
    assert pictures.selected_by_rank(np.zeros(9), 3)["Best"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("n", [3, 4, 7, 10, 100])
def test_groups_never_share_a_stimulus(n: int) -> None:
    groups = pictures.selected_by_rank(np.random.default_rng(0).permutation(n), 4)
    shown = np.concatenate(list(groups.values()))
    assert len(set(shown.tolist())) == len(shown)
    assert len({len(g) for g in groups.values()}) == 1


def test_small_pictures_come_through_without_loss() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    uri = pictures.picture(image, "x").uri
    assert uri.startswith("data:image/png;base64,")
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
    assert np.array_equal(decoded, image)


def test_floats_become_codes_without_wrapping_around() -> None:
    images = torch.tensor([-0.2, 0.0, 0.5, 1.0, 1.3])[:, None, None, None].expand(5, 3, 2, 1)
    codes = to_pictures(images)
    assert codes.shape == (5, 2, 1, 3)
    assert codes[:, 0, 0, 0].tolist() == [0, 0, 128, 255, 255]


def test_large_pictures_are_made_small() -> None:
    image = np.random.default_rng(0).integers(0, 256, (425, 425, 3), dtype=np.uint8)
    uri = pictures.picture(image, "x").uri
    assert Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).size == (256, 256)
    assert len(uri) < 200_000


def test_only_coarse_pictures_are_drawn_with_hard_pixels() -> None:
    assert pictures.picture(np.zeros((28, 28), np.uint8), "digit").pixelated
    assert not pictures.picture(np.zeros((64, 64, 3), np.uint8), "scene").pixelated


def test_the_truth_is_marked_where_it_was_retrieved_and_missed_where_not(data: ReportData) -> None:
    assert data.retrieved is not None
    marked = 0
    for group in pictures.retrieval_groups(data):
        for line in group.lines:
            i = int(line.stimulus)
            expected = [match == i for match in data.retrieved[i]]
            assert [p.is_truth for p in line.pictures[1:]] == expected
            assert bool(line.note) == (not any(expected))
            marked += sum(expected)
    assert marked > 0


def test_a_gallery_of_its_own_is_looked_up_by_truth(data: ReportData) -> None:
    gallery = np.concatenate([np.full_like(data.seen[:5], 7), data.seen])
    moved = dataclasses.replace(
        data, gallery=gallery, truth=np.arange(30) + 5, retrieved=np.tile([0, 1, 5], (30, 1))
    )
    lines = {line.stimulus: line for g in pictures.retrieval_groups(moved) for line in g.lines}
    for stimulus, line in lines.items():
        assert [p.is_truth for p in line.pictures[1:]] == [False, False, stimulus == "0"]


def test_marks_stand_where_the_numbers_say() -> None:
    panel = dot_panel(
        [row("two_way_alexnet2", value=0.9, low=0.8, high=0.95, chance=0.5, floor=0.49, ceiling=1)]
    )
    dot = panel.dots[0]
    marks = (dot.at, dot.low, dot.high, dot.floor, dot.ceiling, panel.chance)
    assert marks == (90, 80, 95, 49, 100, 50)
    assert "chance 50.0%" in dot.summary


def test_an_axis_holds_every_mark() -> None:
    panel = dot_panel([row(value=-0.12, low=-0.2, high=0.03, floor=0.0, ceiling=0.41)])
    ticks = [float(t.label.replace("−", "-")) for t in panel.ticks]
    assert ticks[0] <= -0.2
    assert ticks[-1] >= 0.41
    assert 0.0 in ticks


def test_unknown_scores_leave_no_mark() -> None:
    dot = dot_panel([row(low=None, high=None, ceiling=None)]).dots[0]
    assert (dot.low, dot.high, dot.ceiling) == (None, None, None)


def test_both_directions_of_a_metric_follow_each_other(data: ReportData) -> None:
    metrics = [p.metric for p in dot_panels(data.rows) if p.group == "retrieval"]
    assert [m.replace("image_to_brain", "x") for m in metrics[1::2]] == [
        m.replace("brain_to_image", "x") for m in metrics[::2]
    ]


def test_train_and_validation_share_a_panel() -> None:
    panels = curve_panels(synthetic_run.curves())
    labels = {p.title: [c.label for c in p.curves] for p in panels}
    assert labels["High contrastive"] == ["train", "validation"]
    assert labels["High brain to image top1"] == ["validation"]


def test_values_that_are_not_finite_are_counted_not_drawn() -> None:
    points = [{"step": i, "name": "train/loss", "value": v} for i, v in enumerate([3, 2, 1])]
    points.append({"step": 3, "name": "train/loss", "value": float("nan")})
    (panel,) = curve_panels(points)
    assert "1 value not finite" in panel.note
    assert len(panel.curves[0].points.split()) == 3


def test_long_curves_are_thinned_but_keep_their_shape() -> None:
    points = [{"step": i, "name": "loss", "value": i} for i in range(10_000)]
    (panel,) = curve_panels(points)
    ys = [float(p.split(",")[1]) for p in panel.curves[0].points.split()]
    assert len(ys) <= 400
    assert all(a > b for a, b in itertools.pairwise(ys))


def test_the_cumulative_curve_starts_at_top1_and_ends_at_all() -> None:
    panel = cumulative_match(np.array([0, 0, 0, 4, 9]), 10)
    ys = [100 - float(p.split(",")[1]) for p in panel.curves[1].points.split()]
    assert ys[0] == pytest.approx(60)
    assert ys[-1] == pytest.approx(100)


def test_tiles_prefer_the_papers_network_to_the_encoder_in_use(data: ReportData) -> None:
    clip = row("two_way_clip_vit_l14", value=0.9, low=0.8, high=0.95, chance=0.5)
    tiles = headline_tiles(dataclasses.replace(data, rows=[*data.rows, clip]))
    assert [t.title for t in tiles] == [
        "Brain → image, top\u00a01 of 30",
        "Image → brain, top\u00a01 of 30",
        "Two-way, CLIP ViT-L/14",
        "SSIM",
    ]


def test_every_tile_names_interval_chance_floor_ceiling_and_n(data: ReportData) -> None:
    for tile in headline_tiles(data):
        labels = [label for label, _ in tile.facts]
        assert labels[:4] == ["95% interval", "chance", "floor", "ceiling"]
        assert "n" in labels[4:]


def test_text_from_the_run_is_escaped(data: ReportData) -> None:
    evil = "<script>alert(1)</script>"
    page = render(
        dataclasses.replace(
            data,
            title=evil,
            problems=[evil],
            configuration={evil: evil},
            missing=[{"metric": evil, "why": evil, "how": evil}],
            stimulus_ids=[f'"><img src=x onerror=alert({i})>' for i in range(30)],
        )
    )
    assert "<script" not in page
    assert "<img src=x" not in page


def test_a_simulated_brain_is_called_one_before_the_title(data: ReportData) -> None:
    head, _, _ = render(data).partition("<h1>")
    assert "computed, not measured" in head
    real = dataclasses.replace(data, subject=SubjectFacts("subj01", "NSD", simulated=False))
    assert "computed, not measured" not in render(real)


def test_problems_come_before_the_numbers(data: ReportData) -> None:
    page = render(dataclasses.replace(data, problems=["The alignment self-test failed."]))
    assert page.index("self-test failed") < page.index('class="tiles"')


def test_a_run_without_pictures_rows_or_curves_still_has_a_page(data: ReportData) -> None:
    page = render(ReportData("Bare", data.subject, data.seen, data.ranks))
    assert 'id="pictures"' not in page
    assert 'id="metrics"' not in page
    assert 'id="run"' in page


def test_the_same_data_gives_the_same_page(data: ReportData, tmp_path: Path) -> None:
    first = build_report(data, tmp_path / "a.html").read_bytes()
    assert build_report(data, tmp_path / "b").read_bytes() == first
    assert (tmp_path / "b" / "report.html").is_file()


def test_the_page_refers_to_nothing_outside(data: ReportData) -> None:
    page = render(data)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "url(" not in page
    assert "@import" not in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ranks": np.zeros(29)}, "ranks has 29 entries for 30"),
        ({"pictures": {"low": np.zeros((30, 8, 8, 3))}}, "pictures of low must be uint8"),
        ({"pictures": {"low": np.zeros((4, 8, 8, 3), np.uint8)}}, "4 images for 30"),
        ({"retrieved": np.full((30, 2), 30)}, "outside the gallery"),
        ({"ranks": np.full(30, np.nan)}, "NaN"),
    ],
)
def test_data_that_does_not_fit_together_is_refused(
    data: ReportData, change: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        dataclasses.replace(data, **change)


def test_numbers_and_names_are_written_for_people() -> None:
    assert names.number(0.9312, "share") == "93.1%"
    assert names.number(-0.05, "decimal") == "−0.050"
    assert names.number(None, "share") == "–"
    assert [names.duration(s) for s in (0.42, 59.7, 200, 7500)] == [
        "0.4 s", "1 min 00 s", "3 min 20 s", "2 h 05 min"
    ]  # fmt: skip
    assert names.described("two_way_zoo_clip").title == "Two-way, zoo clip"
    assert flattened({"a": {"b": 1, "c": {}}}) == [("a.b", "1"), ("a.c", "{}")]


def test_scores_without_a_run_have_a_page(data: ReportData, tmp_path: Path) -> None:
    rows = [one for one in data.rows if one.metric in ("SSIM", "PixCorr")]
    write_table([([], [Scored(one, None) for one in rows])], [], tmp_path)
    table = pd.read_csv(tmp_path / "metrics.csv")
    page = report(table, tmp_path / "scores.html").read_text()
    assert 'id="metrics"' in page
    assert 'id="pictures"' not in page
    assert "brain" not in page.partition("<h1>")[0].lower()
    assert page == render(ReportData("Scores", rows=rows))
    with pytest.raises(DataError, match="needs a path"):
        report(table)


def test_a_folder_of_scores_has_a_page_beside_its_tables(data: ReportData, tmp_path: Path) -> None:
    scored = [Scored(one, None) for one in data.rows if one.metric == "SSIM"]
    write_table([([], scored)], [], tmp_path, settings={"seed": 3, "level": 0.9})
    page = report(tmp_path)
    assert page == tmp_path / "report.html"
    assert "90% interval" in page.read_text()
    with pytest.raises(DataError, match="score the folder"):
        report(tmp_path / "elsewhere")


def test_the_table_of_evaluate_has_a_page(tmp_path: Path) -> None:
    seen = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    table = evaluate(255 - seen, seen, networks=(), size=None, resamples=20)
    page = report(table, tmp_path).read_text()
    assert "Scores of 1 system on 4 test pictures." in page
