"""Clusters held out: whether predictions leave the clusters that a decoder was trained on.

On a cluster-held-out split (`mindeye.preparation.clusters.cluster_split`) no test picture is of a
trained kind. A decoder that classifies into trained kinds still beats many distractors there, but
what it predicts lies in a training cluster, never first in the one the picture came from.
(After the cluster-wise hold-out of Shirakawa et al. 2024, arXiv 2405.10078; the definition below
is ours.)

Axes: S test stimuli, T training stimuli, C training clusters, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mindeye.controls.measures import (
    Embeddings,
    Measure,
    flat_rows,
    least_gain,
    point_of,
    unit_rows,
)
from mindeye.errors import DataError
from mindeye.metrics.points import Finding, Point
from mindeye.metrics.scoring import Scoring
from mindeye.retrieval import ranks_from_scores, rounding

CONTROL = "held_out_clusters"


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A cluster-held-out split: true embeddings and the cluster of every picture.

    Attributes
    ----------
    actual, labels
        (S, ...) true embeddings of test pictures and (S,) their clusters.
    training, training_labels
        (T, ...) and (T,), the same for training pictures. No cluster is in both.
    """

    actual: Embeddings
    labels: NDArray[np.integer]
    training: Embeddings
    training_labels: NDArray[np.integer]


def held_out_clusters(
    system: str,
    predicted: Embeddings,
    held: HeldOut,
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
) -> tuple[list[Point], list[Finding]]:
    """Ask whether a prediction is nearest to its own, new cluster or to a trained one.

    Similarity is the cosine with the centroid of a cluster, all less the training mean; the own
    centroid leaves the picture itself out. Chance is 1 / (C + 1) for first place and 0.5 for the
    share of trained clusters beaten. The reference is what the true embeddings score.

    Parameters
    ----------
    system
        Name of the decoder.
    predicted
        (S, ...) of a decoder that was trained without the test clusters.
    held
        The split; test pictures alone in their cluster are left out.
    rng, scoring
        Generator, and settings, of the bootstrap intervals.

    Returns
    -------
    tuple
        Points ``new_cluster_top1`` and ``new_cluster_two_way``, and a finding: a warning if
        first place is no more frequent than chance, although it is for the true embeddings.

    Raises
    ------
    DataError
        If the parts do not fit, or a cluster is on both sides.
    """
    how = scoring or Scoring()
    made = flat_rows(predicted, "predicted")
    actual, training = flat_rows(held.actual, "true"), flat_rows(held.training, "training")
    _check(made, actual, training, held)
    centre = training.mean(axis=0)
    trained = _centroids(training - centre, np.asarray(held.training_labels))
    own, in_company = _own_centroids(actual - centre, np.asarray(held.labels))
    chance = {"top1": 1 / (len(trained) + 1), "two_way": 0.5}
    scored = _measures(system, (made - centre)[in_company], own, trained, chance)
    true = _measures(system, (actual - centre)[in_company], own, trained, chance)
    points = [
        point_of(CONTROL, "new clusters", m, rng=rng, scoring=how, reference=float(t.values.mean()))
        for m, t in zip(scored, true, strict=True)
    ]
    limit = point_of(CONTROL, "true embeddings", true[0], rng=rng, scoring=how)
    return points, [_finding(points[0], limit, scored[0])]


def _check(
    made: NDArray[np.float32],
    actual: NDArray[np.float32],
    training: NDArray[np.float32],
    held: HeldOut,
) -> None:
    if made.shape != actual.shape or made.shape[1] != training.shape[1]:
        raise DataError(
            f"predictions {made.shape}, true {actual.shape} and training embeddings "
            f"{training.shape} do not fit"
        )
    if len(held.labels) != len(actual) or len(held.training_labels) != len(training):
        raise DataError(
            f"{len(held.labels)} and {len(held.training_labels)} labels for {len(actual)} test and "
            f"{len(training)} training pictures"
        )
    both = sorted(set(np.unique(held.labels)) & set(np.unique(held.training_labels)))
    if both:
        raise DataError(f"cluster {both[0]} is in training and in test: nothing was held out")


def _centroids(rows: NDArray[np.float32], labels: NDArray[np.integer]) -> NDArray[np.float32]:
    return np.stack([rows[labels == label].mean(axis=0) for label in np.unique(labels)])


def _own_centroids(
    rows: NDArray[np.float32], labels: NDArray[np.integer]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Mean of the others of a picture's cluster (S', D), for the pictures that have others."""
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    in_company = counts[index] > 1
    if not in_company.any():
        raise DataError("held-out clusters need two test pictures in one cluster")
    sums = np.zeros((len(counts), rows.shape[1]))
    np.add.at(sums, index, rows)
    others = (sums[index] - rows) / np.maximum(counts[index] - 1, 1)[:, None]
    return np.asarray(others[in_company], dtype=np.float32), in_company


def _measures(
    system: str,
    rows: NDArray[np.float32],
    own: NDArray[np.float32],
    trained: NDArray[np.float32],
    chance: dict[str, float],
) -> list[Measure]:
    unit = unit_rows(rows)
    true = (unit * unit_rows(own)).sum(axis=1, keepdims=True)
    table = torch.from_numpy(np.hstack([true, unit @ unit_rows(trained).T]))
    rank = ranks_from_scores(
        table, torch.zeros(len(table), dtype=torch.long), tie_tolerance=rounding(table.dtype)
    ).numpy()
    values = {"top1": (rank <= 0).astype(np.float64), "two_way": 1 - rank / len(trained)}
    return [Measure(system, f"new_cluster_{name}", values[name], chance[name]) for name in values]


def _finding(point: Point, limit: Point, measure: Measure) -> Finding:
    gain, possible = least_gain(point, measure), least_gain(limit, measure)
    assert gain is not None
    assert possible is not None
    figures = (
        f"the own, new cluster is nearest to {point.value:.1%} of predictions (chance "
        f"{point.chance:.1%}, true embeddings {limit.value:.1%})"
    )
    if possible <= 0:
        text = f"The clusters held out cannot be told from trained ones: {figures}."
        return Finding(CONTROL, point.system, True, text)
    if gain <= 0:
        text = f"Predictions stay in trained clusters: {figures}."
        return Finding(CONTROL, point.system, False, text)
    text = f"Predictions reach clusters that were not trained: {figures}."
    return Finding(CONTROL, point.system, True, text)
