"""What showing a training picture instead would have scored: a random one, and the nearest.

The nearest *by the true picture* is what a perfect lookup in the training set would show, so a
generator that scores no higher has added nothing to a lookup (Shirakawa et al. 2024, arXiv
2405.10078, on how much of a score the training pictures explain).

Axes: S stimuli, T training pictures, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.external.pairing import check_proportions
from mindeye.external.pictures import Pictures
from mindeye.metrics.features import FeatureExtractor, FunctionExtractor
from mindeye.metrics.floors import random_training_picture
from mindeye.metrics.picture_rows import ReferenceImages, picture_rows
from mindeye.metrics.pixels import resize_images
from mindeye.metrics.scoring import Scoring
from mindeye.progress import track

PREFERRED = ("clip_vit_l14", "swav", "inception_v3", "efficientnet_b1", "alexnet5", "alexnet2")
"""Networks by which the nearest picture is found, the first that is there: content before edges."""

THUMBNAIL = 16
"""Side of the thumbnails that are compared where no network is there."""

_AT_ONCE = 64
_SAME = 2.5 / 255
"""Largest difference of two copies of one picture, by rounding; our own choice."""


class TrainingReferences(NamedTuple):
    """What training pictures score in place of reconstructions.

    Attributes
    ----------
    references
        Metric to the scores of ``random_training`` and ``nearest_training_true``.
    nearest
        Nearest training picture of every stimulus (S, 3, H, W).
    notes
        How the nearest was found, and a warning if stimuli are among the training pictures.
    """

    references: Mapping[str, Mapping[str, float]]
    nearest: Tensor
    notes: tuple[str, ...]


def training_references(
    training: Pictures,
    stimuli: Pictures,
    reference: ReferenceImages,
    *,
    antialias: bool,
    rng: np.random.Generator,
    scoring: Scoring,
) -> TrainingReferences:
    """Score a random and the nearest training picture of every stimulus.

    Parameters
    ----------
    training, stimuli
        Pictures shown in training and in the test; they must have the same proportions.
    reference
        The stimuli as they are scored.
    antialias
        How the stimuli were resized; training pictures are brought to their size alike.
    rng
        Draws the random pictures and shuffles.
    scoring
        Settings that the reconstructions are scored with.

    Raises
    ------
    DataError
        If a training picture cannot be read or has other proportions than the stimuli.
    """
    for row in range(len(training)):
        check_proportions(stimuli, 0, training, row)
    size = (int(reference.images.shape[-2]), int(reference.images.shape[-1]))

    def read(rows: Sequence[int]) -> Tensor:
        return training.images(rows, size=size, antialias=antialias, progress=False)

    extractor = _preferred(reference.extractors)
    nearest = read(nearest_by_truth(len(training), read, reference, extractor).tolist())
    random = read(random_training_picture(len(reference.images), len(training), rng).tolist())
    notes = [f"nearest training picture of each stimulus: by cosine of {extractor.name}"]
    copies = (nearest - reference.images).abs().flatten(1).amax(dim=1) <= _SAME
    if bool(copies.any()):
        notes.append(
            f"WARNING: {int(copies.sum())} of {len(copies)} stimuli are themselves among the "
            f"training pictures (first {stimuli.names[int(copies.int().argmax())]}): scores of a "
            "decoder trained on them say nothing"
        )
    references: dict[str, dict[str, float]] = {}
    for name, images in (("random_training", random), ("nearest_training_true", nearest)):
        for one in picture_rows(name, images, reference, rng=rng, scoring=scoring):
            references.setdefault(one.row.metric, {})[name] = one.row.value
    return TrainingReferences(references, nearest, tuple(notes))


def nearest_by_truth(
    n_training: int,
    read: Callable[[Sequence[int]], Tensor],
    reference: ReferenceImages,
    extractor: FeatureExtractor,
) -> NDArray[np.int64]:
    """Find the training picture nearest to every stimulus, a few training pictures at a time.

    Parameters
    ----------
    n_training
        Number of training pictures T.
    read
        Function that gives training pictures by row, (n, 3, H, W).
    reference
        The stimuli.
    extractor
        Network by whose features pictures are near, by cosine; ties go to the earlier picture.

    Returns
    -------
    array (S,)
        Row of the nearest training picture.
    """

    def unit(features: Tensor) -> Tensor:
        return torch.nn.functional.normalize(features.flatten(1).float(), dim=1)

    known = extractor in reference.extractors
    truth = unit(reference.features(extractor) if known else extractor.extract(reference.images))
    best = torch.full((len(truth),), -torch.inf)
    rows = torch.zeros(len(truth), dtype=torch.int64)
    for start in track(range(0, n_training, _AT_ONCE), "training"):
        images = read(range(start, min(start + _AT_ONCE, n_training)))
        score, place = (truth @ unit(extractor.extract(images)).T).max(dim=1)
        better = score > best
        best, rows = torch.where(better, score, best), torch.where(better, place + start, rows)
    return rows.numpy()


def _preferred(extractors: Sequence[FeatureExtractor]) -> FeatureExtractor:
    by_name = {extractor.name: extractor for extractor in extractors}
    for name in PREFERRED:
        if name in by_name:
            return by_name[name]
    name = f"pixels of {THUMBNAIL} px thumbnails (no network is there)"
    return FunctionExtractor(name, _thumbnail)


def _thumbnail(images: Tensor) -> Tensor:
    """Thumbnails less their own mean colour, so that cosine is a correlation of layouts."""
    small = resize_images(images, THUMBNAIL)
    return (small - small.mean(dim=(2, 3), keepdim=True)).flatten(1)
