"""Same-cluster distractors: whether a decoder tells pictures apart, or only kinds of pictures.

Identification (Kay et al. 2008, Nature 452, 352-355) among random distractors is won by naming the
right kind of picture, since most distractors are of another. Among pictures of one cluster that
knowledge is worth nothing.

Clusters are found in two ways. Clusters of the pictures ask about kinds that exist; k-means also
cuts what has no clusters, and a decoder whose kinds are cut elsewhere keeps part of its score.
Clusters of the predictions ask about the kinds that the decoder itself knows, wherever it cuts:
within them a decoder that only classifies has nothing left but noise.

Shirakawa et al. 2024, arXiv 2405.10078: apparent reconstruction as classification into trained
categories; SEED, arXiv 2503.06437: easy distractors. The definitions below are ours.

Axes: S test stimuli, T training stimuli, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye import retrieval
from mindeye.controls.measures import Embeddings, Measure, flat_rows, point_of
from mindeye.errors import DataError
from mindeye.metrics.points import Finding, Point
from mindeye.metrics.scoring import Scoring
from mindeye.preparation.clusters import default_clusters

CONTROL = "same_cluster"
By = Literal["pictures", "predictions"]
WAYS: tuple[By, ...] = ("pictures", "predictions")
SAME, RANDOM = "same cluster", "as many at random"
GAIN_LEFT = 0.2
"""A decoder that only tells clusters apart keeps none of its two-way gain over chance within
clusters; it is warned of if it keeps less than this share, and its interval holds chance."""
WELL_ABOVE = 0.6
"""Two-way score among random pictures from whose lower end on a warning is given: below, there is
too little to lose."""
PREDICTIONS_A_CLUSTER = 5
"""Mean size of a cluster of predictions. Our choice: a decoder of 12 kinds was caught with clusters
of 120 / 24 and of 120 / 11 predictions, and not with 120 / 6."""
MOST_FITTED = 2000
"""Training stimuli that k-means is fitted to, at most: more do not move the clusters."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Match scores of all pairs, to be ranked.

    Attributes
    ----------
    system
        Name of the decoder.
    metric
        What the points are called after: ``brain_to_image``, or the name of a feature network.
    table
        (S, S) rows are queries, columns are what they may mean; higher is better.
    tie_tolerance
        Scores that differ by no more than this are tied.
    """

    system: str
    metric: str
    table: Tensor
    tie_tolerance: float = 0.0


def cosine_scores(system: str, metric: str, predicted: Embeddings, actual: Embeddings) -> Scores:
    """Cosine of every prediction with every true embedding (both (S, ...), paired in order)."""
    first, second = flat_rows(predicted, "predicted"), flat_rows(actual, "true")
    if first.shape != second.shape:
        raise DataError(f"predictions {first.shape} and true embeddings {second.shape} differ")
    table = retrieval.similarity(torch.from_numpy(first), torch.from_numpy(second))
    return Scores(system, metric, table, retrieval.rounding(table.dtype))


def cluster_labels(
    test: Embeddings,
    *,
    rng: np.random.Generator,
    training: Embeddings | None = None,
    clusters: int | None = None,
) -> NDArray[np.int64]:
    """Sort test pictures into clusters of like embeddings by k-means.

    Features are standardised first (by training if given, otherwise by test), so that no single
    one decides. Give pooled embeddings of encoders with many tokens.

    Parameters
    ----------
    test
        (S, ...) true embeddings of test pictures.
    rng
        Seeds k-means.
    training
        (T, ...) embeddings that the clusters are fitted to, where there are more of them.
    clusters
        Their number; the square root of S by default (`preparation.clusters.default_clusters`).

    Returns
    -------
    array
        (S,) cluster of every test picture.
    """
    from sklearn.cluster import KMeans

    rows = flat_rows(test, "test")
    fitted = rows
    if training is not None:
        chosen = rng.permutation(len(training))[:MOST_FITTED]
        fitted = flat_rows(training[np.sort(chosen)], "training")
        if fitted.shape[1] != rows.shape[1]:
            raise DataError(
                f"test pictures have {rows.shape[1]} features, training {fitted.shape[1]}"
            )
    mean, deviation = fitted.mean(axis=0), fitted.std(axis=0)
    deviation = np.where(deviation == 0, 1, deviation)
    distinct = len(np.unique(fitted, axis=0))
    count = min(clusters or default_clusters(len(rows)), distinct)
    seed = int(rng.integers(2**31))
    means = KMeans(n_clusters=count, n_init=3, random_state=seed)
    means.fit((fitted - mean) / deviation)
    return np.asarray(means.predict((rows - mean) / deviation), dtype=np.int64)


def prediction_labels(
    predicted: Embeddings, *, rng: np.random.Generator, training: Embeddings | None = None
) -> NDArray[np.int64]:
    """Sort predictions into clusters of `PREDICTIONS_A_CLUSTER` on average, 2 clusters at least.

    Decoders of more kinds than S / `PREDICTIONS_A_CLUSTER` are not caught by these.

    Parameters
    ----------
    predicted
        (S, ...) embeddings from brain activity.
    rng
        Seeds k-means.
    training
        (T, ...) true embeddings that the clusters are fitted to, each prediction going to the
        nearest: noise of the predictions then blurs them less. Clusters of the predictions
        themselves without.
    """
    count = max(2, len(predicted) // PREDICTIONS_A_CLUSTER)
    return cluster_labels(predicted, rng=rng, training=training, clusters=count)


def same_cluster(
    scores: Scores,
    labels: NDArray[np.integer],
    *,
    by: By = "pictures",
    rng: np.random.Generator,
    scoring: Scoring | None = None,
) -> tuple[list[Point], list[Finding]]:
    """Identify pictures among those of their cluster, and among as many random ones.

    Let a picture's cluster hold n pictures. Its rank r among them gives top-1 (r = 0), two-way
    1 - r / (n - 1), and the rank itself. Against n - 1 random distractors the expectations are
    exact: C(S - 1 - R, n - 1) / C(S - 1, n - 1), 1 - R / (S - 1) and R (n - 1) / (S - 1), R being
    the rank among all S. Chance is the same in both: mean 1 / n, 0.5, mean (n - 1) / 2.

    Parameters
    ----------
    scores
        Scores of all pairs of prediction and picture.
    labels
        (S,) cluster of every picture, or of its prediction; those alone in theirs are left out.
    by
        What was clustered: the control is ``same_cluster_of_pictures`` or
        ``same_cluster_of_predictions``.
    rng, scoring
        Generator, and settings, of the bootstrap intervals.

    Returns
    -------
    tuple
        Three metrics under two conditions, and a finding: a warning if two-way identification
        is `WELL_ABOVE` chance among random distractors, but within clusters holds chance in its
        interval and keeps less than `GAIN_LEFT` of its gain.

    Raises
    ------
    DataError
        If labels and scores do not fit, or no cluster has two pictures.
    """
    same, random, sizes = _ranks(scores, np.asarray(labels))
    in_company = sizes > 1
    if not in_company.any():
        raise DataError("same-cluster distractors need a cluster with two test pictures; use fewer")
    how = scoring or Scoring()
    s = len(labels)
    points: list[Point] = []
    for name, of_same, of_random, chance in _metrics(
        same[in_company], random[in_company], sizes[in_company], s
    ):
        for condition, values in ((SAME, of_same), (RANDOM, of_random)):
            measure = Measure(scores.system, f"{scores.metric}_{name}", values, chance)
            reference = float(of_random.mean()) if condition == SAME else None
            points.append(
                point_of(
                    f"{CONTROL}_of_{by}", condition, measure,
                    rng=rng, scoring=how, reference=reference,
                )
            )  # fmt: skip
    return points, [_finding(scores, points, by)]


def _ranks(
    scores: Scores, labels: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Rank within the cluster, rank among all, and cluster size, of every stimulus."""
    table = scores.table
    if table.ndim != 2 or table.shape[0] != table.shape[1] or labels.shape != (len(table),):
        raise DataError(
            f"{labels.shape} labels do not describe scores of shape {tuple(table.shape)}"
        )
    everywhere = retrieval.ranks_from_scores(table, tie_tolerance=scores.tie_tolerance).numpy()
    same = np.zeros(len(labels))
    sizes = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        own = torch.from_numpy(rows)
        inside = table[own][:, own]
        ranks = retrieval.ranks_from_scores(inside, tie_tolerance=scores.tie_tolerance)
        same[rows], sizes[rows] = ranks.numpy(), len(rows)
    return same, everywhere, sizes


def _metrics(
    same: NDArray[np.float64], random: NDArray[np.float64], sizes: NDArray[np.int64], s: int
) -> list[tuple[str, NDArray[np.float64], NDArray[np.float64], float]]:
    """Name, values within clusters, expected values among random distractors, and chance."""
    expected = np.empty(len(random))
    for size in np.unique(sizes):
        rows = sizes == size
        expected[rows] = retrieval.expected_nway_success(
            torch.from_numpy(random[rows]), s, int(size)
        ).numpy()
    # A tie of two at the top counts half here, as it does in the expectation.
    first = np.clip(1 - same, 0, 1)
    return [
        ("top1", first, expected, float((1 / sizes).mean())),
        ("two_way", 1 - same / (sizes - 1), 1 - random / (s - 1), 0.5),
        ("rank", same, random * (sizes - 1) / (s - 1), float((sizes - 1).mean() / 2)),
    ]


def _finding(scores: Scores, points: list[Point], by: By) -> Finding:
    two_way = {p.condition: p for p in points if p.metric == f"{scores.metric}_two_way"}
    same, random = two_way[SAME], two_way[RANDOM]
    assert same.low is not None
    assert random.low is not None
    figures = (
        f"two-way identification is {random.value:.3f} among random pictures and {same.value:.3f} "
        f"(from {same.low:.3f} to {same.high:.3f}) within clusters of {by}; chance 0.5"
    )
    gain, left = random.value - 0.5, same.value - 0.5
    passed = not (random.low >= WELL_ABOVE and same.low <= 0.5 and left < GAIN_LEFT * gain)
    if not passed:
        what = "tells clusters of pictures apart, not pictures"
    elif random.low <= 0.5:
        what = "does not beat chance among random pictures"
    elif same.low <= 0.5:
        what = "has too few pictures, or too low a score, to say more"
    else:
        what = "tells pictures of one cluster apart"
    return Finding(
        f"{CONTROL}_of_{by}", scores.system, passed, f"{scores.metric} {what}: {figures}."
    )
