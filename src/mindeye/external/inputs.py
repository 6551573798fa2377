"""Everything that is to be scored, opened, checked and paired before any work begins.

Axes: S stimuli, K tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mindeye.errors import DataError
from mindeye.external.config import ExternalConfig
from mindeye.external.pairing import common_size, pair
from mindeye.external.pictures import Pictures, Reading
from mindeye.external.reading import open_pictures
from mindeye.files import open_array


@dataclass(frozen=True)
class Reconstructions:
    """One set of reconstructions, opened and paired with the stimuli.

    Attributes
    ----------
    name
        Name of the system that made them.
    pictures
        The reconstructions, in their own order.
    rows
        Row of the reconstruction of every stimulus (S).
    size
        Height and width to bring them to; None keeps their own.
    """

    name: str
    pictures: Pictures
    rows: Sequence[int]
    size: tuple[int, int] | None


@dataclass(frozen=True)
class Inputs:
    """All that is scored.

    Attributes
    ----------
    stimuli
        Pictures that were shown.
    size
        Height and width to bring them to; None keeps their own.
    systems
        Sets of reconstructions, at least one.
    training
        Pictures shown in training, if given.
    embeddings
        Predicted and true embeddings (S, D), flattened, if given.
    notes
        Everything that was chosen or is converted, each sentence once.
    """

    stimuli: Pictures
    size: tuple[int, int] | None
    systems: Sequence[Reconstructions]
    training: Pictures | None
    embeddings: tuple[Tensor, Tensor] | None
    notes: Sequence[str]


def open_inputs(config: ExternalConfig) -> Inputs:
    """Open every input of a configuration.

    Raises
    ------
    DataError
        If one cannot be read or paired without guessing.
    """
    reading = Reading(config.stimuli_range, config.alpha, "--stimuli-range")
    stimuli = open_pictures(config.stimuli, reading)
    notes, systems, training, size = [*stimuli.notes], [], None, None
    for name, path in config.systems:
        pictures = open_pictures(path, Reading(config.range, config.alpha))
        rows, note = pair(stimuli, pictures)
        # What stimuli are brought to does not depend on the system.
        size, to, sentences = common_size(
            stimuli, pictures, rows, size=config.size, as_published=config.as_published
        )
        systems.append(Reconstructions(name, pictures, rows, to))
        notes += [*pictures.notes, note, *sentences]
    if config.training_pictures is not None:
        training = open_pictures(config.training_pictures, reading)
        notes += training.notes
    embeddings = _embeddings(config)
    return Inputs(stimuli, size, systems, training, embeddings, list(dict.fromkeys(notes)))


def _embeddings(config: ExternalConfig) -> tuple[Tensor, Tensor] | None:
    if config.predicted is None or config.target is None:
        return None
    predicted, target = _embedding(config.predicted), _embedding(config.target)
    if predicted.shape != target.shape:
        raise DataError(
            f"{config.predicted} has shape {tuple(predicted.shape)}, {config.target} "
            f"{tuple(target.shape)}; row i of both belongs to stimulus i"
        )
    if len(predicted) < 2:
        raise DataError(f"{config.predicted} has one row; retrieval needs two to choose from")
    return predicted.flatten(1), target.flatten(1)


def _embedding(path: Path) -> Tensor:
    array = open_array(path, "save embeddings with numpy.save, (S, D) or (S, K, D)")
    if array.ndim not in (2, 3) or 0 in array.shape or array.dtype.kind != "f":
        raise DataError(
            f"{path} is {array.dtype} of shape {array.shape}; embeddings are float, (S, D) or "
            "(S, K, D)"
        )
    for row, values in enumerate(array):
        if not np.isfinite(values).all():
            raise DataError(f"{path}: row {row} holds NaN or infinity")
    return torch.from_numpy(np.array(array, dtype=np.float32))
