"""What controls say: points (a score under one condition) and findings (what to believe).

The table scores a system once; a control scores it again under a condition, such as "only test
pictures unlike any training picture" or "one trial instead of three". A point is one such score;
a finding is a sentence that a reader must see before believing the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mindeye import files


@dataclass(frozen=True)
class Point:
    """One score of one system under one condition of a control.

    Attributes
    ----------
    control
        Name of the control, such as ``nearest_training``.
    condition
        Which of its conditions, such as ``far`` or ``2 trials``; points of one system and metric
        make a curve in the order in which they stand.
    system, metric
        Names of the system and the metric, as in the table.
    value, low, high
        Score and the ends of its interval over stimuli (None where there is no interval).
    n
        Stimuli scored.
    chance
        Score of guessing under this condition, None where there is none.
    reference
        What the point is to be held against, such as the score of the whole test set.
    note
        What a reader must know.
    """

    control: str
    condition: str
    system: str
    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    chance: float | None = None
    reference: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """What a control found.

    Attributes
    ----------
    control
        Name of the control.
    system
        System it speaks of, empty for the data.
    passed
        False is a warning: the table must not be believed without reading it.
    text
        One or two plain sentences with the figures in them.
    """

    control: str
    system: str
    passed: bool
    text: str


def write_controls(points: Sequence[Point], findings: Sequence[Finding], folder: Path) -> None:
    """Write ``controls.json`` (points and findings) and ``controls.csv`` (points) atomically."""
    content = {
        "points": [dataclasses.asdict(point) for point in points],
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "controls.json", content)
    columns = [f.name for f in dataclasses.fields(Point)]
    frame = pd.DataFrame.from_records(content["points"], columns=columns)
    files.write_text(folder / "controls.csv", frame.to_csv(index=False))


def read_controls(path: Path) -> tuple[list[Point], list[Finding]]:
    """Read a ``controls.json``."""
    content = files.read_json(path)
    return [Point(**p) for p in content["points"]], [Finding(**f) for f in content["findings"]]
