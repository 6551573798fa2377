"""What all estimators share: scikit-learn's habits, data in, the folder they are saved in.

Axes: S stimuli, V voxels, N trials or images, K tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import Tensor

from mindeye.config import RunConfig
from mindeye.config.settings import preset_content, run_config
from mindeye.data.images import to_images
from mindeye.data.subject import Subject, load_subject
from mindeye.decoding.folders import Fitted, claim_folder, read_fitted, write_fitted
from mindeye.decoding.prediction import Floats
from mindeye.decoding.spaces import EmbeddedSubject, TargetSpaces
from mindeye.errors import CheckpointError, ConfigError, DataError
from mindeye.processes import join_processes
from mindeye.retrieval import ranks, top_k_accuracy
from mindeye.targets.encoders import Encoder

REFERENCE_IMAGES = 32
"""Training images kept with a decoder: some generators measure the usual norm of embeddings."""


P = TypeVar("P")


class Estimator(BaseEstimator, Generic[P]):  # type: ignore[misc]
    """Base of the estimators: `P` is what one predicts.

    Parameters
    ----------
    encoder
        Image encoder whose embeddings are decoded: a name (``zoo``, a model folder, a fetched
        model, an entry of `ENCODERS`) or an encoder object.
    preset
        Preset or YAML file that gives every hyper-parameter that `config` leaves open.
    config
        Hyper-parameters, nested as in the preset's section of this estimator, for example
        ``{"optim": {"epochs": 10}}``; the key `targets` holds the preset's section of that name.
    seed
        Seed of everything random.
    device
        Device to work on; ``auto`` takes a CUDA device where there is one.
    weights
        Folder of published models, as `mindeye fetch models` writes it; empty for the usual places.
    """

    spaces_: TargetSpaces
    fitted_: Fitted

    _section = "high"
    """Section of a run's configuration that `config` is laid over."""

    def __init__(
        self,
        encoder: str | Encoder = "zoo",
        *,
        preset: str = "demo",
        config: Mapping[str, Any] | None = None,
        seed: int = 0,
        device: str = "auto",
        weights: str = "",
    ) -> None:
        self.encoder = encoder
        self.preset = preset
        self.config = config
        self.seed = seed
        self.device = device
        self.weights = weights

    def fit(
        self,
        data: Subject | str | Path | NDArray[np.floating],
        stimuli: Any = None,
        trials: Any = None,
        *,
        folder: str | Path | None = None,
    ) -> Self:
        """Embed the stimuli and learn from the training split, with a progress bar.

        Parameters
        ----------
        data
            A subject, the folder of one, or betas (N, V) of single trials.
        stimuli, trials
            Images and trials where `data` are betas, as in `Subject.from_arrays`.
        folder
            Folder for embeddings and checkpoints: the same call with the same folder goes on where
            it was cut off. None keeps them in a temporary folder.

        Returns
        -------
        Estimator
            The estimator itself.

        Raises
        ------
        ConfigError
            If a hyper-parameter is unknown or out of bounds.
        DataError
            If the data are not sound, or too few to learn from.
        """
        config = self._run_config()
        subject = self._subject(data, stimuli, trials)
        with self._embedded(subject, config, folder) as (embedded, home):
            self._fit(embedded, config, home, kept=folder is not None)
        self._keep(subject)
        return self

    def predict(
        self,
        betas: Subject | NDArray[np.floating] | Tensor,
        *,
        ids: Sequence[str] | None = None,
        session: int | NDArray[np.int64] | None = None,
    ) -> P:
        """Predict embeddings, or latents, from betas.

        Parameters
        ----------
        betas
            Betas (S, V), averaged over the repeats of each stimulus and z-scored as in training
            (`subject.betas_of("test")`); or a subject, whose test stimuli are predicted.
        ids
            Stimulus ids, one a row; their numbers by default.
        session
            Session that *raw* betas were measured in, one number or one a row: they are z-scored
            by the scaler that was fitted on the training trials. None takes betas as they are.

        Returns
        -------
        Prediction or ndarray
            `Prediction` with `tokens` and `retrieval`, both (S, K, D); of a `LowLevelDecoder`
            latents (S, C, h, w).
        """
        return self._predict(*self._betas(betas, ids, session))

    def _fit(self, data: EmbeddedSubject, config: RunConfig, home: Path, *, kept: bool) -> None:
        """Learn from a subject, of which nothing is embedded yet; `kept` if its folder stays."""
        raise NotImplementedError

    def _predict(self, betas: Floats, ids: list[str]) -> P:
        raise NotImplementedError

    def score(self, betas: Subject | NDArray[np.floating] | Tensor, images: Any = None) -> float:
        """Return how often a stimulus's own image is nearest to what is predicted, among all given.

        Parameters
        ----------
        betas
            A subject, whose test stimuli are scored, or betas (S, V).
        images
            The stimuli, (S, H, W, 3) uint8, where betas are an array.

        Returns
        -------
        float
            Top-1 accuracy, `brain_to_image_full_top1`; chance is 1 / S.
        """
        prediction: Any = self.predict(betas)
        if isinstance(betas, Subject):
            images = betas.pictures_of(prediction.ids)
        if images is None or len(images) != len(prediction):
            raise DataError(f"give one image a row of betas: {len(prediction)} of them")
        actual = self._comparable(self.embed(images))
        found = ranks(prediction.retrieval, actual, torch.arange(len(actual)))
        return float(top_k_accuracy(found, 1))

    def embed(self, images: NDArray[np.uint8], *, batch_size: int = 64) -> Floats:
        """Embed images in the space that the brain is decoded into.

        Parameters
        ----------
        images
            Images (N, H, W, 3) uint8.
        batch_size
            Images embedded at once.

        Returns
        -------
        ndarray
            Embeddings (N, K, D), what `Prediction.retrieval` is compared with.
        """
        self._check_fitted()
        pictures, encode = np.asarray(images), self.spaces_.encoder.encode
        blocks = (pictures[i : i + batch_size] for i in range(0, len(pictures), batch_size))
        return np.concatenate([encode(to_images(block)).numpy() for block in blocks])

    def _comparable(self, embeddings: Floats) -> Floats:
        """Return embeddings of images as retrieval compares them with predictions."""
        return embeddings

    def reference_images(self) -> Tensor | None:
        """Return a few training images (N, 3, H, W) in [0, 1], None where there are none."""
        images = self.fitted_.images
        return None if images is None else to_images(images)

    def _run_config(self) -> RunConfig:
        """Return the configuration of a run with these hyper-parameters."""
        content = preset_content(self.preset)
        other = "low" if self._section == "high" else "high"
        fields: dict[str, Any] = {
            "targets.generator": "none", "seed": self.seed, f"{other}_enabled": False
        }  # fmt: skip
        if isinstance(self.encoder, str):
            fields["targets.encoder"] = self.encoder
        for name, value in (self.config or {}).items():
            prefix = "targets." if name == "targets" else f"{self._section}."
            fields |= flat_fields(value if name == "targets" else {name: value}, prefix)
        return run_config({**flat_fields(content), **fields})

    def _spaces(self, config: RunConfig, device: torch.device) -> TargetSpaces:
        given = None if isinstance(self.encoder, str) else self.encoder
        weights = Path(self.weights) if self.weights else None
        return TargetSpaces(config.targets, device, weights, given)

    @staticmethod
    def _subject(
        data: Subject | str | Path | NDArray[np.floating], stimuli: Any, trials: Any
    ) -> Subject:
        if isinstance(data, Subject):
            return data
        if isinstance(data, str | Path):
            return load_subject(data)
        if stimuli is None or trials is None:
            raise DataError(
                "arrays of betas need stimuli and trials: fit(betas, stimuli, trials); or give a "
                "Subject, see mindeye.Subject.from_arrays"
            )
        return Subject.from_arrays(data, stimuli, trials)

    @contextmanager
    def _embedded(
        self, subject: Subject, config: RunConfig, folder: str | Path | None
    ) -> Iterator[tuple[EmbeddedSubject, Path]]:
        """Open the embedding store of a subject in a folder, a temporary one for None."""
        self.spaces_ = self._spaces(config, join_processes(self.device).device)
        if folder is not None:
            home = Path(folder)
            yield EmbeddedSubject(subject, self.spaces_, home / "embed", self.seed), home
            return
        with TemporaryDirectory(prefix="mindeye-") as name:
            home = Path(name)
            yield EmbeddedSubject(subject, self.spaces_, home / "embed", self.seed), home

    def _keep(self, subject: Subject) -> None:
        images = subject.pictures_of(subject.splits["train"][:REFERENCE_IMAGES])
        self.fitted_ = Fitted(subject.betas.shape[1], subject.scaler, images)

    def _betas(
        self,
        betas: Subject | NDArray[np.floating] | Tensor,
        ids: Sequence[str] | None,
        session: int | NDArray[np.int64] | None,
    ) -> tuple[Floats, list[str]]:
        """Return betas (S, V) as the decoder was trained on them, and their ids."""
        self._check_fitted()
        if isinstance(betas, Subject):
            names = betas.splits["test"]
            return self._checked(betas.betas_of(names)), names
        values = np.asarray(betas, dtype=np.float32)
        if session is not None:
            if self.fitted_.scaler is None:
                raise DataError(
                    "this decoder was trained on betas that were scaled before, it has no scaler; "
                    "scale yours the same way and leave out session"
                )
            self._checked(values)
            sessions = np.broadcast_to(np.asarray(session, np.int64), len(values))
            values = self.fitted_.scaler.apply(values, sessions)
        names = [str(i) for i in (range(len(values)) if ids is None else ids)]
        if len(names) != len(values):
            raise DataError(f"{len(values)} rows of betas, but {len(names)} ids; give one a row")
        return self._checked(values), names

    def _checked(self, values: NDArray[np.floating]) -> Floats:
        voxels = self.fitted_.voxels
        if values.ndim != 2 or values.shape[1] != voxels:
            raise DataError(
                f"betas of shape {values.shape}, but this decoder was trained on {voxels} voxels; "
                f"give (stimuli, {voxels})"
            )
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            raise DataError(f"betas hold NaN or infinity at row {bad[0, 0]}, voxel {bad[0, 1]}")
        return np.ascontiguousarray(values, dtype=np.float32)

    def _check_fitted(self) -> None:
        if not hasattr(self, "fitted_"):
            name = type(self).__name__
            raise ConfigError(f"this {name} is not fitted yet; call fit(subject) or {name}.load")

    def save(self, folder: str | Path) -> Path:
        """Write the fitted estimator as a folder without pickles; `load` reads it.

        Parameters
        ----------
        folder
            New or empty folder, or one that such an estimator was saved in before.

        Raises
        ------
        ConfigError
            If it is not fitted yet, or was given an encoder object and no name.
        DataError
            If the folder holds something else.
        """
        self._check_fitted()
        home = claim_folder(folder)
        self._write(home)
        parameters = dict(self.get_params(deep=False))
        if not isinstance(self.encoder, str):
            parameters["encoder"] = None
        fingerprint = self.spaces_.encoder.fingerprint
        write_fitted(home, type(self).__name__, parameters, self.fitted_, fingerprint)
        return home

    @classmethod
    def load(
        cls, folder: str | Path, *, device: str | None = None, encoder: Encoder | None = None
    ) -> Self:
        """Open a saved estimator, or the trained state of a run.

        Parameters
        ----------
        folder
            Folder of `save`, or of a run (`mindeye run`).
        device
            Device to run on, in place of the one it was saved with.
        encoder
            The encoder object that it was fitted with, where that had no name.

        Raises
        ------
        CheckpointError
            If the folder holds neither, an estimator of another class, or a damaged one.
        """
        home = Path(folder)
        if (home / "run.json").is_file():
            return cls._from_run(home, device)
        parameters, fitted = read_fitted(home, cls.__name__)
        if device is not None:
            parameters["device"] = device
        if parameters["encoder"] is None:
            if encoder is None:
                raise CheckpointError(
                    f"{home} was fitted with an encoder object; give it again: load(..., encoder=)"
                )
            parameters["encoder"] = encoder
        made = cls(**parameters)
        made.spaces_ = made._spaces(made._run_config(), join_processes(made.device).device)
        made.fitted_ = fitted
        made._read(home)
        return made

    @classmethod
    def _from_run(cls, folder: Path, device: str | None) -> Self:
        name = cls.__name__
        raise CheckpointError(f"a run keeps no {name}; fit one: mindeye.{name}().fit(subject)")

    def _write(self, folder: Path) -> None:
        raise NotImplementedError

    def _read(self, folder: Path) -> None:
        raise NotImplementedError


def flat_fields(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested fields of a configuration under their dotted names."""
    joined: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            joined |= flat_fields(value, f"{prefix}{key}.")
        else:
            joined[f"{prefix}{key}"] = value
    return joined
