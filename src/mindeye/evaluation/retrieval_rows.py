"""Rows that say who is retrieved, in both directions, with floors by shuffled pairings.

Axes: S stimuli, K tokens, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye import retrieval
from mindeye.errors import DataError
from mindeye.evaluation.controls.floors import shuffled_floor
from mindeye.evaluation.scoring import Scoring, interval
from mindeye.evaluation.table import Row, Scored
from mindeye.evaluation.uncertainty import Statistic

Ceilings = Mapping[str, float]

PUBLISHED_NAMES = {
    "image_to_brain": "image retrieval (forward)",
    "brain_to_image": "brain retrieval (backward)",
}
"""What the authors' tables call a direction: their similarity helper returns the transpose."""


def retrieval_rows(
    system: str,
    predicted: Tensor,
    actual: Tensor,
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
    ceiling: Ceilings | None = None,
) -> list[Scored]:
    """Score retrieval in both directions by cosine similarity.

    Parameters
    ----------
    system : str
        Name of the decoder.
    predicted, actual : Tensor (S, D) or (S, K, D)
        Embeddings from brain activity and of the pictures seen, in the same order.
    rng : numpy.random.Generator
        Pools, shuffles and resamples.
    scoring : Scoring
        Pool size, draws, resamples.
    ceiling : mapping, optional
        Metric name to the score of the best possible system.

    Returns
    -------
    list of Scored
        For ``brain_to_image`` and ``image_to_brain``: ``_top1`` (n-way), ``_full_top1``,
        ``_full_top5``, ``_full_top10`` and ``_median_rank`` (all stimuli).
    """
    if len(predicted) != len(actual):
        raise DataError(f"{len(predicted)} predictions for {len(actual)} pictures")
    scores = retrieval.similarity(predicted, actual)
    return rows_from_scores(
        system,
        scores,
        rng=rng,
        scoring=scoring,
        ceiling=ceiling,
        tie_tolerance=retrieval.rounding(scores.dtype),
    )


def rows_from_scores(
    system: str,
    scores: Tensor,
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
    ceiling: Ceilings | None = None,
    tie_tolerance: float = 0.0,
) -> list[Scored]:
    """`retrieval_rows` from any match score, such as the log-likelihood of an ideal observer.

    Parameters
    ----------
    scores : Tensor (S, S)
        Rows are brains, columns are pictures; higher is a better match.
    system, rng, scoring, ceiling
        As in `retrieval_rows`.
    tie_tolerance : float
        Scores that differ by no more than this are tied.
    """
    how = scoring or Scoring()
    rows: list[Scored] = []
    for direction, table in (("brain_to_image", scores), ("image_to_brain", scores.T)):
        rows += _direction_rows(direction, system, table, rng, how, tie_tolerance)
    return with_ceilings(rows, ceiling)


def _direction_rows(
    direction: str,
    system: str,
    scores: Tensor,
    rng: np.random.Generator,
    how: Scoring,
    tie_tolerance: float,
) -> list[Scored]:
    nway = retrieval.nway_top1_from_scores(
        scores, candidates=how.candidates, draws=how.draws, rng=rng, tie_tolerance=tie_tolerance
    )
    s, n = len(scores), nway.candidates
    note = (
        f"{n} candidates" if n == how.candidates else f"{n} candidates: there are no more stimuli"
    )
    if how.as_published:
        note += f"; published as {PUBLISHED_NAMES[direction]}"
    rank = retrieval.ranks_from_scores(scores, tie_tolerance=tie_tolerance).cpu()
    table = retrieval.rank_table(scores, tie_tolerance=tie_tolerance).cpu().numpy()
    success = nway.per_query.numpy()
    expected = retrieval.expected_nway_success(torch.from_numpy(table), s, n).numpy()

    def row(
        name: str,
        values: NDArray[Any],
        pairings: NDArray[Any],
        chance: float,
        statistic: Statistic = np.mean,
        note: str = "",
    ) -> Scored:
        drawn = values[~np.isnan(values)]
        bounds = interval(drawn, rng, how, statistic)
        floor = shuffled_floor(
            pairings, rng, shuffles=how.shuffles, level=how.level, statistic=statistic
        )
        scored = Row(
            f"{direction}_{name}", system, bounds.value, bounds.low, bounds.high,
            len(drawn), chance, floor.value, None, floor.low, floor.high, note,
        )  # fmt: skip
        return Scored(scored, values)

    def hits(k: int) -> tuple[NDArray[Any], NDArray[Any], float]:
        return (rank <= k - 1).double().numpy(), (table <= k - 1).astype(float), min(k / s, 1.0)

    return [
        row("top1", success, expected, 1 / n, note=note),
        row("full_top1", *hits(1)),
        row("full_top5", *hits(5)),
        row("full_top10", *hits(10)),
        row("median_rank", rank.numpy(), table, (s - 1) / 2, np.median, "0 is best"),
    ]


def with_ceilings(rows: list[Scored], ceilings: Ceilings | None) -> list[Scored]:
    """Set the ceiling of every row whose metric has one."""
    known = ceilings or {}
    return [
        one._replace(row=dataclasses.replace(one.row, ceiling=known.get(one.row.metric)))
        for one in rows
    ]
