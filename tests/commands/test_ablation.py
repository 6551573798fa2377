"""Claims about ablations: plans are checked by name, rows are runs, tables add up."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from mindeye.cli import main
from mindeye.commands.ablation import run_ablation, share_stages
from mindeye.commands.ablation_plan import AblationPlan, AblationRow, plan_names, read_plan
from mindeye.commands.ablation_table import write_tables
from mindeye.commands.ablation_tests import (
    DIRECTIONS,
    PICTURE_SCORES,
    TESTED,
    RowResult,
    all_differences,
)
from mindeye.data.simulate import simulate_subject
from mindeye.data.subject import Subject
from mindeye.errors import ConfigError, DataError
from mindeye.files import read_json
from mindeye.metrics.table import Row, read_scores
from mindeye.runs import start_run
from small_simulation import SMALL
from test_pipeline import PIXELS

PLAN: dict[str, Any] = {
    "base": "demo",
    "full": "mindeye",
    "fields": {"evaluate": {"controls": False}},
    "rows": {
        "mindeye": {"claim": "everything"},
        "one candidate": {"claim": "picking helps", "fields": {"reconstruct": {"candidates": 1}}},
        # long enough to be caught in the middle
        "longer": {"claim": "more epochs help", "fields": {"high": {"optim": {"epochs": 60}}}},
    },
}


def written(folder: Path, content: dict[str, Any]) -> str:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def command(plan: str, subject: Path, out: Path) -> list[str]:
    return ["ablate", plan, f"--subject-dir={subject}", f"--out={out}", *PIXELS]


@pytest.fixture(scope="module")
def finished(small_subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished ablation of three rows in pixel space."""
    folder = tmp_path_factory.mktemp("ablation")
    assert main(command(written(folder, PLAN), small_subject.path, folder / "out")) == 0
    return folder / "out"


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in read_json(out / "ablation.json")["rows"]}


def test_the_table_has_every_row_with_intervals_that_hold_the_value(finished: Path) -> None:
    rows = rows_of(finished)
    assert list(rows) == ["mindeye", "one_candidate", "longer"]
    for name, row in rows.items():
        assert set(row["scores"]) == {
            "brain_to_image_top1", "image_to_brain_top1", "PixCorr", "SSIM", "two_way",
        }  # fmt: skip
        assert set(row["differences"]) == set(TESTED)
        for cell in [*row["scores"].values(), *row["differences"].values()]:
            assert cell["low"] <= cell["value"] <= cell["high"], (name, cell)
            assert cell["n"] == 20
        assert row["scores"]["two_way"]["metric"] == "two_way_pixels16"
        assert row["pictures"] == "high"  # pixels are drawn without a start
    assert rows["longer"]["changes"] == {"high.optim.epochs": 60}


def test_the_three_files_say_the_same(finished: Path) -> None:
    with (finished / "ablation.csv").open() as file:
        table = {row["row"]: row for row in csv.DictReader(file)}
    markdown = (finished / "ablation.md").read_text()
    assert "full test pool" in markdown
    for name, row in rows_of(finished).items():
        assert f"**{name}**" in markdown
        assert row["claim"] in markdown
        assert table[name]["changes"] == "; ".join(f"{k}={v}" for k, v in row["changes"].items())
        for score, cell in row["scores"].items():
            assert float(table[name][score]) == pytest.approx(cell["value"])
            assert f"{cell['value']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]" in markdown
        for tested, cell in row["differences"].items():
            assert float(table[name][f"{tested}_difference"]) == pytest.approx(cell["value"])
            assert table[name][f"{tested}_difference_verdict"] == cell["verdict"]
            if cell["verdict"] != "reference":
                assert float(table[name][f"{tested}_difference_p"]) == pytest.approx(cell["p"])
                text = f"p {cell['p']:.4f} ({cell['p_adjusted']:.4f}): {cell['verdict']}"
                assert f"{cell['value']:+.3f} [{cell['low']:+.3f}, {cell['high']:+.3f}]" in markdown
                assert text in markdown


def test_the_scores_are_those_of_the_rows_own_runs(finished: Path) -> None:
    for name, row in rows_of(finished).items():
        metrics = read_json(finished / "rows" / name / "metrics.json")["rows"]
        for cell in row["scores"].values():
            system = "mindeye" if cell["metric"].endswith("top1") else "high"
            same = [r for r in metrics if (r["metric"], r["system"]) == (cell["metric"], system)]
            assert [r["value"] for r in same] == [cell["value"]]


def test_differences_are_of_hits_in_the_full_pool_and_none_of_a_row_with_itself(
    finished: Path,
) -> None:
    rows = rows_of(finished)
    for direction in DIRECTIONS:
        top1 = {}
        for name in rows:
            ranks = np.load(finished / "rows" / name / "retrieve" / f"{direction}_ranks.npy")
            top1[name] = (ranks == 0).mean()
        for name, row in rows.items():
            cell = row["differences"][direction]
            assert cell["value"] == pytest.approx(top1[name] - top1["mindeye"])
        itself = rows["mindeye"]["differences"][direction]
        assert (itself["value"], itself["low"], itself["high"]) == (0, 0, 0)
        assert itself["verdict"] == "reference"
        # Another number of candidates draws other pictures and retrieves the same.
        redrawn = rows["one_candidate"]["differences"][direction]
        assert (redrawn["value"], redrawn["low"], redrawn["high"]) == (0, 0, 0)
        assert redrawn["verdict"] == "neither"


def test_pictures_are_tested_stimulus_by_stimulus_against_the_full_row(finished: Path) -> None:
    rows = rows_of(finished)
    scores = {name: read_scores(finished / "rows" / name) for name in rows}

    def of(row: str, metric: str) -> np.ndarray:
        table = scores[row]
        chosen = table[(table.system == "high") & (table.metric == metric)]
        return chosen.set_index("stimulus_id")["value"].sort_index().to_numpy()

    for score in PICTURE_SCORES:
        metric = "two_way_pixels16" if score == "two_way" else score
        for name in ("one_candidate", "longer"):
            cell = rows[name]["differences"][score]
            own = of(name, metric) - of("mindeye", metric)
            assert cell["value"] == pytest.approx(own.mean())
            if own.any():
                signs = np.random.default_rng(9).choice([-1.0, 1.0], (20_000, len(own)))
                flipped = np.abs((signs * own).mean(axis=1))
                expected = (flipped >= abs(own.mean()) * (1 - 1e-9)).mean()
                assert cell["p"] == pytest.approx(expected, abs=0.03)
            assert cell["p"] <= cell["p_adjusted"] <= 1
        itself = rows["mindeye"]["differences"][score]
        assert (itself["value"], itself["p"], itself["verdict"]) == (0, None, "reference")


def test_p_is_adjusted_over_all_tests_of_the_table(finished: Path) -> None:
    cells = [
        cell
        for row in rows_of(finished).values()
        for cell in row["differences"].values()
        if cell["p"] is not None
    ]
    assert len(cells) == 2 * len(TESTED)
    p, n = np.array([cell["p"] for cell in cells]), len(cells)
    order = np.argsort(p)
    by_hand = np.minimum.accumulate((p[order] * n / np.arange(1, n + 1))[::-1])[::-1]
    np.testing.assert_allclose([cells[i]["p_adjusted"] for i in order], np.minimum(by_hand, 1))


def null_plan(folder: Path) -> AblationPlan:
    rows = {"mindeye": {"claim": "all"}} | {
        f"null {n}": {"claim": "chance", "fields": {"permutation": n}} for n in (1, 2, 3)
    }
    rows["other"] = {"claim": "not a null", "fields": {"permutation": 4, "seed": 5}}
    return read_plan(written(folder, {**PLAN, "rows": rows}), PIXELS)


def test_permutation_nulls_end_the_table_with_a_p_of_the_full_row(
    small_subject: Subject, tmp_path: Path
) -> None:
    plan = null_plan(tmp_path)
    values = {"brain_to_image_top1": [0.5, 0.1, 0.5, 0.2, 0.9], "PixCorr": [0.3, 0.1, 0.1, 0, 0.9]}
    results = [
        RowResult(
            row,
            {n: Row(n, "mindeye", v[i], 0, 1, 20, None, 0.1) for n, v in values.items()},
            "high",
            {"brain_to_image": np.ones(4)},
        )
        for i, row in enumerate(plan.rows)
    ]
    content = write_tables(plan, results, small_subject, tmp_path)
    # 0.5 counts as at least as good as 0.5; the row that differs in more is no null.
    assert content["permutation"]["brain_to_image_top1"]["p"] == pytest.approx(2 / 4)
    assert content["permutation"]["PixCorr"]["p"] == pytest.approx(1 / 4)
    assert content["permutation"]["PixCorr"]["permutations"] == 3
    text = (tmp_path / "ablation.md").read_text()
    assert "no p is below 0.25" in text
    assert "| PixCorr | 0.300 | 0.067 | 0.100 | 3 | 0.2500 |" in text
    assert "| null_1 |" in text.partition("## Minus")[0]
    assert "| null_1 |" not in text.partition("## Minus")[2]
    tested = {row["name"]: set(row["differences"]) for row in content["rows"]}
    assert tested["null_1"] == set()
    assert tested["other"] == {"brain_to_image"}


def test_a_plan_of_nulls_alone_has_no_table_of_differences(
    small_subject: Subject, tmp_path: Path
) -> None:
    plan = read_plan("null")
    hits = {"brain_to_image": np.ones(4)}
    score = {"PixCorr": Row("PixCorr", "high", 0.3, 0, 1, 20, None, 0.1)}
    results = [RowResult(row, score, "high", hits) for row in plan.rows]
    content = write_tables(plan, results, small_subject, tmp_path)
    assert content["permutation"]["PixCorr"]["p"] == 1.0  # as good as every null
    text = (tmp_path / "ablation.md").read_text()
    assert "## Minus" not in text
    assert "## Permutation null of `recorded`" in text


def test_a_table_without_nulls_says_nothing_of_them(finished: Path) -> None:
    text = (finished / "ablation.md").read_text()
    assert "Permutation null" not in text
    assert "Spread over seeds" not in text


def test_rows_that_change_the_seed_alone_end_the_table_with_their_spread(
    small_subject: Subject, tmp_path: Path
) -> None:
    rows = {"mindeye": {"claim": "all"}} | {
        f"seed {n}": {"claim": "luck", "fields": {"seed": n}} for n in (4, 5)
    }
    rows["other"] = {"claim": "more than luck", "fields": {"permutation": 1, "seed": 6}}
    plan = read_plan(written(tmp_path, {**PLAN, "rows": rows}), PIXELS)
    results = [
        RowResult(row, {"PixCorr": Row("PixCorr", "high", v, 0, 1, 20, None, 0.1)}, "high", {})
        for row, v in zip(plan.rows, (0.3, 0.1, 0.2, 0.9), strict=True)
    ]
    content = write_tables(plan, results, small_subject, tmp_path)
    assert content["seeds"]["PixCorr"]["values"] == [0.3, 0.1, 0.2]
    assert content["seeds"]["PixCorr"]["sd"] == pytest.approx(0.1)
    text = (tmp_path / "ablation.md").read_text()
    assert "| PixCorr | 3 | 0.200 | 0.100 | 0.100 to 0.300 |" in text


def test_rows_judged_by_another_encoder_are_not_tested(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path, PLAN))
    drawn = {"two_way": pd.Series([0.1, 0.4], index=["a", "b"])}

    def result(row: AblationRow, encoder: str) -> RowResult:
        score = Row(f"two_way_{encoder}", "high", 0.5, 0, 1, 2, 0.5, 0.5)
        return RowResult(row, {"two_way": score}, "high", {}, drawn)

    full = result(plan.rows[0], "zoo")
    found = all_differences([full, result(plan.rows[1], "zoo"), result(plan.rows[2], "own")], full)
    assert [set(cells) for cells in found] == [{"two_way"}, {"two_way"}, set()]


def test_stages_of_the_same_key_are_done_once(finished: Path) -> None:
    def inode(row: str, file: str) -> int:
        return (finished / "rows" / row / file).stat().st_ino

    def marker(row: str, stage: str) -> dict[str, Any]:
        return dict(read_json(finished / "rows" / row / stage / "stage.json"))

    same = {"one_candidate": {"embed", "ridge", "high", "low", "predict", "retrieve"},
            "longer": {"embed", "ridge", "low"}}  # fmt: skip
    for row, shared in same.items():
        for stage in ("embed", "ridge", "high", "low", "predict", "retrieve", "reconstruct"):
            taken = marker(row, stage) == marker("mindeye", stage)
            assert taken == (stage in shared), (row, stage)
    for row, file in (("longer", "embed/tokens.npy"), ("one_candidate", "high/model.safetensors")):
        assert inode(row, file) == inode("mindeye", file)
    assert inode("longer", "high/model.safetensors") != inode("mindeye", "high/model.safetensors")
    assert not list(finished.glob("rows/*/.*.part"))


def test_where_links_fail_stages_are_copied(
    small_subject: Subject, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links on this disk")

    monkeypatch.setattr(os, "link", refuse)
    config = read_plan(written(tmp_path, PLAN), PIXELS).rows[0].config
    work = start_run(config, small_subject.path, tmp_path / "run")
    (work.folder / ".embed.part").mkdir()  # left by a call that was cut off
    (work.folder / ".embed.part" / "torn.npy").write_bytes(b"?")
    taken = share_stages(work, [finished / "rows" / "mindeye"])
    assert taken == [
        "embed", "ridge", "high", "low", "predict", "conditions", "retrieve", "reconstruct",
    ]  # fmt: skip
    for path in (finished / "rows/mindeye/embed").rglob("*"):
        copy = work.folder / "embed" / path.name
        assert copy.read_bytes() == path.read_bytes()
        assert copy.stat().st_ino != path.stat().st_ino
    assert not (work.folder / "embed" / "torn.npy").exists()


def test_embeddings_without_recoloured_pictures_are_not_taken_by_a_run_that_needs_them(
    small_subject: Subject, finished: Path, tmp_path: Path
) -> None:
    words = [*PIXELS, "low.contrastive_weight=0.1"]
    config = read_plan(written(tmp_path, PLAN), words).rows[0].config
    work = start_run(config, small_subject.path, tmp_path / "run")
    assert "embed" not in share_stages(work, [finished / "rows" / "mindeye"])


def test_a_second_call_does_nothing_and_writes_the_same(
    small_subject: Subject, finished: Path, tmp_path: Path
) -> None:
    files = [finished / f"ablation.{end}" for end in ("json", "csv", "md")]
    before = [f.read_bytes() for f in files]
    runs = {p: p.stat().st_mtime_ns for p in finished.glob("rows/**/*") if p.is_file()}
    assert main(command(written(tmp_path, PLAN), small_subject.path, finished)) == 0
    assert [f.read_bytes() for f in files] == before
    assert {p: p.stat().st_mtime_ns for p in finished.glob("rows/**/*") if p.is_file()} == runs


def test_an_ablation_killed_in_the_middle_of_a_row_ends_like_an_unbroken_one(
    small_subject: Subject, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = command(written(tmp_path, PLAN), small_subject.path, out)
    process = subprocess.Popen([sys.executable, "-m", "mindeye", *words])
    deadline = time.monotonic() + 180
    while not list(out.glob("rows/longer/high/checkpoint-*")):
        assert process.poll() is None, "the ablation ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert not (out / "rows/longer/high/stage.json").exists()
    assert not (out / "ablation.json").exists()
    marker = (out / "rows/mindeye/high/stage.json").read_bytes()
    assert main(words) == 0
    assert (out / "rows/mindeye/high/stage.json").read_bytes() == marker
    for end in ("json", "csv", "md"):
        name = f"ablation.{end}"
        assert (out / name).read_bytes() == (finished / name).read_bytes()


def test_a_row_that_learned_nothing_is_found_out(tmp_path: Path) -> None:
    """The planted fault: a learning rate of 0 on a subject with little noise."""
    easy = dataclasses.replace(SMALL, train=300, test=60, ceiling_low=0.6, ceiling_high=0.6)
    subject = simulate_subject(easy, 0, tmp_path / "subject")
    words = [w for w in PIXELS if not w.startswith(("high.decoder", "high.optim.epochs"))]
    words += ["high.decoder.width=128", "high.decoder.blocks=1", "high.optim.epochs=30",
              "high.decoder.projector=false", "high.prior.kind=mse"]  # fmt: skip
    fault = {"claim": "fault", "fields": {"high": {"optim": {"learning_rate": 0}}}}
    rows = {"mindeye": {"claim": "all"}, "fault": fault}
    plan = read_plan(written(tmp_path, {**PLAN, "rows": rows}), words)
    run_ablation(plan, subject.path, tmp_path / "out")
    cell = rows_of(tmp_path / "out")["fault"]["differences"]["image_to_brain"]
    assert cell["verdict"] == "lower"
    assert cell["high"] < 0


def test_a_row_without_pictures_gets_dashes(small_subject: Subject, tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path, PLAN))
    score = Row("brain_to_image_top1", "mindeye", 0.5, 0.4, 0.6, 20, 0.1, 0.1)
    hits = {"brain_to_image": np.array([1.0, 0.0])}
    results = [RowResult(row, {score.metric: score}, "", hits) for row in plan.rows]
    results[2] = RowResult(plan.rows[2], {}, "", {})
    content = write_tables(plan, results, small_subject, tmp_path)
    assert content["rows"][2]["differences"] == {}
    assert json.loads((tmp_path / "ablation.json").read_text()) == content
    lines = [x for x in (tmp_path / "ablation.md").read_text().splitlines() if x[:2] == "| "]
    scores, differences = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    for table in (scores, differences):
        assert len({line.count("|") for line in table}) == 1
    assert differences[4].count("–") == len(TESTED)
    assert scores[4].count("–") == 8


def test_every_row_of_the_shipped_plans_is_a_valid_run() -> None:
    names = plan_names()
    assert {"paper", "null", "seeds"} <= set(names)
    for name in names:
        plan = read_plan(name)
        assert len(plan.rows) >= (4 if name == "seeds" else 12)
        assert [r.name for r in plan.rows if not r.changes] == [plan.full]


def test_a_claim_of_the_papers_plan_says_where_it_is_from() -> None:
    for row in read_plan("paper").rows[1:]:
        assert "recalled" in row.claim or "arXiv" in row.claim or "abstract" in row.claim


def test_the_shipped_null_has_as_many_permutations_as_reach_05() -> None:
    plan = read_plan("null")
    nulls = [r for r in plan.rows if RowResult(r, {}, "", {}).is_null]
    assert len(nulls) == len(plan.rows) - 1
    assert 1 / (len(nulls) + 1) <= 0.05


def test_words_hold_for_all_rows_but_not_against_a_row(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path, PLAN), ["seed=3", "high.optim.epochs=2"])
    assert {r.config.seed for r in plan.rows} == {3}
    assert [r.config.high.optim.epochs for r in plan.rows] == [2, 2, 60]


def changed(**entries: Any) -> dict[str, Any]:
    return {**PLAN, **entries}


def with_row(name: str, row: Any) -> dict[str, Any]:
    return changed(rows={**PLAN["rows"], name: row})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(base="dmeo"), "no preset 'dmeo'"),
        (changed(base=None), "a plan names its 'base'"),
        (changed(full="midneye"), "full is 'midneye', which is none of mindeye, one_candidate"),
        (changed(rows={}), "a plan without rows"),
        (changed(rows=["mindeye"]), "rows must be a mapping"),
        (changed(fields={"sede": 1}), "fields: a run has no field 'sede'; did you mean seed"),
        (changed(rwos={}), "a plan has no entry 'rwos'"),
        (with_row("x", {"claim": "c", "fields": {"high": {"blokcs": 1}}}), "row 'x': .*'high.blok"),
        (with_row("x", {"claim": "c", "fields": {"seed": "one"}}), "row 'x': .*seed"),
        (with_row("x", {"claim": "c", "fields": 3}), "row 'x': fields must be a mapping"),
        (with_row("x", {"claim": "c", "feilds": {}}), "row 'x': a row has no entry 'feilds'"),
        (with_row("x", {"fields": {"seed": 1}}), "row 'x' says no claim"),
        (with_row("x", "blocks=0"), "row 'x' must be a mapping"),
        (with_row("x", {"claim": "c"}), "rows 'mindeye' and 'x' are the same run"),
        (with_row("one_candidate", {"claim": "c"}), "two rows are called 'one_candidate'"),
        (with_row("../../etc", {"claim": "c", "fields": {"seed": 1}}), "cannot name a row"),
        (with_row("/tmp/x", {"claim": "c", "fields": {"seed": 1}}), "cannot name a row"),
        (with_row("Big", {"claim": "c", "fields": {"seed": 1}}), "cannot name a row"),
        (with_row("a" * 61, {"claim": "c", "fields": {"seed": 1}}), "cannot name a row"),
        (with_row("x\n", {"claim": "c", "fields": {"seed": 1}}), "cannot name a row"),
    ],
)
def test_a_wrong_plan_is_refused_by_name(
    content: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_plan(written(tmp_path, content))


def test_an_unknown_plan_lists_the_known_ones(tmp_path: Path) -> None:
    for name in ("ppaer", "../demo", str(tmp_path / "none.yaml")):
        with pytest.raises(ConfigError, match="known plans: null, paper"):
            read_plan(name)


def test_a_wrong_plan_leaves_nothing_behind(small_subject: Subject, tmp_path: Path) -> None:
    plan = written(tmp_path, with_row("x", {"claim": "c"}))
    assert main(command(plan, small_subject.path, tmp_path / "out")) == 2
    assert not (tmp_path / "out").exists()


def test_rows_of_another_plan_are_refused_before_anything_is_trained(
    small_subject: Subject, finished: Path, tmp_path: Path
) -> None:
    before = sorted(finished.rglob("*"))
    rows = {"new": {"claim": "c", "fields": {"seed": 5}}, **PLAN["rows"]}
    rows["longer"] = {"claim": "c", "fields": {"high": {"optim": {"epochs": 61}}}}
    plan = read_plan(written(tmp_path, changed(rows=rows)), PIXELS)
    with pytest.raises(ConfigError, match=r"longer.*differs in high\.optim\.epochs"):
        run_ablation(plan, small_subject.path, finished)
    assert sorted(finished.rglob("*")) == before


def test_a_foreign_folder_is_not_taken_for_an_ablation(
    small_subject: Subject, tmp_path: Path
) -> None:
    out = tmp_path / "home"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="not empty and not an ablation"):
        run_ablation(read_plan(written(tmp_path, PLAN), PIXELS), small_subject.path, out)
    assert os.listdir(out) == ["thesis.tex"]
