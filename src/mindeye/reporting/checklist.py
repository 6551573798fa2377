"""Findings of the controls as a checklist: a question each, warnings first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mindeye.metrics.points import Finding
from mindeye.metrics.registry import find_metric
from mindeye.metrics.systems import SYSTEMS, system
from mindeye.reporting.control_texts import control_of, in_order, text_of
from mindeye.reporting.names import described, system_name

Mark = Literal["warning", "passed", "noted", "caught"]
"""`passed` reads "no warning" on the page, since a control also passes systems of which it can say
nothing; `noted` marks controls that never warn, `caught` a system that must fail, and did."""

MOST_SHOWN = 3
"""Sentences that are shown under a question; the others are folded away."""

MOST_PROBLEMS = 4
"""Warnings in the first lines of the page."""

WORDS: dict[Mark, str] = {"passed": "no warning"}
"""What the page writes for a mark, where that is another word."""


@dataclass(frozen=True)
class Sentence:
    """A finding about a system, or about the data where `system` is empty."""

    system: str
    text: str
    mark: Mark


@dataclass(frozen=True)
class Check:
    """One question: its mark, the sentences that are shown, and those that are folded away."""

    control: str
    question: str
    mark: Mark
    shown: Sequence[Sentence]
    folded: Sequence[Sentence]

    @property
    def summary(self) -> str:
        """What is folded away."""
        bad = sum(s.mark == "warning" for s in self.folded)
        count = len(self.folded)
        words = f"{count} more finding{'s' if count > 1 else ''}"
        if bad:
            return f"{words}, {bad} of them warning{'s' if bad > 1 else ''}"
        return f"{words}, none a warning" if text_of(self.control).warns else words


def checklist(findings: Sequence[Finding]) -> list[Check]:
    """Put findings under their questions, those with a warning first."""
    checks = [
        _check(control, [f for f in findings if control_of(f.control) == control])
        for control in in_order(f.control for f in findings)
    ]
    return sorted(checks, key=lambda check: check.mark != "warning")


def headline_problems(findings: Sequence[Finding]) -> list[str]:
    """Return the warnings about the run's own systems and its data, for the first lines."""
    bad = [f for f in findings if not f.passed and _is_ours(f)]
    found = [f"{system_name(f.system)}: {plain(f.text)}" if f.system else plain(f.text)
             for f in sorted(bad, key=_place)]  # fmt: skip
    if len(found) > MOST_PROBLEMS + 1:
        left = len(found) - MOST_PROBLEMS
        found = [*found[:MOST_PROBLEMS], f"{left} more warnings are listed under “Checks”."]
    return found


def plain(text: str) -> str:
    """Write the names of metrics in a sentence as the page writes them."""

    def title(match: re.Match[str]) -> str:
        name = match.group()
        return f"“{described(name).title}”" if _is_metric(name) else name

    return re.sub(r"(?<!\w)-(?=\d)", "−", re.sub(r"\w+", title, text))


def _is_metric(word: str) -> bool:
    """Tell names of metrics from words: one without an underscore is read as it is."""
    return "_" in word and find_metric(word) is not None


def _is_ours(finding: Finding) -> bool:
    return not finding.system or system(finding.system).headline > 0


def _place(finding: Finding) -> int:
    """Sort the data first, then the systems of the headline, then others."""
    if not finding.system:
        return 0
    return system(finding.system).headline or len(SYSTEMS)


def _check(control: str, findings: Sequence[Finding]) -> Check:
    text, ordered = text_of(control), sorted(findings, key=_place)
    ours = [f for f in ordered if _is_ours(f)]
    firsts = list({f.system: f for f in reversed(ours)}.values())[::-1]
    if text.by_condition:
        firsts = [f for f in ours if _metric_in(f) == _metric_in(ours[0])]
    bad = [f for f in ordered if _mark(f) == "warning"]
    first = [f for f in bad if _is_ours(f)] + firsts + bad + ordered[:1]
    shown = list(dict.fromkeys(id(f) for f in first))[:MOST_SHOWN]
    relevant = ours or ordered
    mark: Mark = "passed" if text.warns else "noted"
    if any(_mark(f) == "warning" for f in relevant):
        mark = "warning"
    return Check(
        control=control,
        question=text.question,
        mark=mark,
        shown=[_sentence(f) for f in ordered if id(f) in shown],
        folded=[_sentence(f) for f in ordered if id(f) not in shown],
    )


def _metric_in(finding: Finding) -> str:
    return next((word for word in re.findall(r"\w+", finding.text) if _is_metric(word)), "")


def _mark(finding: Finding) -> Mark:
    if finding.passed:
        return "passed" if text_of(control_of(finding.control)).warns else "noted"
    # A reference knows nothing of the brain: a control that passes it is broken.
    is_reference = finding.system and system(finding.system).role == "reference"
    return "caught" if is_reference else "warning"


def _sentence(finding: Finding) -> Sentence:
    text = plain(finding.text)
    if _mark(finding) == "caught":
        text += " This system never saw a brain: the check catches it, as it should."
    label = system_name(finding.system) if finding.system else ""
    return Sentence(label, text, _mark(finding))
