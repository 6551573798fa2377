"""Linear baseline: kernel ridge regression from betas to any target, lambda by cross-validation.

Ridge in its dual form is a matrix of weights over training stimuli, one row a test stimulus::

    weights = K_test (K_train + lambda I)^-1        prediction = mean + weights (targets - mean)

so that targets can be read a few columns at a time and no map of (V, T) is ever held.

Axes: N training stimuli, M test stimuli, V voxels, T targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.models.columns import Columns

Floats = NDArray[np.float32]

FOLDS = 3
TARGETS_FOR_LAMBDA = 512
"""Targets, drawn at random, of which the one lambda of many is chosen."""
LAMBDAS = np.logspace(0, 6, 19)
"""Betas are z-scored, so eigenvalues of their Gram matrix are of the order of trials x voxels.

Brain-Diffuser's code sets 50,000 to 60,000 for 15,724 z-scored voxels, not cross-validated.
"""
BATCH = 2048
"""Targets whose held-out predictions are made at once."""


@dataclass(frozen=True)
class Kernel:
    """Inner products of betas, of which the training mean was taken.

    Parameters
    ----------
    train
        (N, N).
    test
        (M, N).
    """

    train: Floats
    test: Floats


@dataclass(frozen=True)
class Lambdas:
    """What cross-validation on the training stimuli chose.

    Parameters
    ----------
    values
        (T,) one a target, or (1,) shared by all.
    score
        Held-out R2 of all targets that were looked at together: 1 less their squared error by
        their variance, both summed over targets; 0 where none varies.
    targets
        How many these were.
    """

    values: Floats
    score: float
    targets: int

    def of(self, count: int) -> Floats:
        """Return (count,), one a target."""
        return np.broadcast_to(self.values, (count,)) if len(self.values) == 1 else self.values


def linear_kernel(betas: Floats, test: Floats) -> Kernel:
    """Return the kernel of betas (N, V) and test betas (M, V).

    Raises
    ------
    DataError
        If there are fewer than two training stimuli, or other voxels in both.
    """
    if len(betas) < 2:
        raise DataError(f"a ridge regression of {len(betas)} training stimuli; it needs two")
    if betas.shape[1] != test.shape[1]:
        raise DataError(f"{betas.shape[1]} voxels in training, {test.shape[1]} in test betas")
    mean = betas.mean(axis=0)
    centred = betas - mean
    return Kernel(centred @ centred.T, (test - mean) @ centred.T)


def choose_lambdas(kernel: Kernel, targets: Floats, *, each: bool, seed: int) -> Lambdas:
    """Choose lambda by k-fold cross-validation, with himalaya's solver (Dupre la Tour 2022).

    What is compared is the squared error on held-out stimuli. R2 would divide it by the variance
    within a fold: one pixel that hardly varies then outweighs all others (on digit69, where most
    of the background is black, mean R2 chose a lambda that predicts nothing but the mean).

    Parameters
    ----------
    kernel
        Kernel of the betas; only its training half is read.
    targets
        (N, T) of the training stimuli.
    each
        Whether every target has a lambda of its own; else all share the one with the
        least error summed over targets, which needs no more than a sample of them.
    seed
        Seed of the folds.
    """
    from himalaya.kernel_ridge import solve_kernel_ridge_cv_eigenvalues
    from himalaya.scoring import l2_neg_loss
    from sklearn.model_selection import KFold

    folds = KFold(n_splits=min(FOLDS, len(targets)), shuffle=True, random_state=seed)
    with _numpy_backend():
        values, _, losses, _ = solve_kernel_ridge_cv_eigenvalues(
            kernel.train,
            targets,
            alphas=LAMBDAS.astype(np.float32),
            score_func=l2_neg_loss,
            cv=folds,
            fit_intercept=True,  # of every fold by itself: no mean of what is held out
            local_alpha=each,
            n_targets_batch=BATCH,
            n_alphas_batch=1,
        )
    # The logarithm that himalaya takes in between leaves a last digit: the grid's own values.
    nearest = np.abs(np.log(values)[:, None] - np.log(LAMBDAS)).argmin(axis=1)
    lambdas = LAMBDAS[nearest if each else nearest[:1]].astype(np.float32)
    variance = float(targets.var(axis=0, dtype=np.float64).mean())
    score = 1 + float(np.mean(losses, dtype=np.float64)) / variance if variance else 0.0
    return Lambdas(lambdas, score, targets.shape[1])


@contextmanager
def _numpy_backend() -> Iterator[None]:
    """Let himalaya compute with NumPy, and leave the caller's choice as it was."""
    from himalaya.backend import get_backend, set_backend

    before = get_backend().name
    set_backend("numpy")
    try:
        yield
    finally:
        set_backend(before)


def ridge_weights(kernel: Kernel, regularisation: float) -> Floats:
    """Return (M, N) weights over the centred targets of training stimuli, solved in float64."""
    from scipy.linalg import solve

    penalised = kernel.train.astype(np.float64)
    penalised[np.diag_indices_from(penalised)] += regularisation
    dual = solve(penalised, kernel.test.T.astype(np.float64), assume_a="pos", overwrite_a=True)
    return np.ascontiguousarray(dual.T, dtype=np.float32)


@dataclass(frozen=True)
class Predicted:
    """Predictions and what the targets of the training stimuli were.

    Parameters
    ----------
    plain
        (M, T).
    mean, deviation
        (T,) of the training targets.
    """

    plain: Floats
    mean: Floats
    deviation: Floats


def predict_ridge(kernel: Kernel, lambdas: Lambdas, columns: Columns, name: str) -> Predicted:
    """Predict all targets of the test stimuli, reading those of the training stimuli in blocks.

    Memory beyond the result: a block of targets, and (M, N) for every distinct lambda.

    Parameters
    ----------
    kernel
        Kernel of the betas.
    lambdas
        Lambdas of the targets.
    columns
        Targets of the training stimuli.
    name
        Shown in the progress bar.
    """
    values = lambdas.of(columns.count)
    weights = {value: ridge_weights(kernel, float(value)) for value in np.unique(values)}
    plain = np.empty((len(kernel.test), columns.count), dtype=np.float32)
    mean, deviation = (np.empty(columns.count, dtype=np.float32) for _ in range(2))
    for part, block in columns.blocks(name):
        mean[part] = block.mean(axis=0, dtype=np.float64)
        deviation[part] = block.std(axis=0, dtype=np.float64)
        centred, predicted = block - mean[part], plain[:, part]
        for value in np.unique(values[part]):
            own = values[part] == value
            predicted[:, own] = weights[value] @ centred[:, own] + mean[part][own]
    return Predicted(plain, mean, deviation)


def restore(predictions: Floats, mean: Floats, deviation: Floats) -> Floats:
    """Give predictions (M, T) the mean and spread over stimuli of the training targets.

    Ridge shrinks towards the mean; Brain-Diffuser z-scores its predictions and gives them the
    training targets' mean and deviation before it draws (Ozcelik & VanRullen 2023; in its public
    code `vdvae_regression.py` and `clipvision_regression.py`). The mean and deviation by which
    they z-score are those of the *test predictions* themselves: the recipe is transductive, what
    is predicted of one stimulus depends on which others are tested with it (on their betas, never
    on their pictures). Done here as published. A target whose predictions do not vary, as with one
    stimulus alone, has no z-score (0 / 0 in the published code): its prediction stays as it is.

    Parameters
    ----------
    predictions
        (M, T).
    mean, deviation
        (T,) of the training targets.
    """
    centre = predictions.mean(axis=0, dtype=np.float64)
    spread = predictions.std(axis=0, dtype=np.float64)
    # Rounding alone gives equal numbers a tiny spread, which would be blown up to noise.
    varies = spread > 1e-6 * (np.abs(centre) + deviation)
    scaled = (predictions - centre) / np.where(varies, spread, 1)
    return np.where(varies, scaled * deviation + mean, predictions).astype(np.float32)
