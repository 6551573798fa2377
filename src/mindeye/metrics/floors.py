"""Floors: what a score would be if the brain had said nothing, or only little.

* shuffled-brain floor: the same predictions paired with other people's pictures, many times.
  It keeps everything about the predictions except which stimulus they belong to.
* training-picture floors: showing a training picture instead of a reconstruction, the nearest
  one to the prediction (all a decoder can do that only looks up) or a random one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.metrics.uncertainty import Interval, Statistic
from mindeye.retrieval import Embeddings, top_matches


def shuffled_floor(
    table: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    shuffles: int = 200,
    level: float = 0.95,
    statistic: Statistic = np.mean,
) -> Interval:
    """Score of a metric when predictions are paired with pictures at random.

    Parameters
    ----------
    table : array (S, S)
        Entry (i, j): what query i would score if its truth were j.
    rng : numpy.random.Generator
        Draws the pairings.
    shuffles : int
        Random pairings; each is a uniform permutation of the stimuli.
    level : float
        Share of shuffles inside the interval.
    statistic : callable
        Over stimuli: ``(array, axis=-1)``.

    Returns
    -------
    Interval
        Mean and quantiles over shuffles. For two-way identification the interval contains 0.5.
    """
    table = np.asarray(table, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise DataError(f"a pairing table must be square, got {table.shape}")
    rows = np.arange(len(table))
    scores = np.asarray(
        [statistic(table[rows, rng.permutation(len(table))], axis=-1) for _ in range(shuffles)]
    )
    return floor_of(scores, level=level)


def shuffled_floor_of(
    score: Callable[[NDArray[np.int64], NDArray[np.int64]], float],
    n: int,
    rng: np.random.Generator,
    *,
    shuffles: int = 3,
    level: float = 0.95,
) -> Interval:
    """`shuffled_floor` for metrics too slow for a table of all pairs (SSIM).

    Parameters
    ----------
    score : callable
        Takes two permutations (n,), of predictions and of pictures, and returns the metric
        of pairing them; it may use the first few pairs only.
    n : int
        Number of stimuli.
    rng : numpy.random.Generator
        Draws the permutations; a picture meets its own prediction as often as by chance.
    shuffles, level
        Number of shuffles and level of the interval, as `shuffled_floor` takes them.
    """
    scores = [score(rng.permutation(n), rng.permutation(n)) for _ in range(shuffles)]
    return floor_of(np.asarray(scores, dtype=np.float64), level=level)


def nearest_training_picture(predicted: Embeddings, training: Embeddings) -> NDArray[np.int64]:
    """Index of the training picture whose embedding is nearest (cosine) to each prediction.

    Parameters
    ----------
    predicted : Tensor or array (Q, D)
        Predicted embeddings of the test stimuli.
    training : Tensor or array (T, D)
        Embeddings of the training pictures.

    Returns
    -------
    array (Q,)
        Show these pictures as if they were reconstructions.
    """
    indices, _ = top_matches(predicted, training, 1, chunk=256)
    return indices[:, 0].cpu().numpy()


def random_training_picture(n: int, n_training: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Index of a random training picture for each of n test stimuli, with replacement."""
    if n_training < 1:
        raise DataError("there is no training picture to draw from")
    return rng.integers(0, n_training, n)


def floor_of(scores: NDArray[np.float64], *, level: float = 0.95) -> Interval:
    """Mean and quantiles of the scores (P,) of random pairings."""
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(scores.mean()), float(low), float(high))


def permutation_p(
    real: float, null: NDArray[np.floating], *, higher_is_better: bool = True
) -> float:
    """Share of pipelines, the real one included, that score at least as well as the real one.

    Training and testing again with shuffled pairs shows what a pipeline scores without any relation
    between brain and picture, whatever it does inside. ``(1 + #{null at least as good}) / (P + 1)``
    counts the real score among the permuted ones, so that p is never 0 (Phipson & Smyth 2010, Stat.
    Appl. Genet. Mol. Biol. 9, article 39); it is uniform without signal.

    Parameters
    ----------
    real : float
        Score of the real pipeline.
    null : array (P,)
        Scores of pipelines with permuted pairs, P at least 1.
    higher_is_better : bool
        False for distances and ranks.
    """
    scores = np.asarray(null, dtype=np.float64)
    if scores.ndim != 1 or not scores.size or not np.isfinite([real, *scores]).all():
        raise DataError(f"a permutation test needs finite scores, got {scores.size} permuted ones")
    good = scores >= real if higher_is_better else scores <= real
    return float((1 + good.sum()) / (scores.size + 1))
