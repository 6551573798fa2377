"""The comparison of two scored runs: every metric that both have, tested on what both scored.

Scores are set against each other only if they answer the same question: the same version of the
metric, the same chance level (top-1 of 300 pictures is not top-1 of 100), pictures of the same
size. What is not compared is named with its reason.

Axes: S stimuli.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mindeye.errors import DataError, UsageError
from mindeye.metrics.comparison import (
    NEITHER,
    SAME,
    Difference,
    Pair,
    PairedConfig,
    adjusted,
    difference_of,
    group_difference_of,
    lower_is_better,
    statistic_of,
    stream,
    verdict,
)
from mindeye.metrics.comparison_inputs import Both, ScoredRun
from mindeye.metrics.table import Row
from mindeye.progress import track

FEW_SUBJECTS = 6
"""With fewer, flipping the signs of subjects cannot give a p below .05 (2 / 2^5 = .0625)."""


@dataclass(frozen=True)
class Compared:
    """One metric of one pair of systems.

    Parameters
    ----------
    metric, system_a, system_b
        What is compared.
    lower_is_better
        Its direction.
    difference
        Scores, difference, interval, p, effect; over subjects where there are several.
    p_adjusted
        The p for all tests of the comparison together.
    verdict
        ``A better``, ``B better``, ``neither`` or ``same``.
    note
        What a reader must know.
    subjects
        The same of every subject by itself, by name; empty where there is one.
    """

    metric: str
    system_a: str
    system_b: str
    lower_is_better: bool
    difference: Difference
    p_adjusted: float
    verdict: str
    note: str = ""
    subjects: Mapping[str, Difference] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """All tests between two runs.

    Parameters
    ----------
    a, b
        Folders, as they were given.
    config
        Level, resamples and seed.
    subjects
        Names of the subjects, empty for two single runs.
    tests
        In the order of A's table.
    notes
        What a reader must know before the table.
    left_out
        Metrics that were not compared, each with its reason.
    """

    a: str
    b: str
    config: PairedConfig
    subjects: Sequence[str]
    tests: Sequence[Compared]
    notes: Sequence[str]
    left_out: Sequence[str]


class _Paired(NamedTuple):
    """Scores of both systems on the stimuli that both have."""

    pair: Pair
    n_a: int
    n_b: int
    drawn: tuple[int | None, int | None]


def compare(
    pairs: Mapping[str, Both],
    systems: Sequence[tuple[str, str]],
    config: PairedConfig,
    *,
    names: tuple[str, str] = ("A", "B"),
    notes: Sequence[str] = (),
) -> Comparison:
    """Test every metric that both have, for every pair of systems.

    Parameters
    ----------
    pairs
        Subject to its two runs, as `read_both` gives them.
    systems
        System of A, system of B.
    config
        Level, resamples, seed.
    names
        What the two were called.
    notes
        What is known already.

    Raises
    ------
    UsageError
        If the level, the resamples or the seed make no sense.
    DataError
        If nothing can be compared; says why.
    """
    _check(config)
    left_out: list[str] = []
    found: list[Compared] = []
    asked = [(*both, metric) for both in systems for metric in _metrics(pairs, *both)]
    for system_a, system_b, metric in track(asked, "paired tests"):
        told = system_a if system_a == system_b else f"{system_a} and {system_b}"
        try:
            scored = _paired(pairs, system_a, system_b, metric)
        except DataError as error:
            left_out.append(f"{metric} of {told}: {error}")
            continue
        one = _compared(scored, (system_a, system_b, metric), config)
        if len(scored) < len(pairs):
            lacking = f"only of {', '.join(scored)}"
            one = dataclasses.replace(one, note="; ".join(filter(None, [lacking, one.note])))
        found.append(one)
    if not found:
        reason = left_out[0] if left_out else "they have no system and metric in common"
        raise DataError(f"nothing of {names[0]} and {names[1]} can be compared: {reason}")
    p_values = adjusted([one.difference.p for one in found])
    tests = [
        dataclasses.replace(
            one,
            p_adjusted=p,
            verdict=_said(one, p, config.level),
        )
        for one, p in zip(found, p_values, strict=True)
    ]
    subjects = [name for name in pairs if name]
    return Comparison(
        *names, config, subjects, tests, [*notes, *_few(len(pairs), subjects)], left_out
    )


def _said(one: Compared, p_adjusted: float, level: float) -> str:
    """Return the verdict; that subjects cancel out does not make the systems the same."""
    said = verdict(one.difference, p_adjusted, one.metric, level)
    differs = any(each.effect is not None for each in one.subjects.values())
    return NEITHER if said == SAME and differs else said


def _check(config: PairedConfig) -> None:
    if not 0 < config.level < 1:
        raise UsageError(f"--level must lie between 0 and 1, like 0.95, not {config.level}")
    if config.resamples < 100:
        raise UsageError(f"--resamples must be at least 100, not {config.resamples}")
    if config.seed < 0:
        raise UsageError(f"--seed must not be negative, got {config.seed}")


def _few(count: int, subjects: Sequence[str]) -> list[str]:
    if not subjects or count >= FEW_SUBJECTS:
        return []
    if count == 1:
        return ["one subject: intervals speak for other stimuli, not for other subjects"]
    return [
        f"{count} subjects: intervals are wide since they rest on {count} independent numbers, "
        f"and no p is below {2 / 2**count:.3g}"
    ]


def _metrics(pairs: Mapping[str, Both], system_a: str, system_b: str) -> list[str]:
    """Return the metrics of the two systems that some subject has of both."""
    found = {
        metric: None
        for both in pairs.values()
        for system, metric in both.a.scores
        if system == system_a and (system_b, metric) in both.b.scores
    }
    return [metric for metric in found if lower_is_better(metric) is not None]


def _paired(
    pairs: Mapping[str, Both], system_a: str, system_b: str, metric: str
) -> dict[str, _Paired]:
    """Pair the scores of every subject by stimulus, or say why they do not pair up."""
    scored = {
        name: (both.a, both.b)
        for name, both in pairs.items()
        if (system_a, metric) in both.a.scores and (system_b, metric) in both.b.scores
    }
    versions = Counter(str(run.versions.get(metric)) for both in scored.values() for run in both)
    if len(versions) > 1 or "None" in versions:
        listed = ", ".join(sorted(versions))
        raise DataError(
            f"its definition has other versions in other folders ({listed}); score them again with "
            "one version of mindeye"
        )
    found = {}
    for name, (a, b) in scored.items():
        try:
            found[name] = _subject(a, b, (system_a, metric), (system_b, metric))
        except DataError as error:
            raise DataError(f"{name}: {error}" if name else str(error)) from error
    return found


def _subject(a: ScoredRun, b: ScoredRun, of_a: tuple[str, str], of_b: tuple[str, str]) -> _Paired:
    row_a, row_b = a.rows.get(of_a), b.rows.get(of_b)
    if row_a is None or row_b is None:
        raise DataError("metrics.json has no row for its scores; score the folder again")
    reason = unlike(row_a, row_b)
    if reason:
        raise DataError(reason)
    first, second = a.scores[of_a], b.scores[of_b]
    common = first.index.intersection(second.index, sort=False)
    if not len(common):
        raise DataError(
            f"no stimulus in common ({len(first)} in A like {first.index[0]!r}, {len(second)} in B "
            f"like {second.index[0]!r}); paired tests need the same test stimuli"
        )
    pair = (
        np.asarray(first.loc[common], dtype=np.float64),
        np.asarray(second.loc[common], dtype=np.float64),
    )
    return _Paired(pair, len(first), len(second), (row_a.k, row_b.k))


def unlike(row_a: Row, row_b: Row) -> str:
    """Say why two rows do not answer the same question; empty if they do."""
    if row_a.chance is not None and row_b.chance is not None and row_a.chance != row_b.chance:
        return (
            f"chance is {row_a.chance:.4g} in A and {row_b.chance:.4g} in B, so they are not the "
            "same question; score both on the same stimuli and pool"
        )
    sizes = [re.search(r"at (\d+) px", row.note) for row in (row_a, row_b)]
    at = [found.group(1) if found else "another number of" for found in sizes]
    if at[0] != at[1]:
        return f"pictures were compared at {at[0]} and {at[1]} px; score both alike"
    return ""


def _compared(
    scored: Mapping[str, _Paired], name: tuple[str, str, str], config: PairedConfig
) -> Compared:
    system_a, system_b, metric = name
    statistic = statistic_of(metric)
    pairs = [one.pair for one in scored.values()]
    over_all = group_difference_of(pairs, stream(config, *name), config, statistic=statistic)
    each = {
        subject: difference_of(
            *one.pair, stream(config, *name, subject), config, statistic=statistic
        )
        for subject, one in scored.items()
        if subject
    }
    note = "; ".join(dict.fromkeys(text for s, one in scored.items() for text in _notes(s, one)))
    return Compared(
        metric, system_a, system_b, bool(lower_is_better(metric)), over_all, 1.0, "", note, each
    )


def _notes(subject: str, one: _Paired) -> list[str]:
    prefix, n = f"{subject}: " if subject else "", one.pair[0].size
    notes = []
    if n < max(one.n_a, one.n_b):
        notes.append(f"{prefix}{n} common stimuli of {one.n_a} in A and {one.n_b} in B")
    if one.drawn[0] != one.drawn[1]:
        drawn = ["not told" if k is None else str(k) for k in one.drawn]
        notes.append(f"{prefix}candidates a stimulus: {drawn[0]} in A, {drawn[1]} in B")
    return notes
