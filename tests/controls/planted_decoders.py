"""Decoders with one planted fault each, and a sound one, on the scenes of a simulated subject.

Embeddings are the zoo encoder's tokens; "brain activity" is the true embedding, which a faulty
decoder is free to waste. All are functions of arrays: S test and T training stimuli, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from mindeye.data.images import to_images
from mindeye.data.simulate import Simulation, simulate
from mindeye.data.simulation import SimulateConfig
from mindeye.targets.encoders import load_encoder

Rows = NDArray[np.float32]

SUBJECT = SimulateConfig(train=400, test=120, voxels=300, ceiling_low=0.2, ceiling_high=0.2)
KINDS = 12
"""Clusters that the classifying decoder knows."""


@dataclass(frozen=True)
class Planted:
    """A simulated subject's stimuli and their embeddings.

    Attributes
    ----------
    simulation
        The subject.
    embeddings
        (T + S, D), training first.
    """

    simulation: Simulation
    embeddings: Rows

    @property
    def training(self) -> Rows:
        return self.embeddings[: self.simulation.config.train]

    @property
    def test(self) -> Rows:
        return self.embeddings[self.simulation.config.train :]

    @property
    def test_ids(self) -> list[str]:
        return self.simulation.ids[self.simulation.config.train :]


@cache
def planted_subject(seed: int = 0) -> Planted:
    """Simulate a subject and embed what it saw."""
    made = simulate(SUBJECT, seed)
    encoder = load_encoder("zoo", device=torch.device("cpu"))
    tokens = encoder.encode(to_images(made.pictures))
    return Planted(made, tokens.flatten(1).numpy().astype(np.float32))


def noise_like(rows: Rows, size: float, rng: np.random.Generator) -> Rows:
    """Gaussian noise of `size` times each feature's deviation."""
    return np.asarray(rng.normal(size=rows.shape) * rows.std(axis=0) * size, dtype=np.float32)


def sound(test: Rows, rng: np.random.Generator, *, noise: float = 12.0) -> Rows:
    """Return the truth and noise, which has 4,160 features to spread over."""
    return test + noise_like(test, noise, rng)


def classifying(
    test: Rows, training: Rows, rng: np.random.Generator, *, noise: float = 0.1
) -> Rows:
    """Predict the centroid of the training cluster that a picture is nearest to, and noise."""
    from sklearn.cluster import KMeans

    mean, deviation = training.mean(axis=0), training.std(axis=0)
    kinds = KMeans(KINDS, n_init=3, random_state=int(rng.integers(2**31)))
    kinds.fit((training - mean) / deviation)
    centroids = kinds.cluster_centers_[kinds.predict((test - mean) / deviation)]
    return np.asarray(centroids * deviation + mean, np.float32) + noise_like(test, noise, rng)


def looking_up(noisy: Rows, training: Rows) -> Rows:
    """Return the training embedding nearest to a noisy look at the truth, all less the mean."""
    mean = training.mean(axis=0)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (noisy - mean, training - mean)]
    return training[(unit[0] @ unit[1].T).argmax(axis=1)]


def collapsed(test: Rows, rng: np.random.Generator, *, dimensions: int = 2) -> Rows:
    """Return the truth on its two strongest dimensions, and a little noise."""
    mean = test.mean(axis=0)
    axes = np.linalg.svd(test - mean, full_matrices=False)[2][:dimensions]
    return np.asarray((test - mean) @ axes.T @ axes + mean + noise_like(test, 0.02, rng))


def shuffled(test: Rows, rng: np.random.Generator) -> Rows:
    """Return a sound decoder's predictions of other pictures: none keeps its own."""
    order = rng.permutation(len(test))
    other = np.empty(len(test), dtype=np.int64)
    other[order] = np.roll(order, 1)
    return sound(test, rng)[other]
