"""The shuffled floor as a verdict: is a system better than its own predictions, mispaired."""

from __future__ import annotations

from collections.abc import Sequence

from mindeye.controls.measures import measures_of
from mindeye.metrics.points import Finding
from mindeye.metrics.table import Scored

CONTROL = "shuffled_pairs"


def floor_findings(scored: Sequence[Scored]) -> list[Finding]:
    """Warn of systems that do no better than their shuffled floor.

    A metric beats its floor if its value lies beyond the better end of the interval over random
    pairings. One metric in forty does so by chance at level 0.95, so a system is warned of if no
    more than half of its metrics do.

    Parameters
    ----------
    scored
        Rows with floors, of any systems; rows without are not looked at.

    Returns
    -------
    list of Finding
        One a system, in the order in which they come.
    """
    beaten: dict[str, list[bool]] = {}
    names: dict[str, list[str]] = {}
    for one in scored:
        row = one.row
        if one.values is None or row.floor_low is None or row.floor_high is None:
            continue
        higher = measures_of([one])[0].sign > 0
        beats = row.value > row.floor_high if higher else row.value < row.floor_low
        beaten.setdefault(row.system, []).append(beats)
        if not beats:
            names.setdefault(row.system, []).append(row.metric)
    return [_finding(system, many, names.get(system, [])) for system, many in beaten.items()]


def _finding(system: str, beaten: list[bool], within: list[str]) -> Finding:
    text = f"{sum(beaten)} of {len(beaten)} metrics are better than with shuffled pairs"
    if within:
        text += f"; not {', '.join(within[:4])}{' and others' if len(within) > 4 else ''}"
    passed = 2 * sum(beaten) > len(beaten)
    if not passed:
        text += ": by most, the picture seen might have been any other"
    return Finding(CONTROL, system, passed, f"{text}.")
