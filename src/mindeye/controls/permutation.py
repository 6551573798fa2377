"""Permutation null of the whole pipeline: the score when brains and pictures are paired at random.

Training and testing again with shuffled pairs shows what a pipeline scores without any relation
between brain and picture, whatever it does inside. The p-value counts the real score among
the permuted ones, so that it is never 0 (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9,
article 39).

Axes: P permutations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mindeye.controls.measures import Measure, known_values
from mindeye.errors import DataError
from mindeye.metrics.points import Finding, Point

CONTROL = "permutation"
ALPHA = 0.05
"""Largest p at which the score counts as unlike the permuted ones."""


def permutation_p(
    real: float, null: NDArray[np.floating], *, higher_is_better: bool = True
) -> float:
    """Share of pipelines, the real one included, that score at least as well as the real one.

    ``(1 + #{null at least as good}) / (P + 1)``, in [1 / (P + 1), 1]; uniform without signal.

    Parameters
    ----------
    real
        Score of the real pipeline.
    null
        (P,) scores of pipelines with permuted pairs, P at least 1.
    higher_is_better
        False for distances and ranks.
    """
    scores = np.asarray(null, dtype=np.float64)
    if scores.ndim != 1 or not scores.size or not np.isfinite([real, *scores]).all():
        raise DataError(f"a permutation test needs finite scores, got {scores.size} permuted ones")
    good = scores >= real if higher_is_better else scores <= real
    return float((1 + good.sum()) / (scores.size + 1))


def permutation_null(
    measure: Measure, null: NDArray[np.floating], *, level: float = 0.95
) -> tuple[list[Point], list[Finding]]:
    """Hold a score against those of the whole pipeline with permuted pairs.

    Parameters
    ----------
    measure
        The real pipeline's scores per stimulus.
    null
        (P,) the same metric of pipelines trained and tested with permuted pairs.
    level
        Share of permuted scores between the ends of the second point.

    Returns
    -------
    tuple
        Points ``real`` (reference: mean permuted score) and ``permuted`` (mean, with quantiles
        over permutations for an interval); a finding with p, a warning if p > `ALPHA`. With fewer
        than 19 permutations no p is that small, and the text says so.
    """
    known = known_values(measure, CONTROL)
    real = float(measure.statistic(known, axis=-1))
    scores = np.asarray(null, dtype=np.float64)
    p = permutation_p(real, scores, higher_is_better=measure.higher_is_better)
    mean = float(scores.mean())
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    count = f"{len(scores)} permutations"
    points = [
        Point(CONTROL, "real", measure.system, measure.metric, real, None, None, len(known),
              measure.chance, mean, f"p = {p:.3g}, {count}"),
        Point(CONTROL, "permuted", measure.system, measure.metric, mean, float(low), float(high),
              len(known), measure.chance, real, f"mean and quantiles of {count}"),
    ]  # fmt: skip
    text = f"{measure.metric} is {real:.3f}, with permuted pairs {mean:.3f} (p = {p:.3g}, {count}"
    least = 1 / (len(scores) + 1)
    if least > ALPHA:
        return points, [
            Finding(CONTROL, measure.system, p == least, f"{text}; p cannot be below {least:.2g}).")
        ]
    return points, [Finding(CONTROL, measure.system, p <= ALPHA, f"{text}).")]
