"""Everything that is to be scored, opened, checked and paired before any work begins.

Axes: S stimuli, K tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from mindeye.errors import DataError
from mindeye.external.config import ExternalConfig
from mindeye.external.inputs import Pictures, Reading, open_pictures
from mindeye.external.inputs_pairing import Meeting, Pairing, meet, pair
from mindeye.external.inputs_pictures import Alpha, ValueRange
from mindeye.files import open_array


@dataclass(frozen=True)
class System:
    """One set of reconstructions, opened and paired with the stimuli."""

    name: str
    pictures: Pictures
    pairing: Pairing
    meeting: Meeting

    def images(self) -> Tensor:
        """Reconstructions (S, 3, H, W) in the order of the stimuli."""
        return self.pictures.images(
            self.pairing.rows, size=self.meeting.pictures, antialias=self.meeting.antialias
        )


@dataclass(frozen=True)
class Opened:
    """All that is scored.

    Attributes
    ----------
    stimuli
        Pictures seen.
    systems
        At least one.
    training
        Pictures seen in training, if given.
    embeddings
        Predicted and true ones (S, D), flattened, if given.
    """

    stimuli: Pictures
    systems: tuple[System, ...]
    training: Pictures | None
    embeddings: tuple[Tensor, Tensor] | None

    @property
    def said(self) -> list[str]:
        """Everything that was chosen or is converted, each sentence once."""
        said = list(self.stimuli.said)
        for system in self.systems:
            said += [*system.pictures.said, system.pairing.said, *system.meeting.said]
        said += self.training.said if self.training else ()
        return list(dict.fromkeys(said))

    def seen(self) -> Tensor:
        """Pictures seen (S, 3, H, W)."""
        # What stimuli are brought to does not depend on the system.
        meeting = self.systems[0].meeting
        rows = range(len(self.stimuli))
        return self.stimuli.images(rows, size=meeting.stimuli, antialias=meeting.antialias)


def open_all(config: ExternalConfig) -> Opened:
    """Open every input of a configuration.

    Raises
    ------
    DataError
        If one cannot be read or paired without guessing.
    """
    alpha = cast(Alpha, config.alpha)
    theirs = Reading(cast(ValueRange, config.range), alpha)
    ours = Reading(cast(ValueRange, config.stimuli_range), alpha, "--stimuli-range")
    stimuli = open_pictures(config.stimuli, ours)
    systems = []
    for name, path in config.systems:
        pictures = open_pictures(path, theirs)
        pairing = pair(stimuli, pictures)
        meeting = meet(
            stimuli, pictures, pairing.rows, size=config.size, published=config.as_published
        )
        systems.append(System(name, pictures, pairing, meeting))
    training = None
    if config.training_pictures is not None:
        training = open_pictures(config.training_pictures, ours)
    return Opened(stimuli, tuple(systems), training, _embeddings(config))


def _embeddings(config: ExternalConfig) -> tuple[Tensor, Tensor] | None:
    if config.predicted is None or config.target is None:
        return None
    predicted, target = _embedding(config.predicted), _embedding(config.target)
    if predicted.shape != target.shape:
        raise DataError(
            f"{config.predicted} has shape {predicted.shape}, {config.target} {target.shape}; row "
            "i of both belongs to stimulus i"
        )
    if len(predicted) < 2:
        raise DataError(f"{config.predicted} has one row; retrieval needs two to choose from")
    return _flat(predicted), _flat(target)


def _embedding(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    array = open_array(path, "save embeddings with numpy.save, (S, D) or (S, K, D)")
    if array.ndim not in (2, 3) or 0 in array.shape or array.dtype.kind != "f":
        raise DataError(
            f"{path} is {array.dtype} of shape {array.shape}; embeddings are float, (S, D) or "
            "(S, K, D)"
        )
    for row, values in enumerate(array):
        if not np.isfinite(values).all():
            raise DataError(f"{path}: row {row} holds NaN or infinity")
    return np.array(array, dtype=np.float32)


def _flat(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Tensor:
    return torch.from_numpy(array).flatten(1)
