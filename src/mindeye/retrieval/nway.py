"""N-way retrieval: the truth among random distractors, drawn and in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mindeye.errors import DataError
from mindeye.retrieval.ranks import ranks_from_scores, rounding, similarity


@dataclass(frozen=True)
class NWayResult:
    """Outcome of `nway_top1`.

    Attributes
    ----------
    per_query : Tensor (S,)
        Share of every stimulus's pools in which its truth came first; NaN for a stimulus that no
        pool contained.
    per_draw : Tensor (draws,)
        Top-1 accuracy of every pool.
    candidates : int
        Pool size used: smaller than asked for if there are fewer stimuli.
    """

    per_query: Tensor
    per_draw: Tensor
    candidates: int

    @property
    def value(self) -> float:
        """Mean over stimuli, in [0, 1]; chance 1 / candidates."""
        return float(self.per_query.nanmean())


def nway_top1_from_scores(
    scores: Tensor,
    *,
    candidates: int = 300,
    draws: int = 30,
    rng: np.random.Generator,
    tie_tolerance: float = 0.0,
) -> NWayResult:
    """Top-1 retrieval within random pools, from a score matrix (S, S); rows are queries.

    Every draw takes a random subset of ``candidates`` stimuli, and all its members look
    their truth up among themselves (300 candidates and 30 draws in the MindEye paper). With no
    more stimuli than candidates there is one pool, all of them.

    Parameters
    ----------
    scores : Tensor (S, S)
        Higher means a better match; the truth of row i is column i.
    candidates : int
        Pool size, at least 2.
    draws : int
        Number of pools.
    rng : numpy.random.Generator
        Draws the pools.
    tie_tolerance : float
        Largest difference of tied scores, as `ranks_from_scores` takes it.

    Returns
    -------
    NWayResult
        Accuracies in [0, 1]; chance 1 / candidates.
    """
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise DataError(f"N-way retrieval needs a square score matrix, got {tuple(scores.shape)}")
    pools = draw_pools(len(scores), candidates=candidates, draws=draws, rng=rng)
    tally = PoolTally(len(scores), pools, tie_tolerance)
    tally.add(slice(0, len(scores)), scores)
    return tally.result()


def draw_pools(n: int, *, candidates: int, draws: int, rng: np.random.Generator) -> list[Tensor]:
    """Draw random pools of stimuli; one pool of all of them where there are no more.

    Raises
    ------
    DataError
        If there are fewer than 2 stimuli, 2 candidates or 1 draw.
    """
    if candidates < 2 or draws < 1 or n < 2:
        raise DataError(
            f"N-way retrieval needs 2 stimuli, 2 candidates and 1 draw at least; got {n} "
            f"stimuli, {candidates} candidates, {draws} draws"
        )
    if candidates >= n:
        return [torch.arange(n)]
    return [torch.from_numpy(rng.permutation(n)[:candidates]) for _ in range(draws)]


class PoolTally:
    """Counts hits within pools as rows of the table of scores come in.

    Parameters
    ----------
    n
        Number of stimuli.
    pools
        Pools of stimuli, as `draw_pools` gives them.
    tie_tolerance
        Largest difference of tied scores, as `ranks_from_scores` takes it.
    """

    def __init__(self, n: int, pools: list[Tensor], tie_tolerance: float) -> None:
        self._pools, self._tie_tolerance = pools, tie_tolerance
        self._hits, self._seen = torch.zeros(2, n, dtype=torch.float64)
        self._per_draw = torch.zeros(len(pools), dtype=torch.float64)

    def add(self, block: slice, scores: Tensor) -> None:
        """Count the rows of one block, scores (q, S)."""
        for draw, pool in enumerate(self._pools):
            place = torch.nonzero((pool >= block.start) & (pool < block.stop))[:, 0]
            members = pool[place]
            rows = (members - block.start).to(scores.device)
            inside = scores[rows][:, pool.to(scores.device)]
            rank = ranks_from_scores(inside, place, tie_tolerance=self._tie_tolerance)
            hit = (rank <= 0).double().cpu()
            self._hits[members] += hit
            self._seen[members] += 1
            self._per_draw[draw] += hit.sum()

    def result(self) -> NWayResult:
        """Return the accuracies."""
        sizes = torch.tensor([len(pool) for pool in self._pools])
        return NWayResult(self._hits / self._seen, self._per_draw / sizes, int(sizes[0]))


def nway_top1(
    queries: Tensor,
    gallery: Tensor,
    *,
    candidates: int = 300,
    draws: int = 30,
    rng: np.random.Generator,
) -> NWayResult:
    """Top-1 retrieval within random pools by cosine similarity; truth of query i is item i.

    See `nway_top1_from_scores`, which this calls on `similarity(queries, gallery)`.
    """
    return nway_top1_from_scores(
        similarity(queries, gallery),
        candidates=candidates,
        draws=draws,
        rng=rng,
        tie_tolerance=rounding(queries.dtype),
    )


def expected_nway_success(ranks: Tensor, gallery_size: int, candidates: int) -> Tensor:
    """Exact chance that a truth of given rank comes first among random distractors.

    A truth that r of the G - 1 others beat wins against n - 1 distractors drawn without
    replacement with probability C(G - 1 - r, n - 1) / C(G - 1, n - 1). What `nway_top1`
    estimates by drawing. Half ranks (ties) are interpolated; for n = 2 that is exact.

    Parameters
    ----------
    ranks : Tensor (...)
        0-based ranks in the full gallery.
    gallery_size : int
        Number G of items in the gallery.
    candidates : int
        n, truth included, from 2 to G.

    Returns
    -------
    Tensor (...)
        float64 in [0, 1]; chance 1 / n.
    """
    if not 2 <= candidates <= gallery_size:
        raise DataError(f"candidates must be between 2 and {gallery_size}, got {candidates}")
    rank = torch.arange(gallery_size, dtype=torch.float64)  # (G,)
    drawn = torch.arange(candidates - 1, dtype=torch.float64)[:, None]  # (n - 1, 1)
    others = gallery_size - 1 - drawn
    table = ((others - rank).clamp(min=0) / others).prod(dim=0)  # (G,)
    low = ranks.double().floor().long().cpu()
    high = ranks.double().ceil().long().cpu()
    part = ranks.double().cpu() - low
    return table[low] * (1 - part) + table[high] * part
