"""The trial table: which stimulus was shown in which session, run and trial."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.tables import read_table
from mindeye.errors import DataError

COLUMNS = ("session", "run", "trial", "stimulus_id", "repeat")


def read_trials(path: str | Path) -> pd.DataFrame:
    """Read a trial table from CSV; `stimulus_id` is text, so that "007" stays "007".

    Raises
    ------
    DataError
        If the file is missing, unreadable or has no column `stimulus_id`.
    """
    if not Path(path).is_file():
        raise DataError(f"no trial table at {path}; give a CSV with a column stimulus_id")
    return _read_table(Path(path), str(path))


def as_trials(trials: pd.DataFrame | Sequence[Any] | NDArray[Any]) -> pd.DataFrame:
    """Return a trial table that is in memory as it would be read from CSV.

    Parameters
    ----------
    trials
        One row a trial with a column `stimulus_id`, or the stimulus ids alone, one a trial.

    Raises
    ------
    DataError
        If there is no column `stimulus_id`, or the ids are not one a trial.

    Examples
    --------
    >>> as_trials([3, 1, 3])["stimulus_id"].tolist()
    ['3', '1', '3']
    """
    if not isinstance(trials, pd.DataFrame):
        ids = np.asarray(trials)
        if ids.ndim != 1:
            raise DataError(
                f"trials have shape {ids.shape}; give a table, or one stimulus id a trial"
            )
        trials = pd.DataFrame({"stimulus_id": ids})
    return _read_table(StringIO(trials.to_csv(index=False)), "trials")


def _read_table(file: Path | StringIO, name: str) -> pd.DataFrame:
    table = read_table(file, name=name, dtype={"stimulus_id": str}, keep_default_na=False)
    if "stimulus_id" not in table.columns:
        raise DataError(f"{name} has no column stimulus_id; it has {list(table.columns)}")
    return table


def complete_trials(table: pd.DataFrame) -> pd.DataFrame:
    """Fill in what a trial table may leave out: session, run, trial and repeat.

    Parameters
    ----------
    table
        One row per trial, in the order of the betas; needs `stimulus_id`.

    Returns
    -------
    DataFrame
        With all of `COLUMNS` (0-based repeat = rank among presentations of one stimulus) and
        whatever other columns there were.

    Raises
    ------
    DataError
        If a stimulus id is empty, a column is not integer, or one stimulus has the same repeat
        twice.
    """
    table = table.copy()
    table["stimulus_id"] = table["stimulus_id"].astype(str).str.strip()
    empty = np.flatnonzero((table["stimulus_id"] == "").to_numpy())
    if empty.size:
        raise DataError(f"row {empty[0]} of the trial table has no stimulus_id")
    for name in ("session", "run"):
        if name not in table.columns:
            table[name] = 0
    if "trial" not in table.columns:
        table["trial"] = np.arange(len(table))
    if "repeat" not in table.columns:
        table["repeat"] = table.groupby("stimulus_id").cumcount()
    for name in ("session", "run", "trial", "repeat"):
        numbers = pd.to_numeric(table[name], errors="coerce")
        bad = np.flatnonzero(numbers.isna().to_numpy() | (numbers % 1 != 0).to_numpy())
        if bad.size:
            raise DataError(
                f"column {name} of the trial table must hold whole numbers; row {bad[0]} has "
                f"{table[name].iloc[bad[0]]!r}"
            )
        table[name] = numbers.astype(np.int64)
    twice = table.duplicated(["stimulus_id", "repeat"])
    if twice.any():
        row = int(np.flatnonzero(twice.to_numpy())[0])
        raise DataError(
            f"trial {row} repeats stimulus {table['stimulus_id'].iloc[row]!r}, repeat "
            f"{table['repeat'].iloc[row]}, which an earlier trial already has"
        )
    others = [c for c in table.columns if c not in COLUMNS]
    return table[[*COLUMNS, *others]].reset_index(drop=True)


def trials_by_stimulus(trials: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Return the row numbers of every stimulus, in the order of its repeats."""
    ordered = trials.sort_values(["stimulus_id", "repeat"], kind="stable")
    groups = ordered.groupby("stimulus_id", sort=False).indices
    rows = ordered.index.to_numpy()
    return {str(key): rows[where].astype(np.int64) for key, where in groups.items()}
