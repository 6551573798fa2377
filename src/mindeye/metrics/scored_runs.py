"""Scored runs: what `mindeye run` or `mindeye evaluate` left, and which of them pair up.

Of a folder ``metrics.json`` and ``scores.csv`` are read, and ``run.json`` if it is a run, so that
anybody's scores can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mindeye.errors import DataError
from mindeye.files import read_json
from mindeye.metrics.table import Row, read_scores

Name = tuple[str, str]
"""A system and a metric."""


@dataclass(frozen=True)
class ScoredRun:
    """The scores of one folder, or of one table.

    Attributes
    ----------
    folder
        Folder that was read; None for a table.
    subject
        Fingerprint of the subject that was decoded, empty where it is not known.
    rows
        Rows of the table of metrics, by system and metric; none of a table.
    versions
        Version of every metric's definition; none of a table.
    scores
        Score of every stimulus, by system and metric; indexed by stimulus id.
    """

    folder: Path | None
    subject: str
    rows: Mapping[Name, Row]
    versions: Mapping[str, int]
    scores: Mapping[Name, pd.Series[float]]

    @property
    def systems(self) -> list[str]:
        """Systems that have scores per stimulus, in the order of the table."""
        return list(dict.fromkeys(system for system, _ in self.scores))


def read_pairs(
    first: Path | pd.DataFrame, second: Path | pd.DataFrame
) -> tuple[dict[str, tuple[ScoredRun, ScoredRun]], list[str]]:
    """Read two scored runs, or two folders that hold one scored run a subject.

    Parameters
    ----------
    first, second
        Folders A and B, whose sub-folders of the same name are of the same subject; or tables of
        scores per stimulus, with the columns of ``scores.csv``.

    Returns
    -------
    dict
        Subject to its two runs; of two single runs, the only key is empty.
    list of str
        What a reader must know about the pairs.

    Raises
    ------
    DataError
        If a folder is not scored or its files are damaged, one is a run and the other one holds
        several, or no subject is in both.
    """
    a, b = _scored_folders(first), _scored_folders(second)
    if ("" in a) != ("" in b):
        raise DataError(
            f"{first} and {second} do not pair up: {'A' if '' in a else 'B'} is one run, the other "
            "one holds several; give two runs, or two folders with one run a subject"
        )
    common = [name for name in a if name in b]
    if not common:
        raise DataError(
            f"{first} and {second} have no sub-folder in common ({', '.join(list(a)[:3])} and "
            f"{', '.join(list(b)[:3])}); runs of a subject are paired by the name of their folder"
        )
    pairs = {name: (read_scored_run(a[name]), read_scored_run(b[name])) for name in common}
    notes = [f"{name} is only in A: left out" for name in a if name not in b]
    notes += [f"{name} is only in B: left out" for name in b if name not in a]
    notes += [
        f"{name + ': ' if name else ''}A and B decode different subjects (or one subject prepared "
        "in two ways); the differences hold those of the subjects too"
        for name, (one, two) in pairs.items()
        if one.subject and two.subject and one.subject != two.subject
    ]
    return pairs, notes


def _scored_folders(folder: Path | pd.DataFrame) -> Mapping[str, Path | pd.DataFrame]:
    if isinstance(folder, pd.DataFrame):
        return {"": folder}
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give one that `mindeye evaluate` has scored")
    if (folder / "scores.csv").is_file():
        return {"": folder}
    inside = {p.name: p for p in sorted(folder.iterdir()) if (p / "scores.csv").is_file()}
    if not inside:
        raise DataError(
            f"{folder} has no scores.csv, nor has a folder within it; score it with "
            "`mindeye evaluate`"
        )
    return inside


def read_scored_run(folder: Path | pd.DataFrame) -> ScoredRun:
    """Read one folder of scores, or take a table of scores per stimulus.

    Raises
    ------
    DataError
        If a file is missing or damaged, a stimulus is scored twice, or a score is not finite.
    """
    if isinstance(folder, pd.DataFrame):
        return ScoredRun(None, "", {}, {}, _scores(_by_stimulus(folder), "the table"))
    content = _mapping(folder / "metrics.json")
    versions = content.get("versions")
    if not isinstance(versions, dict):
        raise DataError(
            f"{folder / 'metrics.json'} states no versions of its metrics; score it again with "
            "`mindeye evaluate`"
        )
    try:
        rows = {(row["system"], row["metric"]): Row(**row) for row in content["rows"]}
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / 'metrics.json'} is not a table of metrics: {error}") from error
    run = folder / "run.json"
    subject = str(_mapping(run).get("subject", "")) if run.is_file() else ""
    scores = _scores(read_scores(folder), str(folder / "scores.csv"))
    return ScoredRun(folder, subject, rows, versions, scores)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is missing or damaged ({error}); score the folder again with "
            "`mindeye evaluate`"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no table; score the folder again with `mindeye evaluate`")
    return content


def _by_stimulus(table: pd.DataFrame) -> pd.DataFrame:
    """Return scores by stimulus: the table itself, or those that `evaluate` keeps with its own."""
    by_stimulus = table.attrs.get("scores")
    frame = table if by_stimulus is None else pd.DataFrame(by_stimulus)
    needed = ["system", "metric", "stimulus_id", "value"]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise DataError(
            f"a table of scores has the columns {', '.join(needed)}; {missing[0]} is missing"
        )
    return frame.astype({"stimulus_id": str})


def _scores(frame: pd.DataFrame, path: str) -> dict[Name, pd.Series[float]]:
    names = ["system", "metric", "stimulus_id"]
    bad = (frame[names] == "").any(axis=1) | ~np.isfinite(frame["value"].to_numpy())
    if bad.any():
        # Line 1 holds the names of the columns.
        raise DataError(f"{path} line {int(np.argmax(bad.to_numpy())) + 2}: empty or not finite")
    twice = frame[frame.duplicated(names)]
    if len(twice):
        one = twice.iloc[0]
        raise DataError(
            f"{path}: {one['metric']} of {one['system']} scores {one['stimulus_id']!r} twice"
        )
    groups = frame.groupby(["system", "metric"], sort=False)
    return {
        (str(system), str(metric)): group.set_index("stimulus_id")["value"]
        for (system, metric), group in groups
    }
