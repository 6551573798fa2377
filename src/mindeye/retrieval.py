"""Retrieval: who finds whom, in which direction, and how far down the list.

Pure functions on tensors. A *query* is looked up in a *gallery*; the *rank* of the truth is
its 0-based position. Directions are never implied: pass ``(brain, image)`` for
``brain_to_image_*`` and ``(image, brain)`` for ``image_to_brain_*``. Every function that takes
embeddings has a core that takes a score matrix (higher = better match), so that a
log-likelihood or any other similarity is ranked by the same code.

Ties count half: a truth that shares its score with ``t`` others is placed in the middle of
them, so constant predictions rank at chance instead of at the top. A top-k hit needs that
middle position to be inside the first k. Cosine scores that differ by no more than their
rounding error (`rounding`) are ties; given score matrices are compared exactly unless a
tolerance is passed.

Axes: Q queries, G gallery items, S stimuli (Q = G = S, truth on the diagonal), D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mindeye.errors import DataError


def similarity(queries: Tensor, gallery: Tensor) -> Tensor:
    """Cosine similarity of every query with every gallery item; rows are queries.

    (The published helper returned the transpose, which swapped the names of the two
    retrieval directions.)

    Parameters
    ----------
    queries : Tensor (Q, D) or (Q, K, D)
        Embeddings that are looked up; trailing axes are flattened.
    gallery : Tensor (G, D) or (G, K, D)
        Embeddings that are looked up in.

    Returns
    -------
    Tensor (Q, G)
        In [-1, 1]; rows and columns of zero vectors are 0.
    """
    q, g = _flat_pair(queries, gallery)
    return _unit(q) @ _unit(g).T


def rounding(dtype: torch.dtype) -> float:
    """Difference up to which two cosines of this dtype count as equal: 8 machine epsilons.

    Equal vectors in different columns of a matrix product come out that far apart.
    """
    return 8 * torch.finfo(dtype).eps


def ranks_from_scores(
    scores: Tensor, truth: Tensor | None = None, *, tie_tolerance: float = 0.0
) -> Tensor:
    """0-based rank of the truth in every row of a score matrix, ties counted half.

    Parameters
    ----------
    scores : Tensor (Q, G)
        Higher means a better match.
    truth : LongTensor (Q,), optional
        Gallery index of every query's truth; default: the diagonal.
    tie_tolerance : float
        Scores that differ by no more than this are tied.

    Returns
    -------
    Tensor (Q,)
        ``#better + #tied others / 2``, float64, in [0, G - 1]; chance (G - 1) / 2.
    """
    truth = _checked_truth(truth, scores.shape[0], scores.shape[1]).to(scores.device)
    if not bool(torch.isfinite(scores).all()):
        raise DataError("retrieval scores contain NaN or infinity; check the embeddings")
    own = scores.gather(1, truth[:, None])  # (Q, 1)
    better = (scores > own + tie_tolerance).sum(dim=1)
    tied = (scores >= own - tie_tolerance).sum(dim=1) - better - 1
    return better.double() + tied.double() / 2


def rank_table(scores: Tensor, *, tie_tolerance: float = 0.0) -> Tensor:
    """Rank that every query would get if its truth were any of the gallery items.

    Parameters
    ----------
    scores : Tensor (Q, G)
        Higher means a better match.
    tie_tolerance : float
        As in `ranks_from_scores`.

    Returns
    -------
    Tensor (Q, G)
        float64; entry (i, j) is the rank of query i under the pairing i -> j.
    """
    scores = scores.contiguous()
    ordered = scores.sort(dim=1).values.contiguous()
    not_better = torch.searchsorted(ordered, scores + tie_tolerance, right=True)
    worse = torch.searchsorted(ordered, scores - tie_tolerance)
    better = scores.shape[1] - not_better
    return better.double() + (not_better - worse - 1).double() / 2


def ranks(
    queries: Tensor, gallery: Tensor, truth: Tensor | None = None, *, chunk: int = 1024
) -> Tensor:
    """0-based rank of every query's truth by cosine similarity, ties counted half.

    Parameters
    ----------
    queries : Tensor (Q, D)
        Embeddings that are looked up.
    gallery : Tensor (G, D)
        Embeddings that are looked up in.
    truth : LongTensor (Q,), optional
        Gallery index of every query's truth; default ``arange(Q)``.
    chunk : int
        Queries scored at once; memory is chunk x G instead of Q x G.

    Returns
    -------
    Tensor (Q,)
        float64, in [0, G - 1]; chance (G - 1) / 2.
    """
    q, g = _flat_pair(queries, gallery)
    truth = _checked_truth(truth, len(q), len(g))
    unit_gallery = _unit(g).T  # (D, G)
    parts = [
        ranks_from_scores(
            _unit(q[start : start + chunk]) @ unit_gallery, part, tie_tolerance=rounding(q.dtype)
        )
        for start, part in _chunks(truth, chunk)
    ]
    return torch.cat(parts)


def top_k_accuracy(ranks: Tensor, k: int) -> float:
    """Share of queries whose truth is among the first k: ``rank <= k - 1``.

    In [0, 1]; chance k / G. A truth tied for place k is a hit only if the middle of the tie
    is inside the first k.
    """
    return float((ranks <= k - 1).double().mean())


@dataclass(frozen=True)
class NWayResult:
    """Outcome of `nway_top1`.

    Attributes
    ----------
    per_query : Tensor (S,)
        For every stimulus the share of its pools in which its truth came first; NaN for a
        stimulus that no pool contained.
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
        As in `ranks_from_scores`.

    Returns
    -------
    NWayResult
        Accuracies in [0, 1]; chance 1 / candidates.
    """
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise DataError(f"N-way retrieval needs a square score matrix, got {tuple(scores.shape)}")
    n = scores.shape[0]
    if candidates < 2 or draws < 1 or n < 2:
        raise DataError(
            f"N-way retrieval needs 2 stimuli, 2 candidates and 1 draw at least; got {n} "
            f"stimuli, {candidates} candidates, {draws} draws"
        )
    size = min(candidates, n)
    pools = [np.arange(n)] if size == n else [rng.permutation(n)[:size] for _ in range(draws)]
    hits, seen = torch.zeros(2, n, dtype=torch.float64)
    per_draw = []
    for pool in map(torch.from_numpy, pools):
        inside = scores[pool.to(scores.device)][:, pool.to(scores.device)]
        hit = (ranks_from_scores(inside, tie_tolerance=tie_tolerance) <= 0).double().cpu()
        hits[pool] += hit
        seen[pool] += 1
        per_draw.append(hit.mean())
    return NWayResult(hits / seen, torch.stack(per_draw), size)


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
        G.
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


def top_matches(
    queries: Tensor, gallery: Tensor, k: int, *, chunk: int = 1024
) -> tuple[Tensor, Tensor]:
    """Find the k gallery items most similar to every query, best first.

    Parameters
    ----------
    queries : Tensor (Q, D)
        Embeddings that are looked up.
    gallery : Tensor (G, D)
        Embeddings that are looked up in.
    k : int
        Matches per query; capped at G.
    chunk : int
        Queries scored at once.

    Returns
    -------
    indices : LongTensor (Q, k)
        Gallery indices; ties in gallery order.
    scores : Tensor (Q, k)
        Cosine similarities.
    """
    q, g = _flat_pair(queries, gallery)
    if k < 1:
        raise DataError(f"k must be at least 1, got {k}")
    unit_gallery = _unit(g).T
    indices, scores = [], []
    for start in range(0, len(q), chunk):
        block = _unit(q[start : start + chunk]) @ unit_gallery
        ordered, order = block.sort(dim=1, descending=True, stable=True)
        indices.append(order[:, :k])
        scores.append(ordered[:, :k])
    return torch.cat(indices), torch.cat(scores)


def _chunks(truth: Tensor, chunk: int) -> list[tuple[int, Tensor]]:
    return [(start, truth[start : start + chunk]) for start in range(0, len(truth), chunk)]


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


def _flat_pair(queries: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    q, g = queries.flatten(1), gallery.flatten(1)
    if q.shape[1] != g.shape[1]:
        raise DataError(f"queries have {q.shape[1]} features per row but the gallery {g.shape[1]}")
    if len(q) == 0 or len(g) == 0:
        raise DataError("retrieval needs at least one query and one gallery item")
    if not (q.is_floating_point() and g.is_floating_point()):
        raise DataError(f"embeddings must be floating point, got {q.dtype} and {g.dtype}")
    return q, g.to(q.dtype)


def _checked_truth(truth: Tensor | None, n_queries: int, n_gallery: int) -> Tensor:
    if truth is None:
        truth = torch.arange(n_queries)
    if truth.shape != (n_queries,):
        raise DataError(f"truth must hold one index per query ({n_queries}), has {truth.shape}")
    if n_queries and not (int(truth.min()) >= 0 and int(truth.max()) < n_gallery):
        raise DataError(f"truth points outside the gallery of {n_gallery} items")
    return truth.long()
