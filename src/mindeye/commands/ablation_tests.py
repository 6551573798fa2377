"""Tests of an ablation: every row against the full one, stimulus by stimulus; permutation nulls.

Axes: S stimuli.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.commands.ablation_plan import AblationRow
from mindeye.metrics.comparison import unlike
from mindeye.metrics.floors import permutation_p
from mindeye.metrics.paired import adjusted, sign_flip_p
from mindeye.metrics.registry import metric
from mindeye.metrics.table import Row
from mindeye.metrics.uncertainty import Interval, paired_difference

DIRECTIONS = ("brain_to_image", "image_to_brain")
PICTURE_SCORES = ("PixCorr", "SSIM", "two_way")
SCORES = (*(f"{d}_top1" for d in DIRECTIONS), *PICTURE_SCORES)
TESTED = (*DIRECTIONS, *PICTURE_SCORES)
"""What rows are tested on: hits among all test stimuli, and pictures."""

REFERENCE = "reference"
NEITHER = "neither"
NULL_FIELD = "permutation"
"""Field of a run that makes it a permutation null."""

SEED_FIELD = "seed"
"""Field of a run that makes it the same training with other random numbers."""

PERMUTATIONS = 10_000


@dataclass(frozen=True)
class RowResult:
    """What one row of a plan scored.

    Parameters
    ----------
    row
        Row of the plan.
    scores
        Scores of the row by the names in `SCORES`; names without a score are left out.
    pictures
        System whose pictures were scored, empty if none were drawn from embeddings.
    hits
        Direction to (S,) 1 where the truth is first among all test stimuli, else 0.
    drawn
        Score of every drawn stimulus by the names in `PICTURE_SCORES`, indexed by stimulus id.
    """

    row: AblationRow
    scores: dict[str, Row]
    pictures: str
    hits: dict[str, NDArray[np.float64]]
    drawn: dict[str, pd.Series[float]] = field(default_factory=dict)

    @property
    def is_seed(self) -> bool:
        """Whether the row is the full one with other random numbers."""
        return bool(self.row.changes) and set(self.row.changes) == {SEED_FIELD}

    @property
    def is_null(self) -> bool:
        """Whether the row is the full one with brains and stimuli paired at random."""
        return bool(self.row.changes) and set(self.row.changes) == {NULL_FIELD}


def verdict(difference: Interval) -> str:
    """Say where 0 lies: `higher` or `lower` if the interval leaves it out, else `neither`."""
    if difference.low > 0:
        return "higher"
    return "lower" if difference.high < 0 else NEITHER


def all_differences(results: Sequence[RowResult], full: RowResult) -> list[dict[str, Any]]:
    """Return every row's paired differences to the full row, by the names in `TESTED`.

    Each has ``value``, ``low``, ``high``, ``n``, ``p`` (sign-flip permutation, two-sided),
    ``p_adjusted`` (Benjamini-Hochberg over all tests of the table) and ``verdict``. The full row
    is the reference and has no p. Permutation nulls are not tested one by one: they are the null
    of `permutation_tests`, and a table of trivial hits would adjust the others too little.
    """
    differences = [{} if one.is_null else _differences(one, full) for one in results]
    tests = [cell for row in differences for cell in row.values() if cell["p"] is not None]
    for cell, p in zip(tests, adjusted([cell["p"] for cell in tests]), strict=True):
        cell["p_adjusted"] = p
    return differences


def _differences(result: RowResult, full: RowResult) -> dict[str, dict[str, Any]]:
    """Test one row; all rows are resampled alike, so rows compare too."""
    scoring, differences = full.row.config.evaluate, {}
    for purpose, name in enumerate(TESTED):
        pair = _pair(result, full, name)
        if pair is None:
            continue
        rng = np.random.default_rng([full.row.config.seed, purpose])
        difference = paired_difference(*pair, rng, level=scoring.level, resamples=scoring.resamples)
        reference = result is full
        differences[name] = {
            "value": difference.value,
            "low": difference.low,
            "high": difference.high,
            "n": len(pair[0]),
            "p": None if reference else sign_flip_p(*pair, rng, resamples=PERMUTATIONS),
            "p_adjusted": None,
            "verdict": REFERENCE if reference else verdict(difference),
        }
    return differences


def _pair(
    result: RowResult, full: RowResult, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return scores of the row and of the full row on the same stimuli, None if they have none."""
    if name in DIRECTIONS:
        if name not in result.hits or name not in full.hits:
            return None
        return result.hits[name], full.hits[name]
    if name not in result.drawn or name not in full.drawn:
        return None
    ours, theirs = result.scores[name], full.scores[name]
    if ours.metric != theirs.metric or unlike(ours, theirs):
        # Another encoder judged, or pictures of another size: not the same question.
        return None
    first, second = result.drawn[name], full.drawn[name]
    common = first.index.intersection(second.index, sort=False)
    if not len(common):
        return None
    return np.asarray(first.loc[common], float), np.asarray(second.loc[common], float)


def permutation_tests(results: Sequence[RowResult], full: RowResult) -> dict[str, dict[str, Any]]:
    """Hold the full row's scores against those of the plan's permutation nulls.

    Returns
    -------
    dict
        Score to ``value``, ``null_mean``, ``null_best``, ``permutations`` N and the one-sided
        ``p`` = (1 + #{null at least as good}) / (N + 1); empty if the plan has no nulls.
    """
    tests = {}
    for name, real in full.scores.items():
        null = [
            one.scores[name].value
            for one in results
            if one.is_null and name in one.scores and one.scores[name].metric == real.metric
        ]
        if null:
            sign = metric(real.metric).sign
            tests[name] = {
                "value": real.value,
                "null_mean": float(np.mean(null)),
                "null_best": float(max(null, key=lambda score: sign * score)),
                "permutations": len(null),
                "p": permutation_p(real.value, np.asarray(null), higher_is_better=sign > 0),
            }
    return tests


def seed_spreads(results: Sequence[RowResult], full: RowResult) -> dict[str, dict[str, Any]]:
    """Say how far scores lie apart that differ in nothing but the seed, the full row's included.

    Returns
    -------
    dict
        Score to ``values``, their ``mean`` and ``sd`` (standard deviation, n - 1); empty if no row
        of the plan changes the seed alone.
    """
    spreads = {}
    for name, real in full.scores.items():
        values = [real.value] + [
            one.scores[name].value
            for one in results
            if one.is_seed and name in one.scores and one.scores[name].metric == real.metric
        ]
        if len(values) > 1:
            spreads[name] = {
                "values": values,
                "mean": float(np.mean(values)),
                "sd": float(np.std(values, ddof=1)),
            }
    return spreads
