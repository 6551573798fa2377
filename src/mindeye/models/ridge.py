"""Linear baseline: ridge regression from betas to any target, lambda by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FOLDS = 3
TARGETS_FOR_LAMBDA = 512
LAMBDAS = np.logspace(0, 6, 13)
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

    The search is himalaya's, in the dual (kernel) form, so that thousands of voxels cost no more
    than the number of stimuli. It looks at a random subset of the targets; all are fitted.

    Parameters
    ----------
    betas
        (N, V), one row a training stimulus.
    targets
        (N, T).
    seed
        Of the folds and of the subset.
    """
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import KernelRidgeCV
    from sklearn.linear_model import Ridge as LinearRidge
    from sklearn.model_selection import KFold

    set_backend("numpy")
    betas = np.asarray(betas, dtype=np.float32)
    targets = np.asarray(targets, dtype=np.float32)
    beta_mean, target_mean = betas.mean(axis=0), targets.mean(axis=0)
    centred, wanted = betas - beta_mean, targets - target_mean
    count = min(wanted.shape[1], TARGETS_FOR_LAMBDA)
    subset = np.random.default_rng(seed).choice(wanted.shape[1], size=count, replace=False)
    folds = KFold(n_splits=min(FOLDS, len(betas)), shuffle=True, random_state=seed)
    search = KernelRidgeCV(
        alphas=LAMBDAS,
        kernel="linear",
        cv=folds,
        warn=False,
        solver_params={"local_alpha": False},
    )
    search.fit(centred, wanted[:, subset])
    chosen = float(np.ravel(search.best_alphas_)[0])
    # One lambda needs no eigenvectors: a Cholesky solve is five times faster than himalaya's.
    model = LinearRidge(alpha=chosen, fit_intercept=False, solver="cholesky").fit(centred, wanted)
    return Ridge(
        beta_mean=beta_mean,
        weights=np.ascontiguousarray(model.coef_.reshape(wanted.shape[1], -1).T),
        target_mean=target_mean,
        target_deviation=targets.std(axis=0),
        regularisation=chosen,
    )
