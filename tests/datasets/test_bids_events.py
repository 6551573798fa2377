"""Events of a BIDS data set become trials in the order they were shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from mindeye.datasets.bids_events import (
    EventsConfig,
    find_events,
    read_events,
    session_numbers,
)
from mindeye.errors import DataError


def write(root: Path, name: str, rows: list[tuple[object, ...]], header: str = "") -> Path:
    parts = dict(p.split("-") for p in name.split("_")[:-1])
    folder = root / f"sub-{parts['sub']}"
    folder = folder / f"ses-{parts['ses']}" / "func" if "ses" in parts else folder / "func"
    folder.mkdir(parents=True, exist_ok=True)
    header = header or "onset\tduration\ttrial_type\tstim_file"
    lines = [header, *("\t".join(str(v) for v in row) for row in rows)]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def ids(root: Path, config: EventsConfig | None = None, subject: str = "01") -> list[str]:
    config = config or EventsConfig()
    return read_events(find_events(root, subject, config), config)["stimulus_id"].tolist()


def test_order_is_by_number_of_session_and_run_then_onset(tmp_path: Path) -> None:
    for session in (10, 9):
        for run in (10, 9):
            write(
                tmp_path,
                f"sub-01_ses-{session}_task-see_run-{run}_events.tsv",
                [(8, 1, "go", f"s{session}r{run}late.png"), (2, 1, "go", f"s{session}r{run}.png")],
            )
    config = EventsConfig()
    trials = read_events(find_events(tmp_path, "01", config), config)
    expected = [f"s{s}r{r}{t}" for s in (9, 10) for r in (9, 10) for t in ("", "late")]
    assert trials["stimulus_id"].tolist() == expected
    assert trials["session"].tolist() == [9] * 4 + [10] * 4
    assert trials["run"].tolist() == [9, 9, 10, 10] * 2


def test_rows_without_a_stimulus_and_ignored_ones_are_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        "sub-01_task-see_events.tsv",
        [
            (0, 1, "blank", "n/a"),
            (2, 1, "go", "natural/a 1.v2.JPG"),
            (4, 1, "rest", "Fixation.png"),
            (6, 1, "go", "b.png"),
            (6, 1, "response", "n/a"),
            (7, 1, "go", ""),
            (8, 1, "go", "probe.png"),
        ],
    )
    assert ids(tmp_path) == ["a 1.v2", "b", "probe"]
    assert ids(tmp_path, EventsConfig(ignore=("PROBE",))) == ["a 1.v2", "b"]


def test_an_id_column_is_taken_as_text(tmp_path: Path) -> None:
    write(
        tmp_path,
        "sub-01_task-see_events.tsv",
        [(0, 1, "007"), (1, 1, "7"), (2, 1, "n/a")],
        header="onset\tduration\tstimulus_id",
    )
    assert ids(tmp_path, EventsConfig(stimulus_column="stimulus_id")) == ["007", "7"]


def test_splits_are_read_in_the_spellings_of_data_sets(tmp_path: Path) -> None:
    header = "onset\tduration\tstimulus_id\tpart"
    name = "sub-01_task-see_events.tsv"
    config = EventsConfig(stimulus_column="stimulus_id", split_column="part")
    write(tmp_path, name, [(0, 1, "a", "Training"), (1, 1, "b", "test")], header=header)
    trials = read_events(find_events(tmp_path, "01", config), config)
    assert trials["split"].tolist() == ["train", "test"]
    write(tmp_path, name, [(0, 1, "a", "holdout")], header=header)
    with pytest.raises(DataError, match="holdout"):
        ids(tmp_path, config)


def test_tasks_subjects_sessions_and_other_files_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, "sub-01_ses-a_task-see_run-1_events.tsv", [(0, 1, "x", "a.png")])
    write(tmp_path, "sub-01_ses-b_task-see_acq-mb_run-1_events.tsv", [(0, 1, "x", "b.png")])
    write(tmp_path, "sub-01_ses-a_task-loc_run-1_events.tsv", [(0, 1, "x", "c.png")])
    write(tmp_path, "sub-02_ses-a_task-see_run-1_events.tsv", [(0, 1, "x", "d.png")])
    folder = tmp_path / "sub-01" / "ses-a" / "func"
    (folder / "sub-01_ses-a_task-see_run-1_physio.tsv").write_text("x\n")
    with pytest.raises(DataError, match=r"\['loc', 'see'\]"):
        ids(tmp_path)
    assert ids(tmp_path, EventsConfig(task="see")) == ["a", "b"]
    assert ids(tmp_path, EventsConfig(task="see", bids_sessions=("b",))) == ["b"]
    with pytest.raises(DataError, match="session 'z'"):
        ids(tmp_path, EventsConfig(task="see", bids_sessions=("b", "z")))
    with pytest.raises(DataError, match="task 'hear'"):
        ids(tmp_path, EventsConfig(task="hear"))


def test_session_labels_that_are_no_numbers_are_ranked_naturally() -> None:
    assert session_numbers(["02", "10", "9"]) == {"02": 2, "9": 9, "10": 10}
    assert session_numbers(["mri10", "mri9", "mri9"]) == {"mri9": 1, "mri10": 2}
    with pytest.raises(DataError, match="twice"):
        session_numbers(["1", "01"])


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([(0, 1, "x", "../secret.png")], "", "leaves the folder"),
        ([(0, 1, "x", "/etc/secret.png")], "", "leaves the folder"),
        ([(0, 1, "x", "..\\secret.png")], "", "leaves the folder"),
        ([("soon", 1, "x", "a.png")], "", "row 0: onset 'soon'"),
        ([("inf", 1, "x", "a.png")], "", "row 0: onset"),
        ([(3, 1, "x", "a.png"), (3.0, 1, "x", "b.png")], "", "two stimuli at onset 3"),
        ([(0, 1, "x")], "onset\tduration\ttrial_type", "no column stim_file"),
        ([(0, 1, "x", "n/a")], "", "names no stimulus"),
        ([(0, 1, "x", "a.png", 4, 5, 6), (0, 1, "x", "a", 4, 5, 6, 7, 8)], "", "has 7 cells"),
    ],
)
def test_malformed_events_are_named(
    tmp_path: Path, rows: list[tuple[object, ...]], header: str, message: str
) -> None:
    write(tmp_path, "sub-01_task-see_events.tsv", rows, header)
    with pytest.raises(DataError, match=message):
        ids(tmp_path)


def test_bytes_that_are_no_table_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "sub-01_task-see_events.tsv", [])
    for content in (b"", b"\xff\xfe\x00\x01", b"onset\tstim_file\n1\t\xff.png\n"):
        path.write_bytes(content)
        with pytest.raises(DataError):
            ids(tmp_path)


def test_a_run_may_not_be_there_twice_nor_in_another_session(tmp_path: Path) -> None:
    write(tmp_path, "sub-01_task-see_run-1_events.tsv", [(0, 1, "x", "a.png")])
    other = write(tmp_path, "sub-01_task-see_run-01_events.tsv", [(0, 1, "x", "a.png")])
    with pytest.raises(DataError, match="one and the same run"):
        ids(tmp_path)
    other.rename(other.with_name("sub-01_ses-3_task-see_run-2_events.tsv"))
    with pytest.raises(DataError, match="another session"):
        ids(tmp_path)


@pytest.mark.parametrize("subject", ["../01", "99", ""])
def test_subjects_that_are_not_there_are_named(tmp_path: Path, subject: str) -> None:
    write(tmp_path, "sub-01_task-see_events.tsv", [(0, 1, "x", "a.png")])
    with pytest.raises(DataError):
        ids(tmp_path, subject=subject)
