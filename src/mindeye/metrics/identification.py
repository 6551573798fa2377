"""Identification by features: is a prediction more like its own picture than like others.

Two-way identification is what brain decoding papers report per feature network. The authors'
code and the paper's text disagree on what the distractors are, so both are here under their
names. Two-way scores saturate; `mindeye.metrics.curves` shows what is left when the test gets
harder.

Features can be long (AlexNet's second layer has 184,512 a picture), so they stay in the dtype they
came in: `similarity_table` reads them a block of columns at a time, in float64.

Axes: N stimuli, D features (trailing axes are flattened). Results are float64 arrays.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.errors import DataError
from mindeye.retrieval import rank_table, rounding

Features = Tensor | NDArray[Any]
Distractors = Literal["ground_truths", "reconstructions"]
_TIE_TOLERANCE = rounding(torch.float64)


def two_way_from_scores(
    scores: NDArray[np.float64], *, distractors: Distractors = "ground_truths"
) -> NDArray[np.float64]:
    """Two-way score of every query under every possible pairing.

    Parameters
    ----------
    scores : array (N, N)
        Similarities of predictions (rows) and pictures (columns), N at least 2.
    distractors : {"ground_truths", "reconstructions"}
        ``ground_truths`` (the authors' code): is prediction i more similar to picture i than to
        picture j? ``reconstructions`` (the paper's text): is picture i more similar to prediction
        i than to prediction j?

    Returns
    -------
    array (N, N)
        Entry (i, j): the share of the others that j beats for query i, in [0, 1]; ties count
        half, chance is 0.5. The diagonal is the score of the true pairs, the rest is what a
        shuffled pairing would have scored.
    """
    oriented = torch.from_numpy(_oriented(scores, distractors))
    ranks = rank_table(oriented, tie_tolerance=_TIE_TOLERANCE)
    return np.asarray(1.0 - ranks.numpy() / (len(scores) - 1))


def distance_from_scores(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation distance (N, N) of every pairing, from similarities (N, N).

    In [0, 2], lower is better; 1 for uncorrelated features and where one of two is constant.
    """
    return np.asarray(1.0 - scores)


def similarity_table(
    predicted: Features,
    actual: Features,
    *,
    block: int = 4096,
) -> NDArray[np.float64]:
    """Pearson r of the features of every prediction (rows) and every picture (columns).

    Two passes over blocks of columns, both accumulated in float64: one for the means and for what
    cannot be scored, one for the products of the centred features. Beside the features, memory is
    that of two blocks and of the result.

    Parameters
    ----------
    predicted, actual : array (N, D)
        Features of the reconstructions and of the pictures seen.
    block : int
        Columns at once.

    Returns
    -------
    array (N, N)
        In [-1, 1]; 0 where one of the two is constant.

    Raises
    ------
    DataError
        If features do not pair up or are not finite.
    """
    a, b = (torch.as_tensor(x).detach().flatten(1) for x in (predicted, actual))
    if a.shape != b.shape or a.numel() == 0:
        raise DataError(
            f"predicted features {tuple(a.shape)} and actual ones {tuple(b.shape)} do not pair up"
        )
    shift = [_means(rows, name, block) for name, rows in (("predicted", a), ("actual", b))]
    products = torch.zeros(len(a), len(a), dtype=torch.float64)
    squares = torch.zeros(2, len(a), dtype=torch.float64)
    for start in range(0, a.shape[1], block):
        x, y = (
            ((rows[:, start : start + block].cpu().double() - mean) * varies)
            for rows, (mean, varies) in zip((a, b), shift, strict=True)
        )
        products += x @ y.T
        squares += torch.stack([x.square().sum(dim=1), y.square().sum(dim=1)])
    norms = squares.sqrt()
    norms[norms == 0] = 1.0
    return np.asarray((products / norms[0][:, None] / norms[1][None]).numpy())


def _means(rows: Tensor, name: str, block: int) -> tuple[Tensor, Tensor]:
    """Mean of every row (N, 1), and 0 for constant rows, else 1 (N, 1)."""
    total = torch.zeros(len(rows), dtype=torch.float64)
    low, high = torch.full((2, len(rows)), torch.inf, dtype=torch.float64)
    high = -high
    for start in range(0, rows.shape[1], block):
        some = rows[:, start : start + block].cpu().double()
        if not bool(torch.isfinite(some).all()):
            raise DataError(f"{name} features contain NaN or infinity")
        total += some.sum(dim=1)
        low, high = torch.minimum(low, some.amin(dim=1)), torch.maximum(high, some.amax(dim=1))
    return (total / rows.shape[1])[:, None], (high > low).double()[:, None]


def _oriented(scores: NDArray[np.float64], distractors: Distractors) -> NDArray[np.float64]:
    """Rows are predictions, or pictures if reconstructions distract."""
    if distractors not in ("ground_truths", "reconstructions"):
        raise DataError(f"distractors must be ground_truths or reconstructions, not {distractors}")
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise DataError(f"identification needs a square table, got {scores.shape}")
    if len(scores) < 2:
        raise DataError("identification needs at least 2 stimuli")
    return np.ascontiguousarray(scores if distractors == "ground_truths" else scores.T)
