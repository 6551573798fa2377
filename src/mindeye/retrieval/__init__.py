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

from mindeye.retrieval.blocks import MEMORY, Embeddings, Selected, score_rows, score_type
from mindeye.retrieval.matches import top_matches
from mindeye.retrieval.nway import (
    NWayResult,
    PoolTally,
    draw_pools,
    expected_nway_success,
    nway_top1,
    nway_top1_from_scores,
)
from mindeye.retrieval.ranks import (
    rank_table,
    ranks,
    ranks_from_scores,
    rounding,
    similarity,
    top_k_accuracy,
)

__all__ = [
    "MEMORY",
    "Embeddings",
    "NWayResult",
    "PoolTally",
    "Selected",
    "draw_pools",
    "expected_nway_success",
    "nway_top1",
    "nway_top1_from_scores",
    "rank_table",
    "ranks",
    "ranks_from_scores",
    "rounding",
    "score_rows",
    "score_type",
    "similarity",
    "top_k_accuracy",
    "top_matches",
]
