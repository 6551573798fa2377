"""Train/test similarity audit: whether scores may rest on copies and look-alikes in training.

The similarity of two pictures is the cosine of their embeddings less the training mean (without
centring, tokens of one encoder are all alike). What counts as near is measured on the training
pictures themselves: in a random split a test picture lies as far from its nearest training picture
as a training picture from its nearest other one. (Shirakawa et al. 2024, arXiv 2405.10078, show how
much the training and test pictures of a widely used data set overlap.)

Axes: S test stimuli, T training stimuli, R training stimuli that serve as reference, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mindeye.controls.measures import (
    Embeddings,
    flat_rows,
    unit_rows,
)
from mindeye.errors import DataError
from mindeye.metrics.points import Finding, Point
from mindeye.progress import track

CONTROL = "nearest_training"
COPY = 0.1
"""A test picture is a near copy if its distance (1 - cosine) to the nearest training picture is at
most this share of the median distance of a training picture to its nearest other. Our choice: on
the demo's subject and encoder 300 distinct test scenes lay at 0.40 of that median and up, 40 scenes
recompressed as JPEG of quality 50 at 0.012 to 0.065."""
FALSE_COPIES = 0.01
"""Where embeddings have few dimensions distinct pictures come closer than that. There the bound is
lowered until this many near copies are expected in the whole test set; the share of distances below
d is taken to grow as a power of d, through the 5 % and 50 % quantiles within training."""
FEWEST = 20
"""Training pictures from which on something is said of what is usually near. Our choice: of the six
figures of a small data set, three others passed for copies."""
ROUNDING = 1e-6
"""Distances up to this are 0 in float32."""
CLOSE_SHARE, MOST_CLOSE, CLOSE_P = 0.05, 0.1, 1e-3
"""Test pictures are too close as a whole if more than a tenth of them lie nearer to training than
the closest twentieth of training pictures lie to each other, and Fisher's exact test of the two
shares gives p below 0.001. Our choice."""
BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Nearness:
    """How near test pictures are to training pictures.

    Attributes
    ----------
    similarity
        (S,) cosine, in [-1, 1], of a test picture and its nearest training picture.
    nearest
        (S,) row of that training picture.
    within
        (R,) the same for training pictures and their nearest other training picture.
    """

    similarity: NDArray[np.float64]
    nearest: NDArray[np.int64]
    within: NDArray[np.float64]

    @property
    def copy_bound(self) -> float:
        """Distance up to which a test picture is a near copy: `COPY` and `FALSE_COPIES`."""
        few, half = np.quantile(1 - self.within, [0.05, 0.5])
        if few <= ROUNDING:  # copies within training say nothing of distinct pictures
            return ROUNDING
        power = np.log(0.5 / 0.05) / max(float(np.log(half / few)), 1e-9)
        level = FALSE_COPIES / len(self.similarity)
        return float(max(min(COPY * half, few * (level / 0.05) ** (1 / power)), ROUNDING))

    @property
    def copies(self) -> NDArray[np.bool_]:
        """(S,) whether a test picture is a near copy of a training picture."""
        return np.asarray(1 - self.similarity <= self.copy_bound)


def nearness(
    test: Embeddings, training: Embeddings, *, rng: np.random.Generator, references: int = 1000
) -> Nearness:
    """Find the nearest training picture of every test picture.

    Training pictures are read in blocks and may be memory-mapped; for encoders with hundreds of
    thousands of features give pooled embeddings, since test and reference rows are held.

    Parameters
    ----------
    test
        (S, ...) true embeddings of the test pictures; trailing axes are flattened.
    training
        (T, ...) of the training pictures, at least 3.
    rng
        Draws the reference pictures.
    references
        Training pictures that are held against the others, at most T.

    Raises
    ------
    DataError
        If there are too few pictures, or test and training have other features.
    """
    total = len(training)
    features = flat_rows(test, "test")
    if total < 3:
        raise DataError(f"nearness needs at least 3 training pictures, got {total}")
    own = np.sort(rng.choice(total, size=min(total, references), replace=False))
    mean = training_mean(training)
    if features.shape[1] != len(mean):
        raise DataError(f"test pictures have {features.shape[1]} features, training {len(mean)}")
    queries = unit_rows(features - mean)
    others = unit_rows(flat_rows(training[own], "training") - mean)
    best, within = np.full(len(queries), -np.inf), np.full(len(own), -np.inf)
    nearest = np.zeros(len(queries), dtype=np.int64)
    for start in track(range(0, total, BLOCK), "nearest", shown=total * features.size > 2e10):
        block = unit_rows(flat_rows(training[start : start + BLOCK], "training") - mean)
        alike = queries @ block.T
        top = alike.argmax(axis=1)
        value = alike[np.arange(len(alike)), top]
        nearest = np.where(value > best, top + start, nearest)
        best = np.maximum(best, value)
        among = others @ block.T
        here = (own >= start) & (own < start + len(block))
        among[here, own[here] - start] = -np.inf  # not its own neighbour
        within = np.maximum(within, among.max(axis=1))
    return Nearness(np.clip(best, -1, 1), nearest, np.clip(within, -1, 1))


def training_mean(training: Embeddings) -> NDArray[np.float32]:
    """Return the mean training embedding (D,), summed in double precision block by block."""
    total = np.zeros(())
    for start in range(0, len(training), BLOCK):
        block = flat_rows(training[start : start + BLOCK], "training")
        total = total + block.sum(axis=0, dtype=np.float64)
    return np.asarray(total / len(training), dtype=np.float32)


def similarity_audit(near: Nearness, ids: Sequence[str]) -> tuple[list[Point], list[Finding]]:
    """Say how near test pictures are to training, and warn of copies and of a split too close.

    Parameters
    ----------
    near
        Nearness of test pictures to training pictures, from `nearness`.
    ids
        S test stimulus ids.

    Returns
    -------
    tuple
        Two points (median similarity to training of test and of training pictures, with the 5 %
        and 95 % quantiles over pictures in place of an interval), and one finding.
    """
    if len(ids) != len(near.similarity):
        raise DataError(f"{len(ids)} ids for {len(near.similarity)} test pictures")
    points = [
        _spread("test to training", near.similarity),
        _spread("training to other training", near.within),
    ]
    copies = sorted({name for name, copy in zip(ids, near.copies, strict=True) if copy})
    share, expected, p = _too_close(near)
    if len(near.within) < FEWEST:
        text = (
            f"{len(near.within)} training pictures are too few to say what is usually near "
            f"(median similarity of test pictures {np.median(near.similarity):.3f}, within "
            f"training {np.median(near.within):.3f}): look at them yourself."
        )
        return points, [Finding(CONTROL, "", True, text)]
    if copies:
        text = (
            f"{len(copies)} of {len(ids)} test pictures are near copies of training pictures "
            f"({', '.join(copies[:3])}{', ...' if len(copies) > 3 else ''}): a decoder can look "
            "them up."
        )
    elif share > MOST_CLOSE and p < CLOSE_P:
        text = (
            f"{share:.0%} of test pictures lie nearer to a training picture than {expected:.0%} "
            f"of training pictures do to each other (p = {p:.1g}): the test set is no random draw."
        )
    else:
        text = (
            f"No test picture is a near copy of a training picture; the nearest has cosine "
            f"{near.similarity.max():.3f}. Test pictures are no nearer to training pictures than a "
            f"random draw of these to each other (medians {np.median(near.similarity):.3f} and "
            f"{np.median(near.within):.3f})."
        )
        return points, [Finding(CONTROL, "", True, text)]
    return points, [Finding(CONTROL, "", False, text)]


def _too_close(near: Nearness) -> tuple[float, float, float]:
    """Shares of test and of training pictures that are close, and Fisher's one-sided p."""
    bound = np.quantile(near.within, 1 - CLOSE_SHARE)
    close, usual = near.similarity > bound, near.within > bound
    table = [
        [int(close.sum()), int((~close).sum())],
        [int(usual.sum()), int((~usual).sum())],
    ]
    p = float(stats.fisher_exact(table, alternative="greater").pvalue)
    return float(close.mean()), float(usual.mean()), p


def _spread(condition: str, similarity: NDArray[np.float64]) -> Point:
    low, value, high = np.quantile(similarity, [0.05, 0.5, 0.95])
    return Point(
        CONTROL, condition, "", "similarity", float(value), float(low), float(high),
        len(similarity), note="median over pictures, with 5 % and 95 % quantiles",
    )  # fmt: skip
