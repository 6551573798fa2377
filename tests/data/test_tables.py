"""Tables in text: what is read is what stands there, or the line is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from mindeye.data.tables import read_table
from mindeye.data.trials import read_trials
from mindeye.errors import DataError


def _written(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "trials.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_a_comma_at_the_end_of_lines_shifts_nothing(tmp_path: Path) -> None:
    table = read_trials(_written(tmp_path, "onset,stimulus_id,response\n0,a,1,\n3,b,2,\n"))
    assert table["stimulus_id"].tolist() == ["a", "b"]
    assert table["response"].tolist() == [1, 2]
    with_heading = read_trials(_written(tmp_path, "onset,stimulus_id,\n0,a,\n3,b,\n"))
    assert list(with_heading.columns) == ["onset", "stimulus_id"]


@pytest.mark.parametrize("name", ["nan", "NA", "null", "0007", "1e5", "1000000000001.0", "True"])
def test_ids_are_text_whatever_they_look_like(name: str, tmp_path: Path) -> None:
    path = _written(tmp_path, f"stimulus_id\n{name}\nother\n")
    assert read_trials(path)["stimulus_id"].tolist() == [name, "other"]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = _written(tmp_path, "stimulus_id,session\na,1\n", encoding="utf-8-sig")
    assert list(read_trials(path).columns) == ["stimulus_id", "session"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("stimulus_id,run,run\na,1,2\n", "two columns 'run'"),
        ("stimulus_id,,run\na,1,2\n", "column 2 has no name"),
        ("stimulus_id,run\na,1\nb,2,3\n", "line 3 has 3 cells"),
        ("", "no line of column names"),
        ("\n", "no line of column names"),
    ],
)
def test_a_table_that_could_be_read_in_two_ways_is_refused(
    text: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=problem):
        read_table(_written(tmp_path, text))


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_bytes(b"stimulus_id\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"trials\.csv is not a readable table"):
        read_trials(tmp_path / "trials.csv")
