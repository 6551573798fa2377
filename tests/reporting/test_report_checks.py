"""Claims about what a sceptic is shown: warnings, references, figures of controls."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import pytest
import synthetic_controls
import synthetic_run

from mindeye.errors import DataError
from mindeye.metrics.points import Finding, Point, write_controls
from mindeye.metrics.systems import marked_references, references, system
from mindeye.metrics.table import Row
from mindeye.reporting import names
from mindeye.reporting.build import render
from mindeye.reporting.checklist import checklist, headline_problems, plain
from mindeye.reporting.data import ReportData
from mindeye.reporting.evidence import evidence, lookups
from mindeye.reporting.figures.axes import spread
from mindeye.reporting.figures.dots import dot_panels
from mindeye.reporting.headline import headline_tiles
from mindeye.reporting.score_table import score_table
from mindeye.runs.report import controls


@pytest.fixture(scope="module")
def data() -> ReportData:
    return synthetic_run.coloured(30)


@pytest.fixture(scope="module")
def page(data: ReportData) -> str:
    return render(data)


def finding(system: str = "mindeye", *, passed: bool = False, **changes: str) -> Finding:
    fields = {"control": "same_cluster_of_pictures", "text": "tells clusters apart."} | changes
    return Finding(system=system, passed=passed, **fields)


def point(condition: str, value: float, control: str = "nway", **changes: object) -> Point:
    fields = {
        "system": "mindeye", "metric": "brain_to_image_top1", "low": None, "high": None, "n": 30,
    }  # fmt: skip
    return Point(control, condition, value=value, **(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("system", ["mindeye", "both", "high", ""])
def test_a_warning_of_the_run_itself_reaches_the_headline(data: ReportData, system: str) -> None:
    page = render(dataclasses.replace(data, findings=[*data.findings, finding(system)]))
    head, _, rest = page.partition('class="tiles"')
    assert "tells clusters apart." in head
    assert "tells clusters apart." in rest


@pytest.mark.parametrize("system", ["ridge", "knn", "mean_picture", "ceiling_vae"])
def test_a_warning_of_another_system_stays_in_its_section(data: ReportData, system: str) -> None:
    page = render(dataclasses.replace(data, findings=[*data.findings, finding(system)]))
    head, _, rest = page.partition('class="tiles"')
    assert "tells clusters apart." not in head
    assert "tells clusters apart." in rest


def test_a_finding_without_a_warning_is_no_problem() -> None:
    assert headline_problems([finding(passed=True)]) == []


def test_many_warnings_do_not_bury_the_headline() -> None:
    found = headline_problems([finding(text=f"{i} is wrong.") for i in range(9)])
    assert len(found) == 5
    assert found[-1].startswith("5 more")


def test_questions_with_a_warning_come_first() -> None:
    checks = checklist(
        [
            finding(control="shuffled_pairs", passed=True),
            finding(control="collapse"),
            finding(control="trials_averaged", passed=True),
        ]
    )
    assert [c.control for c in checks] == ["collapse", "shuffled_pairs", "trials_averaged"]
    assert [c.mark for c in checks] == ["warning", "passed", "passed"]


def test_a_warning_is_never_folded_away_behind_sentences_without_one() -> None:
    passed = [finding(system, passed=True) for system in ("mindeye", "both", "ridge", "knn")]
    (check,) = checklist([*passed, finding("high", text="looks up.")])
    assert check.mark == "warning"
    assert "looks up." in [s.text for s in check.shown]
    assert len(check.shown) + len(check.folded) == 5


def test_a_baselines_warning_does_not_mark_the_runs_own_question() -> None:
    (check,) = checklist([finding(passed=True), finding("ridge", text="collapsed.")])
    assert check.mark == "passed"
    assert [s.mark for s in check.shown] == ["passed", "warning"]


def test_a_picture_that_never_saw_a_brain_is_said_to_be_caught() -> None:
    (check,) = checklist([finding(passed=True), finding("mean_picture")])
    assert check.mark == "passed"
    (caught,) = [s for s in (*check.shown, *check.folded) if s.mark == "caught"]
    assert "never saw a brain" in caught.text


def test_sentences_call_metrics_as_the_page_does() -> None:
    text = plain("two_way_among_reconstructions_swav falls by -0.1; brain_to_image does not.")
    assert text == "“Two-way among reconstructions, SwAV” falls by −0.1; “Brain → image” does not."


def test_the_other_reading_of_two_way_is_no_network_of_its_own() -> None:
    name = names.described("two_way_among_reconstructions_alexnet5")
    assert name.title == "Two-way among reconstructions, AlexNet, layer 5"
    assert name.group == "more_pictures"
    assert names.described("two_way_alexnet5").group == "pictures"


def test_every_reference_of_the_table_has_words() -> None:
    marks = marked_references()
    assert set(references()) <= set(marks)
    letters = [one.letter for one in marks.values()]
    assert len(set(letters)) == len(letters)


def test_references_are_marks_and_not_systems(data: ReportData) -> None:
    panels = {p.metric: p for p in dot_panels(data.rows)}
    retrieval = panels["brain_to_image_full_top1"]
    assert [d.label for d in retrieval.dots] == ["MindEye", "Backbone only", "Ridge"]
    assert {m.letter for m in retrieval.references} == set("RDSNI")
    drawn = panels["SSIM"]
    assert [d.label for d in drawn.dots] == ["Low level", "High level", "Both"]
    assert {m.letter for m in drawn.references} == set("RMDSG")
    row = next(r for r in data.rows if (r.metric, r.system) == ("SSIM", "random_training"))
    mark = next(m for m in drawn.references if m.letter == "R")
    last = float(drawn.ticks[-1].label)
    assert mark.at == pytest.approx(100 * row.value / last, abs=0.01)


def test_a_metric_of_references_alone_still_has_its_panel() -> None:
    row = Row("SSIM", "random_training", 0.2, None, None, 9, None, None)
    (panel,) = dot_panels([row])
    assert [d.label for d in panel.dots] == ["Random training picture"]


@pytest.mark.parametrize(
    "places", [[0, 0, 0], [50, 51, 52, 90], [99, 100, 100, 100], [3, 40, 41, 44, 46, 97, 98]]
)
def test_letters_never_overlap_and_keep_their_order(places: list[float]) -> None:
    moved = spread(places, 6)
    assert all(b - a >= 6 - 0.02 for a, b in itertools.pairwise(moved))
    assert min(moved) >= 0
    assert max(moved) <= 100


def test_letters_with_room_stay_where_they_are() -> None:
    assert spread([80, 10, 40], 6) == [80, 10, 40]


def test_every_row_stands_beside_k_chance_floor_and_what_else_would_score(
    data: ReportData,
) -> None:
    table = score_table(data.rows)
    assert table.count == len(data.rows) == sum(len(g.rows) for g in table.groups)
    assert {len(r.cells) + 1 for g in table.groups for r in g.rows} == {table.width}
    group = next(g for g in table.groups if g.metric == "SSIM")
    both = {c.label: c.text for r in group.rows if r.system == "Both" for c in r.cells}
    row = next(r for r in data.rows if (r.metric, r.system) == ("SSIM", "both"))
    assert both["k"] == "4"
    assert both["Chance"] == "–"
    assert both["Shuffled pairs"] == f"{row.floor:.3f}"
    assert both["nearest to decoded"] == f"{row.references['nearest_training_predicted']:.3f}"
    assert both["generator from truth"] == f"{row.references['generator_from_truth']:.3f}"
    own = {c.label: c.text for r in group.rows if r.system.startswith("Random") for c in r.cells}
    assert own["random"] == "–"


def test_tiles_say_what_a_lookup_scores_and_how_many_were_drawn(data: ReportData) -> None:
    facts = [dict(tile.facts) for tile in headline_tiles(data)]
    assert all("lookup" in fact for fact in facts)
    assert [fact.get("candidates") for fact in facts] == [None, None, "4", "4"]


def test_every_control_of_the_run_has_its_figure_and_what_to_expect(data: ReportData) -> None:
    found = {one.control: one for one in evidence(data.points, data.rows)}
    assert set(found) == {
        "nearest_training", "same_cluster", "trials_averaged", "collapse", "nway", "regions",
        "candidates",
    }  # fmt: skip
    assert all(one.expected for one in found.values())
    labels = [d.label for d in found["regions"].figures.panels[0].dots]
    assert labels[:4] == ["all voxels", "early alone", "random, as early", "without early"]
    assert [d.label for d in found["candidates"].figures.panels[0].dots] == [
        "k = 1, no choice", "picked of 4", "best by the truth"
    ]  # fmt: skip
    assert [t.label for t in found["trials_averaged"].figures.curves[0].x_ticks] == ["1", "2", "3"]
    near = [d.label for d in found["nearest_training"].figures.panels[0].dots]
    assert near == ["all pictures", "nearest third", "middle third", "farthest third"]


def test_metrics_that_a_lookup_wins_are_named() -> None:
    def row(metric: str, value: float, lookup: float) -> Row:
        return Row(
            metric, "both", value, None, None, 9, None, None,
            references={"nearest_training_predicted": lookup},
        )  # fmt: skip

    rows = [row("SSIM", 0.5, 0.4), row("two_way_swav", 0.8, 0.9), row("distance_x", 0.3, 0.2)]
    (line,) = lookups(rows)
    assert "on 1 of 3 metrics; not on Two-way, SwAV (80.0%, lookup 90.0%); Distance, x" in line


def test_top_1_of_all_is_folded_only_where_the_pool_is_all() -> None:
    def groups(rows: list[Row]) -> dict[str, str]:
        return {p.metric: p.group for p in dot_panels(rows)}

    pool = Row("brain_to_image_top1", "mindeye", 0.5, None, None, 9, None, None)
    full = dataclasses.replace(pool, metric="brain_to_image_full_top1")
    assert groups([pool, full])["brain_to_image_full_top1"] == "more_retrieval"
    other = dataclasses.replace(full, value=0.4)
    assert groups([pool, other])["brain_to_image_full_top1"] == "retrieval"
    assert groups([full])["brain_to_image_full_top1"] == "retrieval"


def test_the_nway_curve_stands_where_the_numbers_say() -> None:
    points = [
        point(str(n), value, chance=1 / n, low=value - 0.1, high=value + 0.1)
        for n, value in ((2, 0.9), (20, 0.7), (200, 0.5))
    ]
    (one,) = evidence(points, [])
    chance, line = one.figures.curves[0].curves
    assert line.points == "0.00,10.00 50.00,30.00 100.00,50.00"  # log scale
    assert chance.points == "0.00,50.00 50.00,95.00 100.00,99.50"
    assert line.band.split()[0] == "0.00,20.00"


def test_a_control_that_is_not_known_is_shown_under_its_name() -> None:
    found = evidence([point("one", 0.5, "an_idea"), point("two", 0.7, "an_idea")], [])
    assert [(e.question, [d.label for d in e.figures.panels[0].dots]) for e in found] == [
        ("An idea", ["one", "two"])
    ]


def test_points_that_cannot_be_drawn_are_left_out() -> None:
    bad = [point("2", math.nan), point("10", math.inf), point("x", 0.5)]
    assert evidence(bad, []) == []
    found = evidence([point("2", 0.9), point("10", 0.8), *bad], [])
    assert len(found[0].figures.curves[0].curves[-1].points.split()) == 2


def test_one_stimulus_and_one_point_do_not_break_the_page(data: ReportData) -> None:
    for control in ("nway", "trials_averaged", "nearest_training", "candidates", "regions"):
        alone = [point("1 trial", 1.0, control, n=1)]
        assert "</html>" in render(dataclasses.replace(data, points=alone, findings=[]))


def test_a_region_named_like_markup_stays_text(page: str) -> None:
    assert synthetic_controls.REGIONS[2].startswith("<script>")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_an_older_run_has_a_page_without_the_section(data: ReportData) -> None:
    rows = [
        dataclasses.replace(row, references={}, k=None)
        for row in data.rows
        if row.metric not in ("effective_rank", "out_of_span") and system(row.system).decodes
    ]
    page = render(dataclasses.replace(data, points=[], findings=[], rows=rows))
    assert 'id="checks"' not in page
    assert 'id="metrics"' in page
    assert "legend letters" not in page


def test_a_missing_file_of_controls_is_fine(tmp_path: Path) -> None:
    assert controls(tmp_path / "controls.json") == ([], [])


def test_controls_come_back_as_they_were_written(data: ReportData, tmp_path: Path) -> None:
    write_controls(data.points, data.findings, tmp_path)
    assert controls(tmp_path / "controls.json") == (data.points, data.findings)


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"points": [{"x": 1}], "findings": []}', "\0"])
def test_a_damaged_file_of_controls_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "controls.json").write_text(text)
    with pytest.raises(DataError, match=r"controls\.json holds no points and findings"):
        controls(tmp_path / "controls.json")
