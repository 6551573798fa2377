"""Rows that say who is retrieved, in both directions, with floors by shuffled pairings.

Axes: S stimuli, K tokens, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye import retrieval
from mindeye.errors import DataError
from mindeye.metrics.floors import floor_of
from mindeye.metrics.registry import metric
from mindeye.metrics.scoring import Scoring, interval
from mindeye.metrics.table import Row, Scored

Ceilings = Mapping[str, float]

SORTED_AT_ONCE = 4_000_000
"""Scores that are sorted at once for the floor; sorting takes ten times their memory."""

PUBLISHED_NAMES = {
    "image_to_brain": "image retrieval (forward)",
    "brain_to_image": "brain retrieval (backward)",
}
"""What the authors' tables call a direction: their similarity helper returns the transpose."""


def retrieval_rows(
    system: str,
    predicted: retrieval.Embeddings,
    actual: retrieval.Embeddings,
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
    ceiling: Ceilings | None = None,
    memory: int = retrieval.MEMORY,
) -> list[Scored]:
    """Score retrieval in both directions by cosine similarity.

    Parameters
    ----------
    system : str
        Name of the decoder.
    predicted, actual : Tensor or array (S, D) or (S, K, D)
        Embeddings from brain activity and of the pictures seen, in the same order; arrays may be
        memory-mapped.
    rng : numpy.random.Generator
        Pools, shuffles and resamples.
    scoring : Scoring
        Pool size, draws, resamples.
    ceiling : mapping, optional
        Metric name to the score of the best possible system.
    memory : int
        Bytes, about, that blocks of embeddings and scores may take: neither the table of all
        scores nor all embeddings in single precision are ever held.

    Returns
    -------
    list of Scored
        For ``brain_to_image`` and ``image_to_brain``: ``_top1`` (n-way), ``_full_top1``,
        ``_full_top5``, ``_full_top10`` and ``_median_rank`` (all stimuli).
    """
    if len(predicted) != len(actual):
        raise DataError(f"{len(predicted)} predictions for {len(actual)} pictures")
    how = scoring or Scoring()
    tolerance = retrieval.rounding(retrieval.score_type(predicted))
    rows: list[Scored] = []
    for direction, pair in (
        ("brain_to_image", (predicted, actual)),
        ("image_to_brain", (actual, predicted)),
    ):
        blocks = retrieval.score_rows(*pair, memory=memory)
        ranked = _rank(blocks, len(predicted), rng, how, tolerance)
        rows += _direction_rows(direction, system, ranked, rng, how)
    return with_ceilings(rows, ceiling)


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
        Name of the system, generator, settings and ceilings, as `retrieval_rows` takes them.
    tie_tolerance : float
        Scores that differ by no more than this are tied.
    """
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise DataError(f"match scores must be square, got {tuple(scores.shape)}")
    how = scoring or Scoring()
    rows: list[Scored] = []
    for direction, table in (("brain_to_image", scores), ("image_to_brain", scores.T)):
        ranked = _rank([(slice(0, len(table)), table)], len(table), rng, how, tie_tolerance)
        rows += _direction_rows(direction, system, ranked, rng, how)
    return with_ceilings(rows, ceiling)


class _Ranked(NamedTuple):
    """Ranks (S,), ranks under random pairings (P, S), and the draws of the n-way test."""

    rank: Tensor
    shuffled: Tensor
    nway: retrieval.NWayResult


def _rank(
    blocks: Iterable[tuple[slice, Tensor]],
    n: int,
    rng: np.random.Generator,
    how: Scoring,
    tie_tolerance: float,
) -> _Ranked:
    """Rank the truth and random truths in every row, a block of rows at a time."""
    pools = retrieval.draw_pools(n, candidates=how.candidates, draws=how.draws, rng=rng)
    tally = retrieval.PoolTally(n, pools, tie_tolerance)
    pairings = torch.from_numpy(np.stack([rng.permutation(n) for _ in range(how.shuffles)]))
    rank, shuffled = torch.empty(n, dtype=torch.float64), torch.empty(pairings.shape).double()
    for block, scores in blocks:
        tally.add(block, scores)
        step = max(1, SORTED_AT_ONCE // n)
        for first in range(block.start, block.stop, step):
            rows = slice(first, min(first + step, block.stop))
            part = scores[first - block.start : rows.stop - block.start]
            if not bool(torch.isfinite(part).all()):
                raise DataError("retrieval scores contain NaN or infinity; check the embeddings")
            table = retrieval.rank_table(part, tie_tolerance=tie_tolerance).cpu()
            rank[rows] = table.gather(1, torch.arange(rows.start, rows.stop)[:, None])[:, 0]
            shuffled[:, rows] = table.gather(1, pairings[:, rows].T).T
    return _Ranked(rank, shuffled, tally.result())


def _direction_rows(
    direction: str, system: str, ranked: _Ranked, rng: np.random.Generator, how: Scoring
) -> list[Scored]:
    rank, shuffled, nway = ranked
    s, n = len(rank), nway.candidates
    note = (
        f"{n} candidates" if n == how.candidates else f"{n} candidates: there are no more stimuli"
    )
    if how.as_published:
        note += f"; published as {PUBLISHED_NAMES[direction]}"
    success = nway.per_query.numpy()
    expected = retrieval.expected_nway_success(shuffled, s, n).numpy()

    def row(
        name: str, values: NDArray[Any], pairings: NDArray[Any], chance: float, note: str = ""
    ) -> Scored:
        one = metric(f"{direction}_{name}")
        drawn = values[~np.isnan(values)]
        bounds = interval(drawn, rng, how, one.statistic)
        floor = floor_of(one.statistic(pairings, axis=-1), level=how.level)
        scored = Row(
            one.name, system, bounds.value, bounds.low, bounds.high,
            len(drawn), chance, floor.value, None, floor.low, floor.high, note or one.note,
        )  # fmt: skip
        return Scored(scored, values)

    def hits(k: int) -> tuple[NDArray[Any], NDArray[Any], float]:
        return (
            (rank <= k - 1).double().numpy(),
            (shuffled <= k - 1).double().numpy(),
            min(k / s, 1.0),
        )

    return [
        row("top1", success, expected, 1 / n, note),
        row("full_top1", *hits(1)),
        row("full_top5", *hits(5)),
        row("full_top10", *hits(10)),
        row("median_rank", rank.numpy(), shuffled.numpy(), (s - 1) / 2),
    ]


def with_ceilings(rows: list[Scored], ceilings: Ceilings | None) -> list[Scored]:
    """Set the ceiling of every row whose metric has one."""
    known = ceilings or {}
    return [
        one._replace(row=dataclasses.replace(one.row, ceiling=known.get(one.row.metric)))
        for one in rows
    ]
