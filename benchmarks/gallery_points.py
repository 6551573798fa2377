"""Operating points of an index: recall, and the rule by which one is chosen on tuning queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MARGIN_RECALL = 0.965
"""Recall asked of the tuning queries: the goal of .95 and a margin for other queries."""

RULE = (
    f"the fastest point whose recall on the tuning queries is at least {MARGIN_RECALL}; where none "
    "is, the one of the highest recall"
)

NPROBES = (4, 8, 16, 32, 64, 128)
RERANKS = (32, 64, 128, 256, 512)
EFS = (16, 32, 64, 128, 256)


def recall(found: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    """Return the share of the k true nearest rows that are among the k found, in [0, 1].

    Parameters
    ----------
    found, true
        (Q, k) rows, -1 for none; no row twice in a line. Chance is k / G.
    """
    if found.shape != true.shape:
        raise ValueError(f"rows {found.shape} found, {true.shape} true")
    # A row is looked for in its own query's line only, since each line gets its own range.
    step = int(max(found.max(), true.max())) + 2
    lines = np.arange(len(true))[:, None] * step
    hit = np.isin(true + lines, found + lines) & (true >= 0)
    return float(hit.mean())


def grid(index: str, lists: int) -> list[dict[str, int]]:
    """Return the options of search that are tried for an index."""
    nprobes = [n for n in NPROBES if n <= max(lists, NPROBES[0])]
    if index == "ivfpq":
        return [{"nprobe": n, "rerank": r} for n in nprobes for r in RERANKS]
    if index == "ivfsq8":
        return [{"nprobe": n, "rerank": r} for n in nprobes for r in (0, 32)]
    if index == "ivfflat":
        return [{"nprobe": n, "rerank": 0} for n in nprobes]
    if index == "hnsw":
        return [{"ef": ef} for ef in EFS]
    return [{}]


def choose(points: Sequence[Mapping[str, Any]]) -> int:
    """Return which point `RULE` takes; it looks at ``tuning_recall`` and ``tuning_seconds`` only.

    Parameters
    ----------
    points
        At least one, with both numbers.
    """
    good = [i for i, p in enumerate(points) if p["tuning_recall"] >= MARGIN_RECALL]
    if not good:
        best = max(p["tuning_recall"] for p in points)
        good = [i for i, p in enumerate(points) if p["tuning_recall"] == best]
    return min(good, key=lambda i: (points[i]["tuning_seconds"], i))
