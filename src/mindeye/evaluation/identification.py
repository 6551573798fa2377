"""Identification by features: is a prediction more like its own picture than like others.

Two-way identification is what brain decoding papers report per feature network. The authors'
code and the paper's text disagree on what the distractors are, so both are here under their
names. Two-way scores saturate; `nway_curve` shows what is left when the test gets harder.

Axes: N stimuli, D features (trailing axes are flattened). Results are float64 arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.errors import DataError
from mindeye.retrieval import expected_nway_success, rank_table, ranks_from_scores, rounding

Features = Tensor | NDArray[Any]
Distractors = Literal["ground_truths", "reconstructions"]
Similarity = Literal["pearson", "cosine"]
_TIE_TOLERANCE = rounding(torch.float64)


def two_way_identification(
    predicted: Features,
    actual: Features,
    *,
    distractors: Distractors = "ground_truths",
    similarity: Similarity = "pearson",
) -> NDArray[np.float64]:
    """Share of distractors that every stimulus beats.

    ``ground_truths`` (the authors' code): is prediction i more similar to picture i than to
    picture j? ``reconstructions`` (the paper's text): is picture i more similar to prediction
    i than to prediction j?

    Parameters
    ----------
    predicted, actual : array (N, D)
        Features of the reconstructions and of the pictures seen, N at least 2.
    distractors : {"ground_truths", "reconstructions"}
        What the true pair is compared with.
    similarity : {"pearson", "cosine"}
        Pearson r over features, or cosine.

    Returns
    -------
    array (N,)
        In [0, 1]; ties count half; chance 0.5.
    """
    wins = two_way_table(predicted, actual, distractors=distractors, similarity=similarity)
    return np.diagonal(wins).copy()


def two_way_table(
    predicted: Features,
    actual: Features,
    *,
    distractors: Distractors = "ground_truths",
    similarity: Similarity = "pearson",
) -> NDArray[np.float64]:
    """Two-way score of every query under every possible pairing.

    Returns
    -------
    array (N, N)
        Entry (i, j): the share of the others that j beats for query i. The diagonal is
        `two_way_identification`; the rest is what a shuffled pairing would have scored.
    """
    scores = _scores(predicted, actual, distractors, similarity)
    ranks = rank_table(torch.from_numpy(scores), tie_tolerance=_TIE_TOLERANCE)
    return 1.0 - ranks.numpy() / (len(scores) - 1)


def correlation_distance(predicted: Features, actual: Features) -> NDArray[np.float64]:
    """One minus Pearson r between a prediction's features and its picture's.

    Parameters
    ----------
    predicted, actual : array (N, D)
        Features of the reconstructions and of the pictures seen.

    Returns
    -------
    array (N,)
        In [0, 2], lower is better; 1 for uncorrelated features and where one is constant.
    """
    return np.diagonal(distance_table(predicted, actual)).copy()


def distance_table(predicted: Features, actual: Features) -> NDArray[np.float64]:
    """Correlation distance of every prediction (rows) to every picture (columns), (N, N)."""
    a, b = _matrices(predicted, actual)
    return np.asarray(1.0 - _standard(a, "pearson") @ _standard(b, "pearson").T)


def nway_curve(
    predicted: Features,
    actual: Features,
    sizes: Sequence[int],
    *,
    distractors: Distractors = "ground_truths",
    similarity: Similarity = "pearson",
) -> NDArray[np.float64]:
    """Top-1 identification among n, for several n: exact, without drawing.

    Parameters
    ----------
    predicted, actual : array (N, D)
        Features of the reconstructions and of the pictures seen.
    sizes : sequence of int (M,)
        Numbers of alternatives n, the truth included, each from 2 to N.
    distractors, similarity
        As in `two_way_identification`.

    Returns
    -------
    array (M,)
        Mean over stimuli, in [0, 1]; chance 1 / n. At n = 2 it is the mean of
        `two_way_identification`.
    """
    scores = torch.from_numpy(_scores(predicted, actual, distractors, similarity))
    ranks = ranks_from_scores(scores, tie_tolerance=_TIE_TOLERANCE)
    return np.asarray(
        [float(expected_nway_success(ranks, len(scores), size).mean()) for size in sizes]
    )


def _scores(
    predicted: Features, actual: Features, distractors: Distractors, similarity: Similarity
) -> NDArray[np.float64]:
    """(N, N) similarity; rows are predictions, or pictures if reconstructions distract."""
    if distractors not in ("ground_truths", "reconstructions"):
        raise DataError(f"distractors must be ground_truths or reconstructions, not {distractors}")
    if similarity not in ("pearson", "cosine"):
        raise DataError(f"similarity must be pearson or cosine, not {similarity}")
    a, b = _matrices(predicted, actual)
    if len(a) < 2:
        raise DataError("identification needs at least 2 stimuli")
    scores = _standard(a, similarity) @ _standard(b, similarity).T
    return np.ascontiguousarray(scores if distractors == "ground_truths" else scores.T)


def _standard(rows: NDArray[np.float64], similarity: Similarity) -> NDArray[np.float64]:
    """Scale rows to unit length, centred for pearson; rows without variation become 0."""
    if similarity == "pearson":
        constant = np.ptp(rows, axis=1, keepdims=True) == 0
        rows = np.where(constant, 0.0, rows - rows.mean(axis=1, keepdims=True))
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norm == 0, 1.0, norm)


def _matrices(
    predicted: Features, actual: Features
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = (
        torch.as_tensor(x).detach().double().flatten(1).cpu().numpy() for x in (predicted, actual)
    )
    if a.shape != b.shape:
        raise DataError(f"predicted features {a.shape} and actual ones {b.shape} do not pair up")
    for name, rows in (("predicted", a), ("actual", b)):
        if not np.isfinite(rows).all():
            raise DataError(f"{name} features contain NaN or infinity")
    return a, b
