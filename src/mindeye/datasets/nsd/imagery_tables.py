"""Tables of NSD-imagery: order of the runs, targets, and which target each trial was about.

Where the facts are from, and what was not established: see `nsd.imagery`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mindeye.data.tables import read_table
from mindeye.datasets.file_formats import load_mat
from mindeye.datasets.nsd.layout import require_file
from mindeye.datasets.picture_folder import is_inside
from mindeye.errors import DataError

Task = Literal["vision", "imagery"]

RUNS = (
    "visA", "attA", "imgA_1", "visB", "attB", "imgB_1", "visC", "attC", "imgC_1",
    "imgA_2", "imgB_2", "imgC_2",
)  # fmt: skip
"""Runs in the order of the betas."""
TASKS = {"vision": "vis", "imagery": "img"}
SETS = {"simple": "A", "complex": "B", "conceptual": "C"}
TARGETS = 6
PARTS = sum(2 if run.startswith("att") else 1 for run in RUNS)
"""Betas of a session over trials of a run: 720 / 48."""


@dataclass(frozen=True)
class Run:
    """A run's place among the betas.

    Parameters
    ----------
    number
        Place of the run in the session, from 0.
    name
        Task, set of targets and repetition, like ``imgA_1``.
    rows
        Rows of the file of betas that stand for the run's trials, from 0.
    """

    number: int
    name: str
    rows: range


def runs_of(task: Task, trials: int) -> list[Run]:
    """Return the runs of a task, all sets, each with the betas that stand for its trials."""
    runs, start = [], 0
    for number, name in enumerate(RUNS):
        if name.startswith(TASKS[task]):
            runs.append(Run(number, name, range(start, start + trials)))
        start += (2 if name.startswith("att") else 1) * trials
    return runs


def set_of(run: str) -> str:
    """Return the name of the set of targets of a run."""
    return next(name for name, letter in SETS.items() if run[3] == letter)


def read_targets(path: Path, stimulus_set: str) -> pd.DataFrame:
    """Return the targets of a set: `stimulus_id`, `set`, `cue` (letter), `target` (file name).

    Raises
    ------
    DataError
        If the file is missing, unreadable or does not list six targets.
    """
    require_file(path, f"targets of the {stimulus_set} set")
    cells = load_mat(path, ["pair_list"])["pair_list"]
    if cells.shape != (TARGETS, 3):
        raise DataError(
            f"pair_list of {path} has shape {cells.shape}, not ({TARGETS}, 3): number, name, letter"
        )
    names = [_cell(c) for c in cells[:, 1]]
    cues = [_cell(c) for c in cells[:, 2]]
    bad = [c for c in cues if re.fullmatch(r"[A-Za-z0-9]{1,20}", c) is None]
    if bad or len(set(cues)) != TARGETS:
        raise DataError(f"the letters in pair_list of {path} are {cues}, not six different ones")
    unsafe = [n for n in names if not is_inside(n) or "/" in n]
    if unsafe:
        raise DataError(f"pair_list of {path} names {unsafe[0]!r}, which is not a file's name")
    return pd.DataFrame(
        {
            "stimulus_id": [f"imagery_{c}" for c in cues],
            "set": stimulus_set,
            "cue": cues,
            "target": names,
        }
    )


def _cell(content: object) -> str:
    """Return the text of a MATLAB cell, however often it is wrapped."""
    while isinstance(content, np.ndarray) and content.size == 1:
        content = content.item()
    return str(content).strip()


def run_trials(run: Run, path: Path, targets: pd.DataFrame) -> pd.DataFrame:
    """Return a row a trial of a run, in the order of its betas.

    Raises
    ------
    DataError
        If the table is malformed, has another number of trials or an unknown target.
    """
    table = read_table(path, sep="\t", dtype=str, keep_default_na=False)
    missing = [c for c in ("TRIAL", "CONDITION", "CUE") if c not in table]
    if missing:
        raise DataError(f"{path} lacks the columns {missing}; it has {list(table)}")
    number = pd.to_numeric(table["TRIAL"], errors="coerce")
    if sorted(number) != list(range(1, len(run.rows) + 1)):
        raise DataError(
            f"TRIAL of {path} must hold each of 1 to {len(run.rows)} once, as many as there are "
            f"betas of the run; it has {len(table)} rows"
        )
    table = table.iloc[np.argsort(number.to_numpy(), kind="stable")]
    cue, condition = table["CUE"].str.strip(), table["CONDITION"].str.strip()
    if run.name.startswith("img") and (cue != condition).any():
        row = int(np.flatnonzero((cue != condition).to_numpy())[0])
        raise DataError(
            f"trial {row + 1} of {path} has CUE {cue.iloc[row]!r} but CONDITION "
            f"{condition.iloc[row]!r}; in imagery the cued target is the imagined one"
        )
    shown = condition.to_numpy()
    letters = targets.loc[targets["set"] == set_of(run.name), "cue"].tolist()
    unknown = sorted(set(shown) - set(letters))
    if unknown:
        raise DataError(f"{path} names target {unknown[0]!r}; the set has {letters}")
    return pd.DataFrame(
        {
            "run": run.number,
            "trial": np.asarray(run.rows),
            "stimulus_id": [f"imagery_{letter}" for letter in shown],
            "run_name": run.name,
            "cue": cue.to_numpy(),
        }
    )


def check_design(path: Path, runs: Sequence[Run], trials: pd.DataFrame) -> None:
    """Check the order of the trials against the GLM's events, which made the betas.

    Events in time must be as many as the run has betas, and those of one column must be those of
    one target, the other way round too.

    Raises
    ------
    DataError
        If the file is malformed or the orders differ.
    """
    from scipy.sparse import issparse

    cells = load_mat(path, ["stimulus"])["stimulus"].ravel()
    if len(cells) != len(RUNS):
        raise DataError(f"stimulus of {path} has {len(cells)} cells, not {len(RUNS)} runs")
    for run in runs:
        own = trials[trials["run"] == run.number]
        cell = cells[run.number]
        design = np.asarray(cell.toarray() if issparse(cell) else cell)
        if design.ndim != 2 or design.dtype.kind not in "biuf":
            raise DataError(f"run {run.name} in {path} is no matrix of (time, columns)")
        columns = np.nonzero(design)[1]
        if len(columns) != len(own):
            raise DataError(
                f"run {run.name} has {len(columns)} events in {path}, but {len(own)} betas; they "
                "are not of one experiment"
            )
        pairs = set(zip(columns.tolist(), own["stimulus_id"], strict=True))
        if len(pairs) != len(set(columns)) or len(pairs) != own["stimulus_id"].nunique():
            raise DataError(
                f"the events of run {run.name} in {path} are in another order than the trials of "
                "its table; betas would be paired with wrong targets"
            )
