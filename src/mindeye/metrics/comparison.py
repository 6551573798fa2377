"""The comparison of two scored runs: every metric that both have, tested on what both scored.

Scores are set against each other only if they answer the same question: the same version of the
metric, the same chance level (top-1 of 300 pictures is not top-1 of 100), pictures of the same
size. What is not compared is named with its reason.

Axes: S stimuli.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.errors import DataError, UsageError
from mindeye.metrics.paired import (
    NEITHER,
    SAME,
    Difference,
    PairedConfig,
    adjusted,
    difference_of,
    group_difference_of,
    verdict,
)
from mindeye.metrics.registry import find_metric, metric
from mindeye.metrics.scored_runs import Name, ScoredRun, read_pairs
from mindeye.metrics.table import Row
from mindeye.progress import track
from mindeye.seeds import named_rng

FEW_SUBJECTS = 6
"""With fewer, flipping the signs of subjects cannot give a p below .05 (2 / 2^5 = .0625)."""

Pairs = Mapping[str, tuple[ScoredRun, ScoredRun]]
"""Subject to its two runs; the name is empty for two single runs."""


class _Paired(NamedTuple):
    """Scores of both systems on the stimuli that both have (S), and what to note about them."""

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    notes: Sequence[str]


class _Test(NamedTuple):
    """System of A, system of B and metric; the differences by subject; what to note."""

    name: tuple[str, str, str]
    differences: Mapping[str, Difference]
    note: str


def compare(
    a: Path | str | pd.DataFrame,
    b: Path | str | pd.DataFrame,
    *,
    systems: Sequence[tuple[str, str]] = (),
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Test two scored runs against each other, stimulus by stimulus.

    Parameters
    ----------
    a, b
        Folders that `mindeye run` or `mindeye evaluate` scored; two folders that hold one such
        folder a subject under the same names, which are compared over subjects; or tables of
        scores per stimulus with the columns ``system``, ``metric``, ``stimulus_id``, ``value``.
    systems
        System of A and system of B that are set against each other; by default every system that
        both have, against itself.
    level
        Level of the intervals; a verdict takes an adjusted p below 1 - level.
    resamples
        Bootstrap resamples, and permutations where not all can be counted out.
    seed
        Seed of both.

    Returns
    -------
    DataFrame
        One row a test with an empty ``subject``, each followed by a row a subject if there are
        several: scores of A and B, difference with interval, p, effect, p adjusted for all tests,
        verdict. ``attrs`` holds the settings, ``notes``, and what was ``left_out`` and why.

    Raises
    ------
    UsageError
        If a system is not there, a folder would be compared with itself, or a setting makes no
        sense.
    DataError
        If a folder is not scored or damaged, or nothing can be compared; says why.

    Examples
    --------
    >>> scores = pd.DataFrame({"system": "mine", "metric": "PixCorr",
    ...                        "stimulus_id": list("abcdefgh"), "value": np.arange(8) / 8})
    >>> better = scores.assign(value=scores.value + [.1, .2] * 4)
    >>> table = compare(better, scores, resamples=200)
    >>> table[["metric", "difference", "verdict"]].round(2).values.tolist()
    [['PixCorr', 0.15, 'A better']]
    """
    config = PairedConfig(level, resamples, seed)
    sources = [Path(one) if isinstance(one, str) else one for one in (a, b)]
    pairs, notes = read_pairs(*sources)
    pairings = _checked_systems(pairs, systems)
    tests: list[_Test] = []
    left_out: list[str] = []
    asked = [(*both, one) for both in pairings for one in _metrics(pairs, *both)]
    for system_a, system_b, one in track(asked, "paired tests"):
        try:
            scored = _paired(pairs, (system_a, one), (system_b, one))
        except DataError as error:
            names = system_a if system_a == system_b else f"{system_a} and {system_b}"
            left_out.append(f"{one} of {names}: {error}")
            continue
        name = (system_a, system_b, one)
        tests.append(_Test(name, _tested(scored, name, config), _note(scored, len(pairs))))
    labels = [
        str(one) if isinstance(one, Path) else f"table {which}"
        for which, one in zip("AB", sources, strict=True)
    ]
    if not tests:
        reason = left_out[0] if left_out else "they have no system and metric in common"
        raise DataError(f"nothing of {labels[0]} and {labels[1]} can be compared: {reason}")
    table = _table(tests, level)
    subjects = [name for name in pairs if name]
    table.attrs = {
        "a": labels[0], "b": labels[1], "level": level, "resamples": resamples, "seed": seed,
        "subjects": subjects, "notes": [*notes, *_few(subjects)], "left_out": left_out,
    }  # fmt: skip
    return table


def parse_systems(system: str, systems: str) -> list[tuple[str, str]]:
    """Read which system of A is set against which one of B.

    Parameters
    ----------
    system
        One system, compared with itself in the other run; empty for all.
    systems
        Text like ``both=high,mindeye=ridge``: a system of A = a system of B.

    Raises
    ------
    UsageError
        If both are given, or the text is not of that form.
    """
    if system and systems:
        raise UsageError("give --system or --systems, not both")
    if not systems:
        return [(system, system)] if system else []
    pairs = [tuple(part.strip() for part in word.split("=")) for word in systems.split(",")]
    if not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise UsageError(f"--systems takes pairs like both=high,mindeye=ridge, not {systems!r}")
    return [(pair[0], pair[1]) for pair in pairs]


def _checked_systems(pairs: Pairs, systems: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    known = [
        list(dict.fromkeys(s for both in pairs.values() for s in both[i].systems)) for i in (0, 1)
    ]
    matched = list(dict.fromkeys(systems)) or [(s, s) for s in known[0] if s in known[1]]
    for which, place in (("A", 0), ("B", 1)):
        for name in (pair[place] for pair in matched):
            if name not in known[place]:
                raise UsageError(
                    f"{which} has no scores of a system {name!r}; known: {', '.join(known[place])}"
                )
    same = all(a.folder and b.folder and a.folder.samefile(b.folder) for a, b in pairs.values())
    if same and any(a == b for a, b in matched):
        raise UsageError("A and B are the same folder; name two of its systems: --systems a=b")
    return matched


def _metrics(pairs: Pairs, system_a: str, system_b: str) -> list[str]:
    """Return the metrics with a direction, or unknown ones, that some subject has of both."""
    metrics = {
        name: find_metric(name)
        for a, b in pairs.values()
        for system, name in a.scores
        if system == system_a and (system_b, name) in b.scores
    }
    return [name for name, one in metrics.items() if one is None or one.direction is not None]


def _paired(pairs: Pairs, of_a: Name, of_b: Name) -> dict[str, _Paired]:
    """Pair the scores of every subject by stimulus, or say why they do not pair up."""
    metric(of_a[1])  # without a direction there is no verdict
    scored = {
        name: (a, b) for name, (a, b) in pairs.items() if of_a in a.scores and of_b in b.scores
    }
    versions = Counter(
        str(run.versions.get(of_a[1]))
        for both in scored.values()
        for run in both
        if run.folder is not None
    )
    if len(versions) > 1 or "None" in versions:
        raise DataError(
            f"its definition has other versions in other folders ({', '.join(sorted(versions))}); "
            "score them again with one version of mindeye"
        )
    subjects = {}
    for name, (a, b) in scored.items():
        try:
            subjects[name] = _of_subject(a, b, of_a, of_b)
        except DataError as error:
            raise DataError(f"{name}: {error}" if name else str(error)) from error
    return subjects


def _of_subject(a: ScoredRun, b: ScoredRun, of_a: Name, of_b: Name) -> _Paired:
    first, second = a.scores[of_a], b.scores[of_b]
    notes = []
    if a.folder is not None and b.folder is not None:
        row_a, row_b = a.rows.get(of_a), b.rows.get(of_b)
        if row_a is None or row_b is None:
            raise DataError("metrics.json has no row for its scores; score the folder again")
        if reason := unlike(row_a, row_b):
            raise DataError(reason)
        if row_a.k != row_b.k:
            k = ["not stated" if row.k is None else str(row.k) for row in (row_a, row_b)]
            notes.append(f"candidates a stimulus: {k[0]} in A, {k[1]} in B")
    common = first.index.intersection(second.index, sort=False)
    if not len(common):
        raise DataError(
            f"no stimulus in common ({len(first)} in A like {first.index[0]!r}, {len(second)} in B "
            f"like {second.index[0]!r}); paired tests need the same test stimuli"
        )
    if len(common) < max(len(first), len(second)):
        notes.insert(0, f"{len(common)} common stimuli of {len(first)} in A and {len(second)} in B")
    values = [np.asarray(one.loc[common], dtype=np.float64) for one in (first, second)]
    return _Paired(values[0], values[1], notes)


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


def _tested(
    scored: Mapping[str, _Paired], name: tuple[str, str, str], config: PairedConfig
) -> dict[str, Difference]:
    """Test one metric of one pair of systems: over all (empty name), then each subject."""
    statistic = metric(name[2]).statistic
    pairs = [(one.a, one.b) for one in scored.values()]
    differences = {
        "": group_difference_of(pairs, named_rng(config.seed, *name), config, statistic=statistic)
    }
    for subject, one in scored.items():
        if subject:
            rng = named_rng(config.seed, *name, subject)
            differences[subject] = difference_of(one.a, one.b, rng, config, statistic=statistic)
    return differences


def _note(scored: Mapping[str, _Paired], n_subjects: int) -> str:
    notes = [f"only of {', '.join(scored)}"] if len(scored) < n_subjects else []
    notes += [f"{s}: {note}" if s else note for s, one in scored.items() for note in one.notes]
    return "; ".join(dict.fromkeys(notes))


def _table(tests: Sequence[_Test], level: float) -> pd.DataFrame:
    """Adjust p for the number of tests, call verdicts, and put everything into rows."""
    p_values = adjusted([test.differences[""].p for test in tests])
    rows: list[dict[str, Any]] = []
    for (name, differences, note), p in zip(tests, p_values, strict=True):
        system_a, system_b, own = name[0], name[1], metric(name[2])
        called = verdict(differences[""], p, own.name, level)
        # That subjects cancel out does not make the systems the same.
        if called == SAME and any(one.effect is not None for one in differences.values()):
            called = NEITHER
        rows += [
            {
                "subject": subject,
                "metric": own.name,
                "system_a": system_a,
                "system_b": system_b,
                "lower_is_better": own.lower_is_better,
                **one._asdict(),
                "p_adjusted": None if subject else p,
                "verdict": "" if subject else called,
                "note": "" if subject else note,
            }
            for subject, one in differences.items()
        ]
    return pd.DataFrame(rows).astype({"effect": float, "p_adjusted": float})


def _few(subjects: Sequence[str]) -> list[str]:
    count = len(subjects)
    if count == 0 or count >= FEW_SUBJECTS:
        return []
    if count == 1:
        return ["one subject: intervals speak for other stimuli, not for other subjects"]
    return [
        f"{count} subjects: intervals are wide since they rest on {count} independent numbers, "
        f"and no p is below {2 / 2**count:.3g}"
    ]
