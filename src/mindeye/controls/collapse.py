"""Collapse: how many dimensions predictions use, and which.

Source: Shirakawa et al. 2024, arXiv 2405.10078 ("output dimension collapse").

Axes: S stimuli, T training stimuli, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.controls.measures import Embeddings, flat_rows
from mindeye.errors import DataError
from mindeye.metrics.points import Finding
from mindeye.metrics.scoring import Scoring, interval
from mindeye.metrics.table import Row, Scored

CONTROL = "collapse"
COLLAPSED = 0.2
"""Share of the true effective rank under which predictions count as collapsed. Our choice: on the
demo's subject ridge, which shrinks weak dimensions as it should, uses 0.25, the trained decoder
0.58."""
LEADING = 0.99
"""Share of training variance that the leading components hold, where the span is everything."""
MOST_TRAINING = 4000
"""Training stimuli that a span is made of, at most: its cost grows with their square."""


def effective_rank(rows: Tensor | NDArray[Any]) -> float:
    """Participation ratio of the covariance over stimuli.

    (sum of eigenvalues)^2 / sum of squared eigenvalues: 1 if all predictions lie on a line,
    min(S - 1, D) if they spread evenly. Compare with that of the true embeddings.

    Parameters
    ----------
    rows : array (S, D)
        Predicted or true embeddings; trailing axes are flattened.

    Returns
    -------
    float
        In [1, min(S - 1, D)], or 0 if all rows are equal.
    """
    x = torch.as_tensor(rows).detach().double().flatten(1).cpu().numpy()
    if not np.isfinite(x).all():
        raise DataError("embeddings contain NaN or infinity")
    x = x - x.mean(axis=0)
    gram = x @ x.T if len(x) <= x.shape[1] else x.T @ x
    total = float(np.square(gram).sum())
    return 0.0 if total == 0 else float(np.trace(gram)) ** 2 / total


def effective_rank_row(system: str, predicted: Tensor, actual: Tensor) -> Scored:
    """Dimensions that the predictions use; the ceiling is what the true embeddings use."""
    row = Row(
        "effective_rank", system, effective_rank(predicted), None, None,
        len(predicted), None, 1.0, effective_rank(actual), None, None,
        note="participation ratio; ceiling: the true embeddings",
    )  # fmt: skip
    return Scored(row, None)


@dataclass(frozen=True, eq=False)
class Span:
    """The principal subspace of training targets.

    Attributes
    ----------
    mean
        (D,) training mean.
    axes
        (D, R) orthonormal columns.
    note
        Which subspace it is.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    note: str


def training_span(training: Embeddings, *, rng: np.random.Generator) -> Span:
    """Find what training targets span.

    With no more training stimuli than features the subspace is their whole span, in which every
    linear map fitted to them stays (Shirakawa et al. 2024, arXiv 2405.10078; Otsuka et al. 2025,
    arXiv 2509.15832). With more, the span is everything, and the leading components are taken that
    hold `LEADING` of the training variance: a convention of ours.

    Parameters
    ----------
    training : array (T, ...)
        Embeddings that the decoder was trained to predict; may be memory-mapped. Trailing axes are
        flattened.
    rng : numpy.random.Generator
        Thins training stimuli beyond `MOST_TRAINING`; the note says so.

    Raises
    ------
    DataError
        If there are fewer than two training stimuli, or all are equal.
    """
    rows = np.sort(rng.permutation(len(training))[:MOST_TRAINING])
    if len(rows) < 2:
        raise DataError(f"a span needs 2 training stimuli at least, got {len(rows)}")
    targets = flat_rows(training[rows], "training").astype(np.float64)
    mean = targets.mean(axis=0)
    axes, note = _principal_axes(targets - mean)
    if len(rows) < len(training):
        note += f", of {len(rows)} training stimuli out of {len(training)}"
    return Span(mean, axes, note)


def out_of_span(rows: Embeddings, span: Span) -> NDArray[np.float64]:
    """Share of an embedding's squared norm outside what the training targets span.

    With m the training mean and P the projection on the subspace, the share of embedding y is
    ||(I - P)(y - m)||^2 / ||y - m||^2.

    Parameters
    ----------
    rows : array (S, ...)
        Predicted or true embeddings of test stimuli.
    span : Span
        Span of the training targets.

    Returns
    -------
    array (S,)
        In [0, 1]; 0 for an embedding equal to the training mean.
    """
    given = flat_rows(rows, "test").astype(np.float64)
    if given.shape[1] != len(span.mean):
        raise DataError(f"embeddings have {given.shape[1]} features, training {len(span.mean)}")
    rest = given - span.mean
    whole = np.square(rest).sum(axis=1)
    inside = np.square(rest @ span.axes).sum(axis=1)
    share = 1 - inside / np.where(whole == 0, 1, whole)
    return np.where(whole == 0, 0.0, np.clip(share, 0, 1))


def _principal_axes(centred: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """Orthonormal columns (D, R) of the subspace, from the smaller Gram matrix."""
    stimuli, width = centred.shape
    if not centred.any():
        raise DataError("all training embeddings are equal: they span nothing")
    few = stimuli <= width
    values, vectors = np.linalg.eigh(centred @ centred.T if few else centred.T @ centred)
    values, vectors = values[::-1].clip(min=0), vectors[:, ::-1]
    rank = int((values > values[0] * max(stimuli, width) * np.finfo(np.float64).eps).sum())
    if few:
        dimensions, note = rank, f"all {rank} dimensions of the training targets"
    else:
        held = np.cumsum(values) / values.sum()
        dimensions = min(rank, int(np.searchsorted(held, LEADING)) + 1)
        note = f"the {dimensions} dimensions with {LEADING:.0%} of the training variance"
    axes = vectors[:, :dimensions]
    if few:
        axes = centred.T @ (axes / np.sqrt(values[:dimensions]))
    return axes, note


def out_of_span_row(
    system: str,
    predicted: Embeddings,
    actual: Embeddings,
    span: Span,
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
) -> Scored:
    """Mean out-of-span share of predictions; the ceiling is that of the true embeddings."""
    shares, true = out_of_span(predicted, span), out_of_span(actual, span)
    bounds = interval(shares, rng, scoring or Scoring())
    row = Row(
        "out_of_span", system, bounds.value, bounds.low, bounds.high,
        len(shares), None, None, float(true.mean()),
        note=f"outside {span.note}; ceiling: the true embeddings",
    )  # fmt: skip
    return Scored(row, shares)


def collapse_findings(scored: Sequence[Scored]) -> list[Finding]:
    """Warn of systems whose predictions use far fewer dimensions than the true embeddings.

    Parameters
    ----------
    scored
        Rows; those of ``effective_rank`` are looked at.

    Returns
    -------
    list of Finding
        One a system: a warning below `COLLAPSED` of the true effective rank.
    """
    findings = []
    for row, _ in scored:
        if row.metric != "effective_rank" or not row.ceiling:
            continue
        share = row.value / row.ceiling
        text = (
            f"Predictions use {row.value:.1f} dimensions, the true embeddings {row.ceiling:.1f} "
            f"({share:.0%})"
        )
        if share < COLLAPSED:
            text += ": they have collapsed onto a few"
        findings.append(Finding(CONTROL, row.system, share >= COLLAPSED, f"{text}."))
    return findings
