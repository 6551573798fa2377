"""Baselines with the decoder's protocol: ridge regression and nearest neighbours.

Axes: N training stimuli, S stimuli predicted, V voxels, K tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.config import RunConfig
from mindeye.decoding.estimator import Estimator
from mindeye.decoding.prediction import Floats, Prediction
from mindeye.decoding.spaces import EmbeddedSubject
from mindeye.files import open_array, read_json, write_array, write_json
from mindeye.models.columns import Columns
from mindeye.models.neighbours import Neighbours, choose_count, nearest, predict_by_neighbours
from mindeye.models.ridge import (
    TARGETS_FOR_LAMBDA,
    Lambdas,
    Predicted,
    choose_lambdas,
    linear_kernel,
    predict_ridge,
)
from mindeye.targets.encoders import Encoder

EACH_UP_TO = 20_000
"""Latents that get a lambda each; those of Stable Diffusion at 512 pixels are 16,384."""


class _Baseline(Estimator[Prediction]):
    """A decoder that keeps the training stimuli: their mean betas (N, V) and their targets."""

    target: Literal["tokens", "latents"] = "tokens"
    betas_: Floats
    columns_: Columns
    train_ids_: list[str]

    def _fit(self, data: EmbeddedSubject, config: RunConfig, home: Path, *, kept: bool) -> None:
        data.embed(latents=self.target == "latents")
        self.fit_embedded(data)
        if not kept:  # the store goes with its temporary folder
            self.columns_ = self.columns_.in_memory()

    def fit_embedded(self, data: EmbeddedSubject) -> Self:
        """Learn from a subject whose stimuli are embedded; a run's stage `ridge` does this."""
        self.train_ids_ = data.subject.splits["train"]
        self.betas_ = data.mean_betas(self.train_ids_).numpy()
        self.columns_ = Columns(data.embeddings(self.target), data.rows(self.train_ids_))
        self.spaces_ = data.spaces
        self._learn()
        self._keep(data.subject)
        return self

    def _learn(self) -> None:
        raise NotImplementedError

    def sample(self, prediction: Prediction, seeds: list[int]) -> Tensor:
        """Return the predicted embeddings, each as often as there are seeds a stimulus."""
        draws = len(seeds) // len(prediction)
        return torch.from_numpy(np.asarray(prediction.tokens)).repeat_interleave(draws, dim=0)

    def _write(self, folder: Path) -> None:
        write_array(folder / "betas.npy", self.betas_)
        write_array(folder / "targets.npy", self.columns_.array())
        write_json(folder / "train_ids.json", self.train_ids_)

    def _read(self, folder: Path) -> None:
        self.betas_ = np.array(open_array(folder / "betas.npy", "save the decoder again"))
        targets = open_array(folder / "targets.npy", "save the decoder again")
        self.columns_ = Columns(targets, np.arange(len(targets)))
        self.train_ids_ = read_json(folder / "train_ids.json")


class RidgeDecoder(_Baseline):
    """Kernel ridge regression from betas to embeddings, lambda chosen by cross-validation.

    Parameters
    ----------
    encoder
        Image encoder whose embeddings are decoded: a name or an encoder object.
    centred
        Take the mean training embedding away from what retrieval compares: what all images have
        in common then no longer counts as a match. Compare with images less `target_mean_`.
    target
        ``tokens`` of the encoder or ``latents`` of the autoencoder. Tokens share one lambda,
        latents have one each: on a simulated subject a lambda a token gave no better held-out R2.
    preset, config
        Preset and configuration, as of `BrainDecoder`; only the key `targets` of `config` matters.
    seed
        Seed of the folds of cross-validation.
    device
        Device that the encoder runs on.
    weights
        Folder of published models; empty for the usual places.

    Attributes
    ----------
    lambdas_ : Lambdas
        What cross-validation chose.
    target_mean_ : ndarray
        Mean training embedding (K, D).

    Examples
    --------
    >>> import mindeye
    >>> from mindeye.data.simulation import SimulateConfig
    >>> small = SimulateConfig(train=24, test=6, repeats=2, sessions=2, voxels=60)
    >>> subject = mindeye.simulate_subject(small, 0)
    >>> ridge = mindeye.RidgeDecoder().fit(subject)
    >>> ridge.predict(subject.betas_of("test")).tokens.shape
    (6, 65, 64)
    """

    lambdas_: Lambdas

    def __init__(
        self,
        encoder: str | Encoder = "zoo",
        *,
        centred: bool = False,
        target: Literal["tokens", "latents"] = "tokens",
        preset: str = "demo",
        config: Mapping[str, Any] | None = None,
        seed: int = 0,
        device: str = "auto",
        weights: str = "",
    ) -> None:
        super().__init__(
            encoder, preset=preset, config=config, seed=seed, device=device, weights=weights
        )
        self.centred = centred
        self.target = target

    def _learn(self) -> None:
        count, columns = self.columns_.count, self.columns_
        each = self.target == "latents" and count <= EACH_UP_TO
        picked = np.arange(count) if each else sampled_targets(count, self.seed)
        kernel = linear_kernel(self.betas_, self.betas_[:0])  # lambda needs the training half alone
        self.lambdas_ = choose_lambdas(kernel, columns.pick(picked), each=each, seed=self.seed)

    def predicted(self, betas: Floats) -> Predicted:
        """Return predictions (S, T) of betas (S, V), and moments of the training targets."""
        kernel = linear_kernel(self.betas_, betas)
        return predict_ridge(kernel, self.lambdas_, self.columns_, f"ridge: {self.target}")

    def _predict(self, betas: Floats, ids: list[str]) -> Prediction:
        tokens = self.predicted(betas).plain.reshape(-1, *self.columns_.shape)
        return Prediction(tokens, self._comparable(tokens), ids, betas, self)

    @cached_property
    def target_mean_(self) -> Floats:
        """Mean training target, (K, D) or (C, h, w)."""
        mean = np.empty(self.columns_.count, dtype=np.float32)
        for part, block in self.columns_.blocks("mean target"):
            mean[part] = block.mean(axis=0, dtype=np.float64)
        return mean.reshape(self.columns_.shape)

    def _comparable(self, embeddings: Floats) -> Floats:
        return embeddings - self.target_mean_ if self.centred else embeddings

    def _write(self, folder: Path) -> None:
        super()._write(folder)
        write_array(folder / "lambdas.npy", self.lambdas_.values)
        content = {"score": self.lambdas_.score, "targets": self.lambdas_.targets}
        write_json(folder / "lambdas.json", content)

    def _read(self, folder: Path) -> None:
        super()._read(folder)
        values = np.array(open_array(folder / "lambdas.npy", "save the decoder again"))
        self.lambdas_ = Lambdas(values, **read_json(folder / "lambdas.json"))


class NeighbourDecoder(_Baseline):
    """The mean embedding of the training stimuli whose betas correlate most.

    Parameters
    ----------
    encoder
        Image encoder whose embeddings are decoded: a name or an encoder object.
    neighbours
        Training stimuli averaged; 0 chooses their number by cross-validation.
    preset, config, seed, device, weights
        Settings with the meaning that they have for `RidgeDecoder`.

    Attributes
    ----------
    neighbours_ : Neighbours
        Number of neighbours, and the scores that chose it.

    Examples
    --------
    >>> import mindeye
    >>> from mindeye.data.simulation import SimulateConfig
    >>> small = SimulateConfig(train=24, test=6, repeats=2, sessions=2, voxels=60)
    >>> subject = mindeye.simulate_subject(small, 0)
    >>> found = mindeye.NeighbourDecoder().fit(subject).predict(subject)
    >>> len(found.nearest)
    6
    """

    neighbours_: Neighbours

    def __init__(
        self,
        encoder: str | Encoder = "zoo",
        *,
        neighbours: int = 0,
        preset: str = "demo",
        config: Mapping[str, Any] | None = None,
        seed: int = 0,
        device: str = "auto",
        weights: str = "",
    ) -> None:
        super().__init__(
            encoder, preset=preset, config=config, seed=seed, device=device, weights=weights
        )
        self.neighbours = neighbours

    def _learn(self) -> None:
        if self.neighbours:
            self.neighbours_ = Neighbours(self.neighbours, {})
            return
        sample = self.columns_.pick(sampled_targets(self.columns_.count, self.seed))
        self.neighbours_ = choose_count(self.betas_, sample, seed=self.seed)

    def _predict(self, betas: Floats, ids: list[str]) -> Prediction:
        rows = nearest(self.betas_, betas, self.neighbours_.count)
        means = predict_by_neighbours(rows, self.columns_, "neighbours: tokens")
        tokens = means.reshape(-1, *self.columns_.shape)
        alike = [self.train_ids_[row] for row in rows[:, 0]]
        return Prediction(tokens, tokens, ids, betas, self, alike)

    def _write(self, folder: Path) -> None:
        super()._write(folder)
        write_json(folder / "neighbours.json", {"count": self.neighbours_.count})

    def _read(self, folder: Path) -> None:
        super()._read(folder)
        self.neighbours_ = Neighbours(read_json(folder / "neighbours.json")["count"], {})


def sampled_targets(count: int, seed: int) -> NDArray[np.int64]:
    """Return the targets, drawn at random, that a shared lambda or k is chosen by."""
    size = min(count, TARGETS_FOR_LAMBDA)
    return np.sort(np.random.default_rng(seed).choice(count, size=size, replace=False))
