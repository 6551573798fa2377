"""Cluster-held-out splits: test pictures unlike anything in training.

A random split leaves a near neighbour of most test pictures in training; holding out whole
clusters of like pictures asks whether a decoder goes beyond them. Clusters are of whatever the
features describe: layout and colour by default, meaning with embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from mindeye.datasets.recording import Recording
from mindeye.errors import DataError
from mindeye.files import open_array
from mindeye.preparation.choices import HoldOut
from mindeye.preparation.config import PrepareConfig
from mindeye.preparation.picture_features import (
    layout_features,
    principal_components,
    thumbnails,
)
from mindeye.progress import track

FEWEST_CLUSTERS, MOST_CLUSTERS = 4, 100
COMPONENTS = 10
"""Held-out clusters are 1.22 x as far from training as random pictures with 10, 1.12 x with 20."""


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
        Features (S, P), finite; used as they are, so scale them (see `picture_features`).
    ids
        Ids of the S stimuli.
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


def hold_out_clusters(recording: Recording, config: PrepareConfig) -> HoldOut:
    """Return a function that holds whole clusters of a recording's pictures out."""

    def hold_out(
        ids: Sequence[str], share: float, rng: np.random.Generator
    ) -> tuple[list[str], list[str]]:
        if config.cluster_embeddings:
            features = _embeddings(Path(config.cluster_embeddings), ids)
        else:
            features = _layouts(recording, ids)
        train, test, _ = cluster_split(features, ids, share=share, rng=rng)
        return train, test

    return hold_out


def _layouts(recording: Recording, ids: Sequence[str]) -> NDArray[np.floating]:
    """Return layout and colour (len, P) of the pictures of some stimuli."""
    known = recording.stimuli["stimulus_id"]
    ordered = known[known.isin(ids)].tolist()
    drawn = track(recording.read_pictures(ordered), "clusters", total=len(ordered))
    small = np.concatenate([thumbnails(p[None]) for p in drawn])
    by_layout = principal_components(layout_features(small), COMPONENTS)
    row = {s: i for i, s in enumerate(ordered)}
    return by_layout[[row[s] for s in ids]]


def _embeddings(path: Path, ids: Sequence[str]) -> NDArray[np.floating]:
    """Return unit embeddings (len, width) of some stimuli out of a file."""
    table = open_array(path, "give one row of numbers a picture, in the order of the stimulus ids")
    bad = [s for s in ids if not s.isdecimal() or int(s) >= len(table)]
    if table.ndim != 2 or not np.issubdtype(table.dtype, np.floating) or bad:
        what = f"has no row {bad[0]!r}" if bad else f"has shape {table.shape}, type {table.dtype}"
        raise DataError(
            f"{path} {what}; cluster embeddings are numbers (pictures, width) whose row is the "
            "stimulus id"
        )
    rows = np.asarray(table[[int(s) for s in ids]], dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12))
