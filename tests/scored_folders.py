"""Scored folders as `mindeye evaluate` leaves them, with scores at random."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mindeye.metrics.table import Row, Scored, write_table

IDS = [f"s{i:03}" for i in range(40)]


def scored(
    folder: Path,
    seed: int,
    *,
    ids: Sequence[str] = IDS,
    systems: Sequence[str] = ("both", "low"),
    shift: float = 0.0,
    k: int | None = 1,
    subject: str = "",
) -> Path:
    """Write a scored folder as `mindeye evaluate` does: pictures and retrieval."""
    rng = np.random.default_rng(seed)
    rows = []
    for system in systems:
        for metric, chance in (
            ("PixCorr", None),
            ("distance_swav", 1.0),
            ("brain_to_image_median_rank", (len(ids) - 1) / 2),
        ):
            values = rng.random(len(ids)) + shift
            note = "at 64 px" if metric == "PixCorr" else ""
            row = Row(metric, system, values.mean(), 0, 1, len(ids), chance, 0, note=note, k=k)
            rows.append(Scored(row, values))
        rows.append(Scored(Row("effective_rank", system, 3.0, None, None, 9, None, None), None))
    write_table([(ids, rows)], [], folder)
    if subject:
        (folder / "run.json").write_text(json.dumps({"subject": subject}))
    return folder


def group(folder: Path, shifts: Sequence[float], *, seed: int, first: int = 1) -> Path:
    for m, shift in enumerate(shifts, start=first):
        ids = IDS if m % 2 else IDS[:25]
        scored(folder / f"subj{m:02}", seed + m, ids=ids, shift=shift, subject=f"print{m}")
    return folder
