"""The trials of a subject out of the `*_events.tsv` files of a BIDS data set.

Source of the layout: Brain Imaging Data Structure specification 1.10, "Magnetic Resonance Imaging"
(names of files), "Events" (columns `onset`, `duration`, `trial_type`, `stim_file`; `stim_file` is
relative to `/stimuli`; missing values are `n/a`). Events that a data set states once for all runs
at a higher level (inheritance) are not looked up. Not checked against real files here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from mindeye.data.splits import SPLITS
from mindeye.data.tables import read_table
from mindeye.datasets.picture_folder import is_inside
from mindeye.errors import DataError

LABEL = r"[A-Za-z0-9]+"
EVENTS_NAME = re.compile(
    rf"sub-(?P<subject>{LABEL})(?:_ses-(?P<session>{LABEL}))?_task-(?P<task>{LABEL})"
    rf"(?:_(?:acq|ce|trc|stc|rec|dir)-{LABEL})*(?:_run-(?P<run>\d+))?_events\.tsv"
)
MISSING = ("", "n/a", "nan")
NO_TRIALS = ("fixation", "blank", "catch", "rest")
"""Names of events that are no trials in any data set."""
SPLIT_NAMES = {"training": "train", "validation": "val", "testing": "test"}
"""Spellings of the splits that data sets use beside our own."""


@dataclass(frozen=True)
class EventsConfig:
    """Which events of a BIDS data set are trials.

    Parameters
    ----------
    stimulus_column
        Column that tells the stimulus; of `stim_file` the name without folder and suffix counts.
    task
        Task whose runs are read; empty if there is but one.
    bids_sessions
        Labels of the sessions to read ("01"), all if empty.
    ignore
        Stimulus ids that are no trials, whatever their case, beside fixation, blank, catch, rest
        and n/a.
    split_column
        Column that holds train, val and test, if there is one.
    """

    stimulus_column: str = "stim_file"
    task: str = ""
    bids_sessions: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    split_column: str = ""


@dataclass(frozen=True)
class EventsFile:
    """One run: where its events are and which session, task and run they are of."""

    path: Path
    session: str
    task: str
    run: int


def session_numbers(labels: list[str]) -> dict[str, int]:
    """Give sessions numbers: those in their labels if all are numbers, else ranks from 1.

    "10" comes after "9", and "mri10" after "mri9".

    Raises
    ------
    DataError
        If two labels are the same number ("1" and "01").
    """
    distinct = sorted(set(labels), key=_natural)
    if not all(label.isdigit() for label in distinct):
        return {label: rank for rank, label in enumerate(distinct, start=1)}
    numbers = {label: int(label) for label in distinct}
    if len(set(numbers.values())) < len(numbers):
        raise DataError(f"session labels {distinct} name one session twice; rename the folders")
    return numbers


def _natural(label: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|\D+", label)
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts]


def find_events(root: Path, subject: str, config: EventsConfig) -> list[EventsFile]:
    """Find the runs of a subject, in the order of session and run.

    Parameters
    ----------
    root
        The BIDS data set.
    subject
        Label of the subject, without "sub-".
    config
        Which task and sessions.

    Raises
    ------
    DataError
        If there are none, several tasks, or two files for one run.
    """
    if not re.fullmatch(LABEL, subject):
        raise DataError(f"{subject!r} is no BIDS label; give letters and digits, like 01")
    folder = root / f"sub-{subject}"
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; give the BIDS root and the label of a subject in it")
    files = []
    for path in sorted([*folder.glob("func/*.tsv"), *folder.glob("ses-*/func/*.tsv")]):
        name = EVENTS_NAME.fullmatch(path.name)
        if name is None or name["subject"] != subject or config.task not in ("", name["task"]):
            continue
        session = name["session"] or ""
        if path.parent.parent.name != (f"ses-{session}" if session else folder.name):
            raise DataError(f"{path} names another session than the folder it is in")
        if config.bids_sessions and session not in config.bids_sessions:
            continue
        files.append(EventsFile(path, session, name["task"], int(name["run"] or 1)))
    _check_runs(files, folder, config)
    return sorted(files, key=lambda f: (_natural(f.session), f.run))


def _check_runs(files: list[EventsFile], folder: Path, config: EventsConfig) -> None:
    absent = sorted(set(config.bids_sessions) - {f.session for f in files})
    if not files or absent:
        expected = f"task {config.task!r}" if config.task else "any task"
        raise DataError(
            f"no *_events.tsv of {expected}{f' and session {absent[0]!r}' if absent else ''} in "
            f"{folder}; they are expected in func/ or ses-*/func/"
        )
    tasks = sorted({f.task for f in files})
    if len(tasks) > 1:
        raise DataError(f"{folder} has the tasks {tasks}; choose one, their order is not known")
    paths: dict[tuple[str, int], Path] = {}
    for file in files:
        other = paths.setdefault((file.session, file.run), file.path)
        if other != file.path:
            raise DataError(f"{other.name} and {file.path.name} are events of one and the same run")


def read_events(files: list[EventsFile], config: EventsConfig) -> pd.DataFrame:
    """Read the trials of all runs, in the order of session, run and onset.

    Returns
    -------
    DataFrame
        `session` (number), `session_label`, `run`, `onset` (s), `stimulus_id`, `stim_file` if that
        is the column, `split` if there is one.

    Raises
    ------
    DataError
        If a file is unreadable, lacks a column, has an onset that is no number or twice, or names
        a stimulus by a path that leaves its folder.
    """
    numbers = session_numbers([f.session or "1" for f in files])
    tables = []
    for file in files:
        table = _read_run(file.path, config)
        table.insert(0, "session", numbers[file.session or "1"])
        table.insert(1, "session_label", file.session)
        table.insert(2, "run", file.run)
        tables.append(table)
    trials = pd.concat(tables, ignore_index=True)
    if not len(trials):
        raise DataError(
            f"column {config.stimulus_column} names no stimulus in {files[0].path} and the other "
            f"{len(files) - 1} runs; name another column"
        )
    return trials


def _read_run(path: Path, config: EventsConfig) -> pd.DataFrame:
    table = read_table(path, sep="\t", dtype=str, keep_default_na=False)
    table = table.fillna("")
    needed = ["onset", config.stimulus_column, *filter(None, [config.split_column])]
    absent = [c for c in needed if c not in table.columns]
    if absent:
        raise DataError(f"{path} has no column {absent[0]}; it has {list(table.columns)}")
    names = table[config.stimulus_column].str.strip()
    ids = names.map(lambda name: _stem(name, path)) if _is_file(config) else names
    ignored = {word.lower() for word in (*config.ignore, *NO_TRIALS, *MISSING)}
    left_out = ids.str.lower().isin(ignored) | names.str.lower().isin(ignored)
    # An onset that is not known (BIDS: n/a): no GLM can have such a trial.
    unknown = table["onset"].str.strip().str.lower().isin(MISSING)
    is_trial = ~(left_out | unknown).to_numpy()
    rows = np.flatnonzero(is_trial)
    onset = pd.to_numeric(table["onset"].iloc[rows], errors="coerce").to_numpy(dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(onset))
    if bad.size:
        row = int(rows[bad[0]])
        raise DataError(f"{path}, row {row}: onset {table['onset'].iloc[row]!r} is no number")
    trials = pd.DataFrame({"onset": onset, "stimulus_id": ids.iloc[rows].to_numpy()})
    if _is_file(config):
        trials["stim_file"] = names.iloc[rows].to_numpy()
    if config.split_column:
        trials["split"] = _splits(table[config.split_column].iloc[rows], path)
    trials = trials.sort_values("onset", kind="stable", ignore_index=True)
    twice = np.flatnonzero(trials["onset"].duplicated().to_numpy())
    if twice.size:
        raise DataError(
            f"{path} has two stimuli at onset {trials['onset'].iloc[twice[0]]}; a single-trial GLM "
            "cannot tell them apart, put one on the list of ignored ids"
        )
    return trials


def _is_file(config: EventsConfig) -> bool:
    return config.stimulus_column == "stim_file"


def _stem(name: str, path: Path) -> str:
    if name.lower() in MISSING:
        return ""
    if not is_inside(name):
        raise DataError(f"{path} names the stimulus {name!r}, which leaves the folder of stimuli")
    return PurePosixPath(name).stem


def _splits(values: pd.Series, path: Path) -> list[str]:
    splits = [SPLIT_NAMES.get(v, v) for v in values.str.strip().str.lower()]
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise DataError(f"{path} has the split {unknown[0]!r}; it may hold {SPLITS}")
    return splits
