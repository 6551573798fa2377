"""Claims about comparing scored folders: what pairs up, what is refused, what is written."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mindeye.errors import DataError, UsageError
from mindeye.metrics.comparison import compare, parse_systems
from mindeye.metrics.comparison_output import draw, text_of_comparison, write_comparison
from mindeye.metrics.table import read_scores
from scored_folders import IDS, group, scored


def compared(a: Path, b: Path, *, systems: str = "", **settings: float) -> pd.DataFrame:
    how = {"resamples": 300, **settings}
    return compare(a, b, systems=parse_systems("", systems), **how)


def over_all(table: pd.DataFrame) -> pd.DataFrame:
    """Rows over all subjects."""
    return table[table.subject == ""]


def edited(folder: Path, change: dict[str, object], metric: str = "PixCorr") -> None:
    """Change every row of a metric in metrics.json."""
    content = json.loads((folder / "metrics.json").read_text())
    for row in content["rows"]:
        if row["metric"] == metric:
            row.update(change)
    (folder / "metrics.json").write_text(json.dumps(content))


def test_stimuli_are_paired_by_id_whatever_their_order(tmp_path: Path) -> None:
    a, b = scored(tmp_path / "a", 0), scored(tmp_path / "b", 0)
    table = pd.read_csv(b / "scores.csv").sample(frac=1, random_state=1)
    table.to_csv(b / "scores.csv", index=False)
    assert set(compared(a, b).verdict) == {"same"}


def test_a_better_run_is_called_better_by_the_metrics_own_direction(tmp_path: Path) -> None:
    a, b = scored(tmp_path / "a", 0, shift=1.5), scored(tmp_path / "b", 1)
    table = compared(a, b)
    found = table[table.system_a == "both"].set_index("metric")
    assert found.verdict.to_dict() == {
        "PixCorr": "A better",
        "distance_swav": "B better",
        "brain_to_image_median_rank": "B better",
    }
    first, second = (pd.read_csv(x / "scores.csv").set_index(["system", "metric"]) for x in (a, b))
    means = [x.loc[("both", "PixCorr"), "value"].mean() for x in (first, second)]
    one = found.loc["PixCorr"]
    assert (one.a, one.b) == pytest.approx(means)
    assert one.difference == pytest.approx(means[0] - means[1])


def test_the_other_way_round_is_the_same_with_other_signs(tmp_path: Path) -> None:
    a, b = scored(tmp_path / "a", 0, shift=0.1), scored(tmp_path / "b", 1)
    there, back = compared(a, b), compared(b, a)
    np.testing.assert_allclose(there.difference, -back.difference)
    np.testing.assert_allclose(there.low, -back.high, atol=0.05)
    np.testing.assert_allclose(there.p, back.p, atol=0.05)


def test_a_system_more_moves_no_other_systems_numbers(tmp_path: Path) -> None:
    a, b = scored(tmp_path / "a", 0), scored(tmp_path / "b", 1)
    all_of, alone = compared(a, b), compared(a, b, systems="low=low")
    numbers = ["metric", "a", "b", "difference", "low", "high", "p", "effect", "n"]
    low = all_of[all_of.system_a == "low"][numbers].reset_index(drop=True)
    pd.testing.assert_frame_equal(low, alone[numbers], check_exact=True)


def test_only_common_stimuli_are_compared_and_it_is_said(tmp_path: Path) -> None:
    ids = [*IDS[20:], *[f"new{i}" for i in range(20)]]
    a, b = scored(tmp_path / "a", 0), scored(tmp_path / "b", 1, ids=ids)
    found = compared(a, b)
    assert set(found.n) == {20}
    text = text_of_comparison(found)
    assert "20 common stimuli of 40 in A and 40 in B (6 of 6 tests)" in text


def test_no_common_stimulus_is_refused_with_an_example_of_either(tmp_path: Path) -> None:
    a = scored(tmp_path / "a", 0)
    b = scored(tmp_path / "b", 1, ids=[f"x{i}" for i in range(40)])
    with pytest.raises(DataError, match=r"no stimulus in common \(40 in A like 's000', 40 .*'x0'"):
        compared(a, b)


def test_another_version_of_a_metric_is_refused_by_name_and_others_are_compared(
    tmp_path: Path,
) -> None:
    a, b = scored(tmp_path / "a", 0), scored(tmp_path / "b", 1)
    content = json.loads((b / "metrics.json").read_text())
    content["versions"]["PixCorr"] = 2
    (b / "metrics.json").write_text(json.dumps(content))
    found = compared(a, b)
    assert "PixCorr" not in set(found.metric)
    assert len(found.attrs["left_out"]) == 2
    assert all(
        "PixCorr of" in x and "other versions" in x and "1, 2" in x for x in found.attrs["left_out"]
    )
    assert "not compared: PixCorr of both" in text_of_comparison(found)


@pytest.mark.parametrize(
    ("change", "metric", "message"),
    [
        ({"chance": 0.5}, "distance_swav", "chance is 1 in A and 0.5 in B"),
        ({"note": "at 425 px"}, "PixCorr", "compared at 64 and 425 px"),
    ],
)
def test_answers_to_another_question_are_left_out(
    change: dict[str, object], metric: str, message: str, tmp_path: Path
) -> None:
    a, b = scored(tmp_path / "a", 0), scored(tmp_path / "b", 1)
    edited(b, change, metric)
    found = compared(a, b)
    assert metric not in set(found.metric)
    assert message in found.attrs["left_out"][0]


def test_a_smaller_pool_is_not_compared_but_pictures_are(tmp_path: Path) -> None:
    """Ranks among 20 are not ranks among 40, though 20 stimuli are common."""
    a, b = scored(tmp_path / "a", 0), scored(tmp_path / "b", 1, ids=IDS[:20])
    found = compared(a, b)
    assert set(found.metric) == {"PixCorr", "distance_swav"}


def test_other_numbers_of_candidates_are_said(tmp_path: Path) -> None:
    a, b = scored(tmp_path / "a", 0, k=16), scored(tmp_path / "b", 1)
    text = text_of_comparison(compared(a, b))
    assert "candidates a stimulus: 16 in A, 1 in B" in text


def test_other_subjects_with_the_same_stimuli_are_said(tmp_path: Path) -> None:
    a, b = scored(tmp_path / "a", 0, subject="x"), scored(tmp_path / "b", 1, subject="y")
    assert "decode different subjects" in compared(a, b).attrs["notes"][0]
    scored(b, 1, subject="x")
    assert not compared(a, b).attrs["notes"]


def damaged(folder: Path, file: str, text: str) -> None:
    (folder / file).write_text(text)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("metrics.json", "{", "metrics.json is missing or damaged"),
        ("metrics.json", "[]", "holds no table"),
        ("metrics.json", '{"rows": []}', "states no versions"),
        ("metrics.json", '{"versions": {}, "rows": [{"x": 1}]}', "not a table of metrics"),
        ("metrics.json", '{"versions": {}, "rows": 3}', "not a table of metrics"),
        ("run.json", "\0", "run.json is missing or damaged"),
        ("scores.csv", "", "not a table of scores"),
        ("scores.csv", "a,b\n1,2\n", "not a table of scores"),
        ("scores.csv", "system,metric,stimulus_id,value\ns,m,1,x\n", "not a table of scores"),
        ("scores.csv", "system,metric,stimulus_id,value\ns,m,1,2\ns,m,2,inf\n", "line 3: empty or"),
        ("scores.csv", "system,metric,stimulus_id,value\ns,m,,2\n", "line 2: empty or not"),
        ("scores.csv", "system,metric,stimulus_id,value\ns,m,01,2\ns,m,01,3\n", "'01' twice"),
    ],
)
def test_damaged_files_are_named(file: str, text: str, message: str, tmp_path: Path) -> None:
    a, b = scored(tmp_path / "a", 0), scored(tmp_path / "b", 1)
    damaged(b, file, text)
    with pytest.raises(DataError, match=message) as caught:
        compared(a, b)
    assert "\n" not in str(caught.value)


def test_folders_that_are_not_scored_are_named(tmp_path: Path) -> None:
    a = scored(tmp_path / "a", 0)
    (tmp_path / "empty").mkdir()
    for other, message in ((tmp_path / "none", "not a folder"), (tmp_path / "empty", "no scores")):
        with pytest.raises(DataError, match=message):
            compared(a, other)
    (a / "metrics.json").unlink()
    with pytest.raises(DataError, match=r"metrics\.json is missing"):
        compared(a, scored(tmp_path / "b", 1))


def test_systems_are_checked_by_name(tmp_path: Path) -> None:
    a, b = scored(tmp_path / "a", 0), scored(tmp_path / "b", 1, systems=("low",))
    assert set(compared(a, b).system_a) == {"low"}
    pairs = parse_systems("", "both=low, low=low")
    assert pairs == [("both", "low"), ("low", "low")]
    assert list(compare(a, b, systems=pairs, resamples=100).system_a.unique()) == ["both", "low"]
    for system, systems, message in (
        ("both", "", "B has no scores of a system 'both'; known: low"),
        ("", "x=low", "A has no scores of a system 'x'; known: both, low"),
        ("", "both", "--systems takes pairs"),
        ("", "both=", "--systems takes pairs"),
        ("", "a=b=c", "--systems takes pairs"),
        ("low", "low=low", "not both"),
    ):
        with pytest.raises(UsageError, match=message):
            compare(a, b, systems=parse_systems(system, systems))


def test_two_systems_of_one_run_are_compared_but_none_with_itself(tmp_path: Path) -> None:
    a = scored(tmp_path / "a", 0)
    found = compared(a, a, systems="both=low")
    assert set(zip(found.system_a, found.system_b, strict=True)) == {("both", "low")}
    with pytest.raises(UsageError, match="the same folder"):
        compared(a, a)


@pytest.mark.parametrize(
    "settings",
    [{"level": 0}, {"level": 1.5}, {"resamples": 0}, {"seed": -1}, {"level": float("nan")}],
)
def test_settings_without_sense_are_refused(settings: dict[str, float], tmp_path: Path) -> None:
    a, b = scored(tmp_path / "a", 0), scored(tmp_path / "b", 1)
    with pytest.raises(UsageError, match="--"):
        compared(a, b, **settings)


def test_folders_of_subjects_are_paired_by_name_and_compared_over_subjects(tmp_path: Path) -> None:
    a = group(tmp_path / "a", [0.5, 0.1, 0.9, 0.3], seed=0)
    b = group(tmp_path / "b", [0, 0, 0, 0], seed=50, first=2)
    found = compared(a, b)
    assert list(found.attrs["subjects"]) == ["subj02", "subj03", "subj04"]
    assert found.attrs["notes"][:2] == [
        "subj01 is only in A: left out",
        "subj05 is only in B: left out",
    ]
    assert "3 subjects" in found.attrs["notes"][2]
    assert "0.25" in found.attrs["notes"][2]
    for _, rows in found.groupby(["system_a", "metric"]):
        total, each = rows[rows.subject == ""].iloc[0], rows[rows.subject != ""]
        assert total.difference == pytest.approx(each.difference.mean())
        assert total.n == each.n.sum() == 90
        assert total.p >= 0.25
    text = text_of_comparison(found)
    assert "subjects, then stimuli" in text
    assert text.count("  subj03") == len(over_all(found))


def test_folders_that_do_not_pair_up_are_refused(tmp_path: Path) -> None:
    many, one = group(tmp_path / "many", [0, 0], seed=0), scored(tmp_path / "one", 1)
    with pytest.raises(DataError, match="B is one run, the other one holds several"):
        compared(many, one)
    others = group(tmp_path / "others", [0], seed=0, first=7)
    with pytest.raises(DataError, match="no sub-folder in common"):
        compared(many, others)


def test_a_subject_that_lacks_a_metric_is_said_and_one_that_spoils_it_is_named(
    tmp_path: Path,
) -> None:
    a, b = group(tmp_path / "a", [0, 0, 0], seed=0), group(tmp_path / "b", [0, 0, 0], seed=9)
    scored(a / "subj01", 1, systems=("low",))
    edited(b / "subj03", {"note": "at 425 px"})
    found = compared(a, b, systems="both=both,low=low")
    counts = found[found.subject != ""].groupby(["system_a", "metric"]).size()
    assert counts["both", "distance_swav"] == 2
    assert counts["low", "distance_swav"] == 3
    assert "only of subj02, subj03 (2 of 4 tests)" in text_of_comparison(found)
    assert [reason.split(", so")[0] for reason in found.attrs["left_out"]] == [
        f"PixCorr of {s}: subj03: pictures were compared at 64 and 425 px; score both alike"
        for s in ("both", "low")
    ]


def test_six_subjects_can_be_told_apart_and_a_mixed_group_cannot(tmp_path: Path) -> None:
    b = group(tmp_path / "b", [0] * 6, seed=50)
    clear = compared(group(tmp_path / "a", [0.8, 0.9, 1.0, 0.7, 0.8, 0.9], seed=0), b)
    assert set(over_all(clear).p) == {2 / 64}
    mixed = compared(group(tmp_path / "c", [2, -1, 2, -1, 2, -1], seed=0), b)
    assert set(over_all(mixed).verdict) == {"neither"}
    # The fixed-effect view of the same data would be sure of it.
    assert (mixed[mixed.subject != ""].p < 0.05).all()


def test_text_csv_and_json_say_the_same(tmp_path: Path) -> None:
    a, b = scored(tmp_path / "a", 0, shift=0.2), scored(tmp_path / "b", 1)
    found = compared(a, b)
    write_comparison(found, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    table = pd.read_csv(tmp_path / "out" / "compare.csv")
    text = text_of_comparison(found).splitlines()
    assert len(content["tests"]) == len(table) == 6
    assert (content["level"], content["resamples"], content["seed"]) == (0.95, 300, 0)
    for (_, line), test in zip(table.iterrows(), content["tests"], strict=True):
        for name in ("a", "b", "difference", "low", "high", "p", "p_adjusted", "effect"):
            assert line[name] == pytest.approx(test[name]), name
        said = [x for x in text if x.startswith(test["system_a"]) and f" {test['metric']}" in x]
        assert len(said) == 1
        assert f"{test['difference']:+.3f}  [{test['low']:+.3f}, {test['high']:+.3f}]" in said[0]
        assert said[0].endswith(test["verdict"])
        assert ("lower is better" in said[0]) == test["lower_is_better"]
    rows = text[3:10]
    assert len({row.index("[") for row in rows[1:]}) == 1  # columns are aligned


def test_the_picture_shows_every_test_and_is_the_same_twice(tmp_path: Path) -> None:
    a, b = group(tmp_path / "a", [0.5, 0.2], seed=0), group(tmp_path / "b", [0, 0], seed=9)
    found = compared(a, b)
    found.attrs |= {"a": "A $x^2$", "b": "B"}
    figure = draw(found)
    dots = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "o"]
    at = sorted(x for line in dots for x in np.atleast_1d(line.get_xdata()))
    np.testing.assert_allclose(at, sorted(found.difference))
    for name in ("one", "two"):
        write_comparison(found, tmp_path / name)
    one, two = ((tmp_path / name / "compare.png").read_bytes() for name in ("one", "two"))
    assert one == two
    picture = np.asarray(Image.open(io.BytesIO(one)).convert("L"))
    assert picture.min() < 100
    assert (picture[:, -5:] == 255).all()  # nothing runs off the right edge


def test_tables_of_scores_are_compared_as_their_folders_are(tmp_path: Path) -> None:
    a, b = scored(tmp_path / "a", 0), scored(tmp_path / "b", 1)
    tables = [read_scores(folder) for folder in (a, b)]
    pd.testing.assert_frame_equal(compare(*tables, resamples=300), compared(a, b), check_exact=True)
    with pytest.raises(DataError, match=r"table line 2: empty or not finite"):
        compare(tables[0].assign(value=np.nan), tables[1])
