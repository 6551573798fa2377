"""How good prior samples are, and whether they still are samples.

A cosine to the target alone can be had by cheating: the mean of all plausible embeddings has a
higher one than any plausible embedding. So spread and norm are measured beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mindeye.metrics.uncertainty import Interval, paired_difference
from mindeye.retrieval import ranks

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """Scores (S,) of a sampler's draws, each the mean over draws of a stimulus.

    Attributes
    ----------
    cosine
        Between sample and true embedding, flattened; in [-1, 1].
    centred_cosine
        The same after the training mean is taken off both: what is common to all pictures no
        longer counts. Chance 0.
    top1
        Share of draws that lie nearest to their own truth among all S truths; chance 1 / S.
    norm
        Length of the sample over length of the truth, both less the training mean. 1 for samples
        of the right size.
    spread
        Variance of an entry over start noises, mean over entries, unbiased; in squared units of
        the encoder. 0 for a point estimate.
    """

    cosine: Values
    centred_cosine: Values
    top1: Values
    norm: Values
    spread: Values


def gauge(draws: Iterable[Tensor], truth: Tensor, mean: Tensor) -> Quality:
    """Score draws of the same stimuli, one draw in memory at a time.

    Parameters
    ----------
    draws
        At least two tensors (S, K, D), each from other start noise.
    truth
        (S, K, D) true embeddings.
    mean
        (K, D) mean of the training embeddings.
    """
    scores: dict[str, list[Tensor]] = {"cosine": [], "centred_cosine": [], "top1": [], "norm": []}
    actual, centre = truth.flatten(1), mean.flatten()
    rest = actual - centre
    centroid, squares, count = torch.zeros_like(truth), torch.zeros_like(truth), 0
    for draw in draws:
        flat = draw.flatten(1)
        scores["cosine"].append(functional.cosine_similarity(flat, actual))
        scores["centred_cosine"].append(functional.cosine_similarity(flat - centre, rest))
        scores["top1"].append((ranks(flat, actual) <= 0).double())
        scores["norm"].append((flat - centre).norm(dim=1) / rest.norm(dim=1))
        count += 1  # variance by Welford's update: equal draws give exactly 0
        step = draw - centroid
        centroid = centroid + step / count
        squares = squares + step * (draw - centroid)
    if count < 2:
        raise ValueError(f"{count} draws a stimulus; a spread needs at least 2")
    spread = (squares / (count - 1)).mean(dim=(1, 2))
    means = {name: torch.stack(parts).mean(dim=0) for name, parts in scores.items()}
    return Quality(**{n: v.double().numpy() for n, v in {**means, "spread": spread}.items()})


def compare(
    quality: Quality, reference: Quality, *, seed: int, resamples: int = 2000
) -> dict[str, Interval]:
    """Return differences from a reference sampler with 95 % bootstrap intervals over stimuli.

    Both are resampled on the same stimuli; `spread_ratio` is a ratio of mean spreads.
    """
    names = ("cosine", "centred_cosine", "top1", "norm")
    differences = {
        name: paired_difference(
            getattr(quality, name),
            getattr(reference, name),
            np.random.default_rng(seed),
            resamples=resamples,
        )
        for name in names
    }
    ratio = _ratio(quality.spread, reference.spread, np.random.default_rng(seed), resamples)
    return {**differences, "spread_ratio": ratio}


def _ratio(above: Values, below: Values, rng: np.random.Generator, resamples: int) -> Interval:
    """Ratio of means, its percentile bootstrap over stimuli."""
    rows = rng.integers(0, len(above), (resamples, len(above)))
    drawn = above[rows].mean(axis=1) / below[rows].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(above.mean() / below.mean()), float(low), float(high))
