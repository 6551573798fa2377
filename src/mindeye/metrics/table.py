"""The tidy table: every metric of every system with its interval, floor, ceiling and chance.

A number never stands alone: beside it are the interval over stimuli, what chance gives, what the
same predictions score when shuffled (floor), what a training picture would have scored in its
place, and what the best possible system of the same setting scores (ceiling), where one is known.
Scores per stimulus are written too, so that two systems can be compared pairwise later.

Axes: S stimuli.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye import files
from mindeye.errors import DataError
from mindeye.metrics.features import Missing
from mindeye.metrics.registry import metric
from mindeye.metrics.systems import references


@dataclass(frozen=True)
class Row:
    """One metric of one system.

    Attributes
    ----------
    metric, system
        Names, as in docs/reference/metrics.md.
    value, low, high
        Score and the ends of its interval over stimuli (None where there is no interval).
    n
        Stimuli scored.
    chance
        Score of guessing; None where the metric has none (pixel metrics).
    floor
        Score of the same predictions paired with pictures at random.
    ceiling
        Score of the best possible system in this setting, if known.
    floor_low, floor_high
        Interval of the floor over random pairings.
    note
        What a reader must know, such as a smaller candidate pool.
    k
        Candidates drawn per stimulus, of which one was picked; 1 is a draw without a choice, None
        where nothing is drawn.
    references
        What other ways of answering score on the same metric, by the names of
        `mindeye.metrics.systems.references`.
    """

    metric: str
    system: str
    value: float
    low: float | None
    high: float | None
    n: int
    chance: float | None
    floor: float | None
    ceiling: float | None = None
    floor_low: float | None = None
    floor_high: float | None = None
    note: str = ""
    k: int | None = None
    references: Mapping[str, float] = field(default_factory=dict)


class Scored(NamedTuple):
    """A row and the scores that it is the mean (or median) of.

    Attributes
    ----------
    row
        Row of the table.
    values
        (n,) one score a stimulus, NaN where a stimulus was not scored; None where the metric is
        one of all stimuli together.
    """

    row: Row
    values: NDArray[np.float64] | None


def write_table(
    groups: Sequence[tuple[Sequence[str], Sequence[Scored]]],
    missing: Sequence[Missing],
    folder: Path,
    *,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write ``metrics.json``, ``metrics.csv`` and ``scores.csv`` atomically.

    Parameters
    ----------
    groups
        Stimulus ids and the rows that score them, in the order of the ids.
    missing
        Metrics that could not be computed, with reason and remedy.
    folder
        Folder that the three files are written to.
    settings
        Further content of ``metrics.json``: how was scored, what was converted.

    Raises
    ------
    DataError
        If a metric of a system is there twice or a number is not finite.
    """
    scored = [one for _, group in groups for one in group]
    rows = [one.row for one in scored]
    records = _records(rows)
    content = {
        "rows": records,
        "missing": [{"metric": m.metric, "why": m.why, "how": m.how} for m in missing],
        "versions": {row.metric: metric(row.metric).version for row in rows},
        **(settings or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / "metrics.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
    files.write_text(folder / "metrics.csv", _flat(records).to_csv(index=False))
    files.write_text(folder / "scores.csv", _per_stimulus(groups).to_csv(index=False))


def _records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    names = [(row.metric, row.system) for row in rows]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"metrics reported twice: {twice}")
    records = [dataclasses.asdict(row) for row in rows]
    for record in records:
        named = {**record, **record["references"]}
        bad = [k for k, v in named.items() if isinstance(v, float) and not math.isfinite(v)]
        if bad:
            raise DataError(f"{record['metric']} of {record['system']} has no finite {bad}")
        known = references()
        strange = set(record["references"]) - set(known)
        if strange:
            raise DataError(f"unknown references {sorted(strange)}; known: {', '.join(known)}")
    return records


def _flat(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Give every reference a column of its own."""
    columns = [f.name for f in dataclasses.fields(Row) if f.name != "references"]
    beside = list(references())
    flat = [
        {**{c: r[c] for c in columns}, **{n: r["references"].get(n) for n in beside}}
        for r in records
    ]
    frame = pd.DataFrame.from_records(flat, columns=[*columns, *beside])
    return frame.astype({"k": "Int64"})


def _per_stimulus(groups: Sequence[tuple[Sequence[str], Sequence[Scored]]]) -> pd.DataFrame:
    frames = [pd.DataFrame(columns=["system", "metric", "stimulus_id", "value"])]
    for ids, group in groups:
        for row, values in group:
            if values is None:
                continue
            if len(values) != len(ids):
                raise DataError(
                    f"{row.metric} of {row.system}: {len(values)} scores, {len(ids)} ids"
                )
            known = ~np.isnan(values)
            frames.append(
                pd.DataFrame(
                    {
                        "system": row.system,
                        "metric": row.metric,
                        "stimulus_id": np.asarray(ids, dtype=object)[known],
                        "value": values[known],
                    }
                )
            )
    return pd.concat(frames[1:] or frames, ignore_index=True)


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a ``metrics.json``."""
    return [Row(**record) for record in files.read_json(path)["rows"]]


def read_scores(folder: Path) -> pd.DataFrame:
    """Read ``scores.csv``: ``system``, ``metric``, ``stimulus_id`` (text), ``value``.

    Raises
    ------
    DataError
        If the folder has none, or it has other columns.
    """
    path = folder / "scores.csv"
    if not path.is_file():
        raise DataError(f"{path} is not there; score the run again with `mindeye evaluate`")
    try:
        frame = pd.read_csv(
            path, dtype={"stimulus_id": str, "system": str, "metric": str}, keep_default_na=False
        )
        return frame.astype({"value": float})[["system", "metric", "stimulus_id", "value"]]
    except (ValueError, KeyError) as error:
        raise DataError(f"{path} is not a table of scores: {error}") from error


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """Read rows from a table with the columns of ``metrics.csv``, or some of them.

    Parameters
    ----------
    frame
        One row a metric and system; without ``system`` all are of one, ``reconstructions``.
    """
    # In a CSV, a column of whole numbers with gaps is one of floats, and an empty note is a gap.
    frame = frame.astype({name: "Int64" for name in ("n", "k") if name in frame})
    frame = frame.fillna({"note": ""} if "note" in frame else {})
    names = [f.name for f in dataclasses.fields(Row) if f.name in frame]
    beside = [name for name in references() if name in frame]
    empty = dict.fromkeys(("low", "high", "chance", "floor"))
    records: list[dict[str, Any]] = (
        frame.astype(object).where(frame.notna(), None).to_dict("records")  # type: ignore[assignment]
    )
    return [
        Row(
            **{"system": "reconstructions", **empty, **{name: one[name] for name in names}},
            references={name: one[name] for name in beside if one[name] is not None},
        )
        for one in records
    ]


def text_of(frame: pd.DataFrame, words: Sequence[str]) -> str:
    """Write a table as aligned text, with columns of words to the left and numbers to the right.

    Parameters
    ----------
    frame
        Cells as text; columns in which all are empty are left out.
    words
        Columns of words.

    Examples
    --------
    >>> print(text_of(pd.DataFrame({"system": ["ridge", "knn"], "n": ["9", "10"]}), ["system"]))
    system   n
    ridge    9
    knn     10
    """
    columns = []
    for name in frame.loc[:, (frame != "").any()]:
        cells = [str(name), *frame[name]]
        width = max(map(len, cells))
        columns.append([c.ljust(width) if name in words else c.rjust(width) for c in cells])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))
