"""What is compared: scored runs, folders of one run a subject, and which of their scores pair up.

A folder is what `mindeye run` or `mindeye evaluate` left: ``metrics.json`` and ``scores.csv``, and
``run.json`` if it is a run. Nothing else of it is read, so anybody's scores can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mindeye.errors import DataError, UsageError
from mindeye.files import read_json
from mindeye.metrics.table import Row, read_scores

Name = tuple[str, str]
"""A system and a metric."""


@dataclass(frozen=True)
class ScoredRun:
    """The scores of one folder.

    Parameters
    ----------
    folder
        Where it lies.
    subject
        Fingerprint of the subject that was decoded, empty where it is not known.
    rows
        Rows of its table.
    versions
        Version of every metric's definition.
    scores
        Score of every stimulus, by system and metric; indexed by stimulus id.
    """

    folder: Path
    subject: str
    rows: Mapping[Name, Row]
    versions: Mapping[str, int]
    scores: Mapping[Name, pd.Series[float]]

    @property
    def systems(self) -> list[str]:
        """Systems that have scores per stimulus, in the order of the table."""
        return list(dict.fromkeys(system for system, _ in self.scores))


class Both(NamedTuple):
    """The two runs of one subject."""

    a: ScoredRun
    b: ScoredRun


def read_both(first: Path, second: Path) -> tuple[dict[str, Both], list[str]]:
    """Read two scored runs, or two folders that hold one scored run a subject.

    Parameters
    ----------
    first, second
        Folders A and B. Sub-folders of the same name are of the same subject.

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
    folders = {name: _scored_folders(folder) for name, folder in (("A", first), ("B", second))}
    single = [name for name, found in folders.items() if "" in found]
    if len(single) == 1:
        raise DataError(
            f"{first} and {second} do not pair up: {single[0]} is one run, the other one holds "
            "several; give two runs, or two folders with one run a subject"
        )
    a, b = folders["A"], folders["B"]
    common = [name for name in a if name in b]
    if not common:
        raise DataError(
            f"{first} and {second} have no sub-folder in common ({', '.join(list(a)[:3])} and "
            f"{', '.join(list(b)[:3])}); runs of a subject are paired by the name of their folder"
        )
    pairs = {name: Both(read_scored_run(a[name]), read_scored_run(b[name])) for name in common}
    notes = [
        f"{name} is only in {which}: left out"
        for which, ours, others in (("A", a, b), ("B", b, a))
        for name in ours
        if name not in others
    ]
    return pairs, notes + _other_subjects(pairs)


def _scored_folders(folder: Path) -> dict[str, Path]:
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


def _other_subjects(pairs: Mapping[str, Both]) -> list[str]:
    return [
        f"{name + ': ' if name else ''}A and B decode different subjects (or one subject prepared "
        "in two ways); the differences hold those of the subjects too"
        for name, (a, b) in pairs.items()
        if a.subject and b.subject and a.subject != b.subject
    ]


def read_scored_run(folder: Path) -> ScoredRun:
    """Read one folder of scores.

    Raises
    ------
    DataError
        If a file is missing or damaged, a stimulus is scored twice, or a score is not finite.
    """
    content = _mapping(folder / "metrics.json")
    versions = content.get("versions")
    if not isinstance(versions, dict):
        raise DataError(
            f"{folder / 'metrics.json'} states no versions of its metrics; score it again with "
            "`mindeye evaluate`"
        )
    try:
        table = [Row(**row) for row in content["rows"]]
        rows = {(row.system, row.metric): row for row in table}
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / 'metrics.json'} is not a table of metrics: {error}") from error
    known = folder / "run.json"
    subject = str(_mapping(known).get("subject", "")) if known.is_file() else ""
    return ScoredRun(folder, subject, rows, versions, _scores(folder))


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


def _scores(folder: Path) -> dict[Name, pd.Series[float]]:
    frame, path = read_scores(folder), folder / "scores.csv"
    bad = (frame[["system", "metric", "stimulus_id"]] == "").any(axis=1)
    bad |= ~np.isfinite(frame["value"].to_numpy())
    if bad.any():
        # Line 1 holds the names of the columns.
        raise DataError(f"{path} line {int(np.argmax(bad.to_numpy())) + 2}: empty or not finite")
    twice = frame[frame.duplicated(["system", "metric", "stimulus_id"])]
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


def parse_systems(system: str, systems: str, pairs: Mapping[str, Both]) -> list[tuple[str, str]]:
    """Return which system of A is set against which one of B.

    Parameters
    ----------
    system
        One system, compared with itself in the other run; empty for all.
    systems
        Text like ``both=high,mindeye=ridge``: a system of A = a system of B.
    pairs
        The runs.

    Raises
    ------
    UsageError
        If both are given, the text is not of that form, a system is not there, or a folder would
        be compared with itself.
    """
    if system and systems:
        raise UsageError("give --system or --systems, not both")
    every = list(pairs.values())
    known = [list(dict.fromkeys(s for both in every for s in both[i].systems)) for i in (0, 1)]
    if systems:
        wanted = [tuple(part.strip() for part in word.split("=")) for word in systems.split(",")]
        wrong = [w for w in wanted if len(w) != 2 or not all(w)]
        if wrong:
            raise UsageError(f"--systems takes pairs like both=high,mindeye=ridge, not {systems!r}")
        chosen = [(w[0], w[1]) for w in wanted]
    else:
        names = [system] if system else [s for s in known[0] if s in known[1]]
        chosen = [(name, name) for name in names]
    for which, place in (("A", 0), ("B", 1)):
        for name in (pair[place] for pair in chosen):
            if name not in known[place]:
                raise UsageError(
                    f"{which} has no scores of a system {name!r}; known: {', '.join(known[place])}"
                )
    same = all(both.a.folder.resolve() == both.b.folder.resolve() for both in every)
    if same and any(a == b for a, b in chosen):
        raise UsageError("A and B are the same folder; name two of its systems: --systems a=b")
    return list(dict.fromkeys(chosen))
