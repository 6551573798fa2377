"""Findings of the controls as a checklist: a question each, warnings first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mindeye.metrics.points import Finding
from mindeye.metrics.registry import find_metric
from mindeye.metrics.systems import SYSTEMS, system
from mindeye.reporting.names import described, system_name

Mark = Literal["warning", "passed", "noted", "caught"]
"""`passed` reads "no warning" on the page, since a control also passes those of whom it can say
nothing; `noted` is of controls that never warn; `caught` of a system that must fail, and did."""

QUESTIONS = {
    "shuffled_pairs": "Does the score depend on which picture was seen?",
    "permutation": "Does the whole pipeline score without any relation of brain and picture?",
    "nearest_training": "Does it decode, or look up training pictures?",
    "training_lookup": "Does it add anything to showing the nearest training picture?",
    "same_cluster": "Does it tell pictures apart, or only kinds of pictures?",
    "held_out_clusters": "Does it reach kinds of pictures that it was never trained on?",
    "trials_averaged": "Does it get better when the brain signal gets cleaner?",
    "collapse": "How many dimensions do the predictions use?",
    "nway": "How does it fare among more alternatives?",
    "regions": "Which voxels does the score come from?",
    "candidates": "How much is the luck, or the choice, of a draw?",
    "seeds": "How much is the luck of a training run?",
}
"""What every control asks, in the order of the page."""

NEVER_WARN = ("regions", "seeds")
MOST_SHOWN = 3
MOST_PROBLEMS = 4

WORDS: dict[Mark, str] = {"passed": "no warning"}
"""What the page writes for a mark, where that is another word."""


@dataclass(frozen=True)
class Sentence:
    """What a control says of a system; `system` is empty for the data."""

    system: str
    text: str
    mark: Mark


@dataclass(frozen=True)
class Check:
    """One question: its mark, the sentences to read, and those that are folded away."""

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
        return words if self.control in NEVER_WARN else f"{words}, none a warning"


def control_of(name: str) -> str:
    """Return the control that a name belongs to: both kinds of clusters are one question."""
    return "same_cluster" if name.startswith("same_cluster") else name


def question_of(control: str) -> str:
    """Return what a control asks; one that is not known is called by its name."""
    return QUESTIONS.get(control, control.replace("_", " ").capitalize())


def controls_in_order(names: Sequence[str]) -> list[str]:
    """Sort controls as the page shows them, unknown ones last."""
    known = list(QUESTIONS)
    found = dict.fromkeys(control_of(name) for name in names)
    return sorted(found, key=lambda c: known.index(c) if c in known else len(known))


def checklist(findings: Sequence[Finding]) -> list[Check]:
    """Put findings under their questions, those with a warning first."""
    checks = [
        _check(control, [f for f in findings if control_of(f.control) == control])
        for control in controls_in_order([f.control for f in findings])
    ]
    return sorted(checks, key=lambda check: check.mark != "warning")


def headline_problems(findings: Sequence[Finding]) -> list[str]:
    """Return what the controls warn of in the run's own systems and data, for the first lines."""
    bad = [f for f in findings if not f.passed and _is_own(f)]
    found = [f"{system_name(f.system)}: {plain(f.text)}" if f.system else plain(f.text)
             for f in sorted(bad, key=_place)]  # fmt: skip
    if len(found) > MOST_PROBLEMS + 1:
        left = len(found) - MOST_PROBLEMS
        found = [*found[:MOST_PROBLEMS], f"{left} more warnings stand under “What it takes to "
                 "believe it”."]  # fmt: skip
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


def _is_own(finding: Finding) -> bool:
    return not finding.system or system(finding.system).headline > 0


def _place(finding: Finding) -> int:
    """Sort the data first, then the systems of the headline, then others."""
    if not finding.system:
        return 0
    return system(finding.system).headline or len(SYSTEMS)


def _check(control: str, findings: Sequence[Finding]) -> Check:
    ordered = sorted(findings, key=_place)
    own = [f for f in ordered if _is_own(f)]
    firsts = list({f.system: f for f in reversed(own)}.values())[::-1]
    if control == "regions":  # the first metric's findings, one a region
        firsts = [f for f in own if _metric_in(f) == _metric_in(own[0])]
    bad = [f for f in ordered if _mark(f) == "warning"]
    wanted = [f for f in bad if _is_own(f)] + firsts + bad + ordered[:1]
    shown = list(dict.fromkeys(id(f) for f in wanted))[:MOST_SHOWN]
    relevant = own or ordered
    mark: Mark = "noted" if control in NEVER_WARN else "passed"
    if any(_mark(f) == "warning" for f in relevant):
        mark = "warning"
    return Check(
        control=control,
        question=question_of(control),
        mark=mark,
        shown=[_sentence(f) for f in ordered if id(f) in shown],
        folded=[_sentence(f) for f in ordered if id(f) not in shown],
    )


def _metric_in(finding: Finding) -> str:
    return next((word for word in re.findall(r"\w+", finding.text) if _is_metric(word)), "")


def _mark(finding: Finding) -> Mark:
    if finding.passed:
        return "noted" if control_of(finding.control) in NEVER_WARN else "passed"
    # A reference knows nothing of the brain: a control that passes it is broken.
    is_reference = finding.system and system(finding.system).role == "reference"
    return "caught" if is_reference else "warning"


def _sentence(finding: Finding) -> Sentence:
    text = plain(finding.text)
    if _mark(finding) == "caught":
        text += " It never saw a brain: this control does catch such a system."
    label = system_name(finding.system) if finding.system else ""
    return Sentence(label, text, _mark(finding))
