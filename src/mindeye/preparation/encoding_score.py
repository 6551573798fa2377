"""How well pictures predict betas, held out by picture, and what chance would give.

Ridge regression from picture features to betas in folds of pictures, cheap enough to be fitted
again for every permutation: the features' side of the fit is inverted once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mindeye.progress import track

Floats = NDArray[np.float32]
Numbers = NDArray[np.float64]


def unit_columns(values: Floats) -> Floats:
    """Return columns of mean 0 and length 1; columns that do not vary become 0."""
    centred = values - values.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    return np.asarray(centred / np.where(length > 1e-6, length, np.inf), dtype=np.float32)


@dataclass(frozen=True)
class EncodingModel:
    """Cross-validated ridge regression with everything that depends on pictures worked out.

    Parameters
    ----------
    features
        Features of the pictures, (S, P), columns of mean 0.
    folds
        Fold of every picture, (S,).
    inverses
        Matrix (P, P) of each fold: inverse of the training pictures' penalised Gram matrix.
    """

    features: Floats
    folds: NDArray[np.int64]
    inverses: tuple[Floats, ...]

    @classmethod
    def build(
        cls, features: Floats, *, folds: int, ridge: float, rng: np.random.Generator
    ) -> EncodingModel:
        """Deal pictures into folds at random and invert the Gram matrix of each fold's rest.

        Parameters
        ----------
        features
            Features of the pictures, (S, P), of unit mean variance.
        folds
            Number of folds.
        ridge
            Penalty as a multiple of the number of training pictures.
        rng
            Deals the folds.
        """
        fold = rng.permutation(len(features)) % folds
        inverses = []
        for index in range(folds):
            train = features[fold != index].astype(np.float64)
            gram = train.T @ train + ridge * len(train) * np.eye(features.shape[1])
            inverses.append(np.linalg.inv(gram).astype(np.float32))
        return cls(features, fold.astype(np.int64), tuple(inverses))

    def predict(self, betas: Floats) -> Floats:
        """Return (S, V) predictions of betas (S, V), each from the other folds' pictures."""
        order = np.argsort(self.folds, kind="stable")
        # Folds side by side, so that each is a view and not a copy.
        ends = np.searchsorted(self.folds[order], np.arange(len(self.inverses) + 1))
        parts = [slice(a, b) for a, b in pairwise(ends.tolist())]
        features, dealt = self.features[order], betas[order]
        products = [features[part].T @ dealt[part] for part in parts]
        total = np.sum(products, axis=0)
        predicted = np.empty_like(betas)
        for part, inverse, product in zip(parts, self.inverses, products, strict=True):
            predicted[order[part]] = features[part] @ (inverse @ (total - product))
        return predicted

    def score(self, betas: Floats) -> float:
        """Return the mean over voxels of the correlation of held-out prediction and beta.

        Parameters
        ----------
        betas
            Mean betas of every picture, (S, V), with unit columns.

        Returns
        -------
        float
            In [-1, 1]; about 0 or a little below by chance.
        """
        predicted = self.predict(betas)
        predicted -= predicted.mean(axis=0)
        length = np.sqrt(np.einsum("sv,sv->v", predicted, predicted))
        agreement = np.einsum("sv,sv->v", predicted, betas)
        return float(np.mean(agreement / np.where(length > 1e-12, length, np.inf)))

    def null_scores(self, betas: Floats, count: int, rng: np.random.Generator) -> Numbers:
        """Return scores (count,) with pictures dealt anew among the stimuli, fitted each time."""
        large = betas.size > 500_000
        orders = (rng.permutation(len(betas)) for _ in range(count))
        drawn = track(orders, "alignment", total=count, shown=large)
        return np.array([self.score(betas[order]) for order in drawn])


def p_value(score: float, null: Numbers) -> float:
    """Return the one-sided permutation p-value, (1 + those at least as high) / (1 + all)."""
    return float((1 + np.count_nonzero(null >= score)) / (1 + len(null)))


def pair_z(predicted: Floats, betas: Floats, permutations: int, rng: np.random.Generator) -> float:
    """Return how far the agreement of paired trials lies above that of re-dealt pairs.

    Parameters
    ----------
    predicted, betas
        Predicted and measured betas of the trials of one session, (N, V).
    permutations
        Times the pairs are dealt anew.
    rng
        Deals the pairs.

    Returns
    -------
    float
        Standard deviations above the mean of the re-dealt pairs; 0 by chance.
    """
    agreement = unit_columns(predicted) @ unit_columns(betas).T
    rows = np.arange(len(agreement))
    drawn = np.array(
        [agreement[rows, rng.permutation(len(rows))].sum() for _ in range(permutations)]
    )
    spread = drawn.std()
    return float((np.trace(agreement) - drawn.mean()) / spread) if spread > 0 else 0.0
