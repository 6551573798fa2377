"""What the page says of every control: its question, what to expect, and how it is drawn.

A control that is not listed is shown under its own name, with a dot a condition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mindeye.metrics.points import Point
from mindeye.reporting import control_figures
from mindeye.reporting.control_figures import Figures


@dataclass(frozen=True)
class ControlText:
    """What the page says of a control.

    Attributes
    ----------
    question
        Question that the control asks.
    expected
        What to expect of its figure.
    draw
        Function that draws its points; None where its findings say all.
    warns
        Whether it can warn; otherwise its findings are for information.
    by_condition
        Whether it has a finding a condition, such as a brain region, all of which are shown for
        the first metric.
    """

    question: str
    expected: str = ""
    draw: Callable[[Sequence[Point]], Figures] | None = control_figures.conditions
    warns: bool = True
    by_condition: bool = False


CONTROLS: dict[str, ControlText] = {
    "shuffled_pairs": ControlText("Does the score depend on which picture was seen?"),
    "permutation": ControlText(
        "Does the whole pipeline score above chance when brain and picture are unrelated?",
        "With brain and picture paired at random in training there is nothing to learn: the real "
        "score must lie outside the range of the permuted pipelines.",
    ),
    "nearest_training": ControlText(
        "Does it decode, or look up training pictures?",
        "Test pictures are split into thirds by their similarity to the nearest training picture. "
        "Some loss towards the farthest third is normal; a score that vanishes there came from "
        "similar training pictures. A system beats a lookup only where it beats the marks D and S "
        "in the panels above.",
        control_figures.nearness,
    ),
    "training_lookup": ControlText(
        "Is it better than showing the nearest training picture?", draw=None
    ),
    "same_cluster": ControlText(
        "Does it tell pictures apart, or only kinds of pictures?",
        "Pictures of one cluster are of one kind. A decoder of single pictures loses some of its "
        "score among them and stays above the dashed line of chance; one that only classifies "
        "falls to it.",
        control_figures.clusters,
    ),
    "held_out_clusters": ControlText(
        "Does it work for kinds of pictures that it was never trained on?",
        "No test picture is of a trained kind. Predictions of a classifier stay within the trained "
        "clusters; those of a decoder reach the new one.",
    ),
    "trials_averaged": ControlText(
        "Does it improve when the brain signal gets cleaner?",
        "Averaging trials only removes noise. A score that comes from the brain signal rises from "
        "left to right, unless one trial already reaches the limit; one that comes from a leak "
        "stays level.",
        control_figures.trials,
    ),
    "collapse": ControlText(
        "How many dimensions do the predictions use?",
        "The upright bar shows the embeddings of the pictures seen. Good predictions from noisy "
        "data use fewer dimensions; a decoder with few prototypes uses a handful. What lies "
        "outside the span of the training targets is new: a linear map cannot go there.",
    ),
    "nway": ControlText(
        "How does the score change with more alternatives?",
        "The score of a decoder of single pictures falls slowly and stays far above the dashed "
        "line of chance. One that knows only the kind of picture is high on the left and falls to "
        "chance on the right, where alternatives of the same kind occur.",
        control_figures.nway,
    ),
    "regions": ControlText(
        "Which voxels does the score come from?",
        "Nothing is trained again: voxels outside the named set are held at their mean. A region "
        "that carries the picture scores more by itself than as many randomly selected voxels, and "
        "the score falls without it.",
        control_figures.regions,
        warns=False,
        by_condition=True,
    ),
    "candidates": ControlText(
        "How much does the score depend on the random draw, and on picking a candidate?",
        "k = 1 is a draw without a choice. Picking by the brain's prediction may help a little; a "
        "pick that comes close to the best by the truth has used the answer.",
        control_figures.candidates,
    ),
    "seeds": ControlText(
        "How much does the score vary between training runs?",
        "Runs that differ only in their seed must differ less than systems that are called "
        "different.",
        warns=False,
    ),
}
"""Controls by name, in the order of the page."""


def control_of(name: str) -> str:
    """Return the control that a name belongs to: both kinds of clusters are one question."""
    return "same_cluster" if name.startswith("same_cluster") else name


def text_of(control: str) -> ControlText:
    """Return what the page says of a control; one that is not known is called by its name."""
    return CONTROLS.get(control) or ControlText(control.replace("_", " ").capitalize())


def in_order(names: Iterable[str]) -> list[str]:
    """Sort controls as the page shows them, unknown ones last."""
    known = list(CONTROLS)
    found = dict.fromkeys(control_of(name) for name in names)
    return sorted(found, key=lambda c: known.index(c) if c in known else len(known))
