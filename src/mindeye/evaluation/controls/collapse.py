"""Collapse: how many dimensions predictions use (Shirakawa et al. 2024, arXiv 2405.10078).

Axes: S stimuli, D width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.errors import DataError
from mindeye.evaluation.table import Row, Scored


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
