"""Ranks: 0-based positions of the truth, ties counted half."""

from __future__ import annotations

import torch
from torch import Tensor

from mindeye.errors import DataError
from mindeye.retrieval.blocks import Embeddings, score_rows, score_type


def similarity(queries: Embeddings, gallery: Embeddings) -> Tensor:
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
    return torch.cat([scores for _, scores in score_rows(queries, gallery, rows=len(queries) or 1)])


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
        Largest difference of tied scores, as `ranks_from_scores` takes it.

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
    queries: Embeddings, gallery: Embeddings, truth: Tensor | None = None, *, chunk: int = 1024
) -> Tensor:
    """0-based rank of every query's truth by cosine similarity, ties counted half.

    Parameters
    ----------
    queries : Tensor or array (Q, D)
        Embeddings that are looked up.
    gallery : Tensor or array (G, D)
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
    truth = _checked_truth(truth, len(queries), len(gallery))
    tolerance = rounding(score_type(queries))
    parts = [
        ranks_from_scores(scores, truth[block], tie_tolerance=tolerance)
        for block, scores in score_rows(queries, gallery, rows=chunk)
    ]
    return torch.cat(parts)


def top_k_accuracy(ranks: Tensor, k: int) -> float:
    """Share of queries whose truth is among the first k: ``rank <= k - 1``.

    In [0, 1]; chance k / G. A truth tied for place k is a hit only if the middle of the tie
    is inside the first k.
    """
    return float((ranks <= k - 1).double().mean())


def _checked_truth(truth: Tensor | None, n_queries: int, n_gallery: int) -> Tensor:
    if truth is None:
        truth = torch.arange(n_queries)
    if truth.shape != (n_queries,):
        raise DataError(f"truth must hold one index per query ({n_queries}), has {truth.shape}")
    if n_queries and not (int(truth.min()) >= 0 and int(truth.max()) < n_gallery):
        raise DataError(f"truth points outside the gallery of {n_gallery} items")
    return truth.long()
