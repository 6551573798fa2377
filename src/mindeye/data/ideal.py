"""The ideal observer of a simulated subject: the limit no decoder can pass.

It knows every voxel's noise-free response to every candidate and the covariance of the noise, and
ranks candidates by the Gaussian likelihood of the measured betas.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mindeye.data.subject import Subject
from mindeye.errors import DataError

LEAST_DEVIATION = 1e-3
"""Smallest deviation of a voxel's own noise. Betas have unit variance and their scale is estimated,
so that no voxel is known better; one without noise would have infinite precision. Our choice."""


def has_truth(subject: Subject) -> bool:
    """Return whether the subject is simulated and its noise-free responses are known."""
    return subject.has("truth/responses.npy")


def log_likelihood(subject: Subject, stimulus_ids: list[str]) -> NDArray[np.float64]:
    """Return the log likelihood of each stimulus's mean betas under each candidate.

    With the mean over r repeats, noise has covariance (L L' + diag(d^2)) / r, where L are the
    loadings of common noise; its inverse is taken by the Woodbury identity. d is at least
    `LEAST_DEVIATION`.

    Parameters
    ----------
    subject
        A simulated subject.
    stimulus_ids
        Ids of S stimuli, which are both queries and candidates.

    Returns
    -------
    array
        Log likelihood (S, S) up to a constant a row: rows are brains, columns candidates.

    Raises
    ------
    DataError
        If the subject has no known truth.
    """
    if not has_truth(subject):
        raise DataError(f"{subject.path} is not simulated: there is no ideal observer of it")
    rows = [subject.row_of_stimulus[s] for s in stimulus_ids]
    responses = subject.array("truth/responses.npy")[rows].astype(np.float64)
    loadings = subject.array("truth/noise_loadings.npy").astype(np.float64)
    own = subject.array("truth/noise_deviation.npy").astype(np.float64)
    betas = subject.betas_of(stimulus_ids).astype(np.float64)
    repeats = np.array([len(subject.rows_by_stimulus[s]) for s in stimulus_ids])

    white = 1 / np.maximum(own, LEAST_DEVIATION) ** 2
    inner = np.linalg.inv(np.eye(loadings.shape[1]) + (loadings.T * white) @ loadings)
    weighted = loadings * white[:, None]

    def precision(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(values * white - (values @ weighted) @ inner @ weighted.T)

    # -(b - m)' P (b - m) / 2 without the term in b alone, which is the same for all candidates.
    cross = betas @ precision(responses).T
    norm = np.einsum("sv,sv->s", responses, precision(responses))
    return np.asarray(repeats[:, None] * (cross - norm / 2))
