"""The best matches of every query."""

from __future__ import annotations

import torch
from torch import Tensor

from mindeye.errors import DataError
from mindeye.retrieval.blocks import Embeddings, score_rows


def top_matches(
    queries: Embeddings, gallery: Embeddings, k: int, *, chunk: int = 1024
) -> tuple[Tensor, Tensor]:
    """Find the k gallery items most similar to every query, best first.

    Parameters
    ----------
    queries : Tensor or array (Q, D)
        Embeddings that are looked up.
    gallery : Tensor or array (G, D)
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
    if k < 1:
        raise DataError(f"k must be at least 1, got {k}")
    indices, scores = [], []
    for _, block in score_rows(queries, gallery, rows=chunk):
        ordered, order = block.sort(dim=1, descending=True, stable=True)
        indices.append(order[:, :k].clone())
        scores.append(ordered[:, :k].clone())
    return torch.cat(indices), torch.cat(scores)
