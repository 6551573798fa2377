"""Cluster-held-out splits: test pictures unlike anything in training.

A random split leaves a near neighbour of most test pictures in training; holding out whole
clusters of like pictures asks whether a decoder goes beyond them. Clusters are of whatever the
features describe: layout and colour by default, meaning with embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from mindeye.errors import DataError

FEWEST_CLUSTERS, MOST_CLUSTERS = 4, 100


def default_clusters(stimuli: int) -> int:
    """Return the square root of the number of stimuli, within 4 to 100 and the number itself."""
    root = round(math.sqrt(stimuli))
    return min(max(root, FEWEST_CLUSTERS), MOST_CLUSTERS, stimuli)


def cluster_split(
    features: NDArray[np.floating],
    ids: Sequence[str],
    *,
    share: float,
    rng: np.random.Generator,
    clusters: int | None = None,
) -> tuple[list[str], list[str], NDArray[np.int64]]:
    """Hold whole clusters of stimuli out.

    Clusters are taken in random order as long as they bring the held-out share nearer to the one
    asked for; the share is met to within half a cluster or so. At least one cluster stays on each
    side.

    Parameters
    ----------
    features
        (S, P), finite; used as they are, so scale them (see `picture_features`).
    ids
        S stimulus ids.
    share
        Share of stimuli to hold out, between 0 and 1.
    rng
        Seeds k-means and orders the clusters; the same state gives the same split.
    clusters
        Number of clusters, at least 2; by default about the square root of S, 4 to 100.

    Returns
    -------
    tuple
        Training ids, test ids (both in the order of `ids`), and the cluster (S,) of every stimulus.

    Raises
    ------
    DataError
        If features and ids do not fit, or the pictures do not fall into two clusters.
    """
    if features.ndim != 2 or len(features) != len(ids) or not np.isfinite(features).all():
        raise DataError(
            f"features of shape {features.shape} do not describe {len(ids)} stimuli, or are not "
            "finite"
        )
    distinct = len(np.unique(features, axis=0)) if len(features) else 0
    count = min(clusters or default_clusters(len(ids)), distinct)
    if count < 2:
        raise DataError(
            f"{len(ids)} stimuli with {distinct} distinct pictures cannot be split by cluster; use "
            "--test random"
        )
    means = KMeans(n_clusters=count, n_init=3, random_state=int(rng.integers(2**31)))
    labels = means.fit_predict(np.asarray(features, dtype=np.float64)).astype(np.int64)
    held = _choose(np.bincount(labels, minlength=count), share * len(ids), rng)
    out = np.isin(labels, held)
    train = [s for s, is_out in zip(ids, out, strict=True) if not is_out]
    return train, [s for s, is_out in zip(ids, out, strict=True) if is_out], labels


def _choose(sizes: NDArray[np.int64], wanted: float, rng: np.random.Generator) -> list[int]:
    """Return clusters whose sizes add up to about `wanted`."""
    order = [int(c) for c in rng.permutation(len(sizes)) if sizes[c]]
    held: list[int] = []
    total = 0
    for cluster in order:
        if len(held) == len(order) - 1:
            break
        if abs(total + sizes[cluster] - wanted) < abs(total - wanted):
            held.append(cluster)
            total += int(sizes[cluster])
    # No cluster is small enough for the share: the smallest is nearest to it.
    return held or [min(order, key=lambda c: int(sizes[c]))]
