"""Linear baseline: ridge regression from betas to any target, lambda by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FOLDS = 3
LAMBDAS = np.logspace(1.5, 6, 10)
"""Betas are z-scored, so eigenvalues of their Gram matrix are of the order of trials x voxels."""


@dataclass(frozen=True)
class Ridge:
    """A fitted linear map.

    Parameters
    ----------
    beta_mean
        (V,) mean of the training betas.
    weights
        (V, T) or, in the dual form, the same.
    target_mean, target_deviation
        (T,) of the training targets.
    regularisation
        The lambda that cross-validation chose, one for all targets.
    """

    beta_mean: Floats
    weights: Floats
    target_mean: Floats
    target_deviation: Floats
    regularisation: float

    def predict(self, betas: Floats) -> Floats:
        """Return predictions (N, T) of betas (N, V)."""
        return np.asarray((betas - self.beta_mean) @ self.weights + self.target_mean)

    def predict_restored(self, betas: Floats) -> Floats:
        """Return predictions whose spread over stimuli is that of the training targets.

        Ridge shrinks towards the mean; Brain-Diffuser (Ozcelik & VanRullen 2023) z-scores its
        predictions and gives them the training targets' mean and deviation before generating.
        """
        raw = self.predict(betas)
        spread = raw.std(axis=0)
        scaled = (raw - raw.mean(axis=0)) / np.where(spread > 0, spread, 1)
        return np.asarray(scaled * self.target_deviation + self.target_mean, dtype=np.float32)


def fit_ridge(betas: Floats, targets: Floats, *, seed: int) -> Ridge:
    """Fit ridge regression with one lambda for all targets, chosen by k-fold cross-validation.

    The dual (kernel) form of himalaya is solved, so that thousands of voxels cost no more than
    the number of stimuli.

    Parameters
    ----------
    betas
        (N, V), one row a training stimulus.
    targets
        (N, T).
    seed
        Of the folds.
    """
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import KernelRidgeCV
    from sklearn.model_selection import KFold

    set_backend("numpy")
    betas = np.asarray(betas, dtype=np.float32)
    targets = np.asarray(targets, dtype=np.float32)
    beta_mean, target_mean = betas.mean(axis=0), targets.mean(axis=0)
    centred = betas - beta_mean
    folds = KFold(n_splits=min(FOLDS, len(betas)), shuffle=True, random_state=seed)
    model = KernelRidgeCV(
        alphas=LAMBDAS,
        kernel="linear",
        cv=folds,
        solver_params={"local_alpha": False},
        Y_in_cpu=False,
    )
    model.fit(centred, targets - target_mean)
    return Ridge(
        beta_mean=beta_mean,
        weights=np.asarray(centred.T @ model.dual_coef_, dtype=np.float32),
        target_mean=target_mean,
        target_deviation=targets.std(axis=0),
        regularisation=float(np.ravel(model.best_alphas_)[0]),
    )
