"""Rows of the table that say what reconstructions look like: to pixels and to networks.

Axes: N images, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.errors import DataError
from mindeye.metrics import identification, pixels
from mindeye.metrics.features import FeatureExtractor, extract_all
from mindeye.metrics.floors import shuffled_floor, shuffled_floor_of
from mindeye.metrics.registry import FAMILIES_OF, Metric, image_metrics, metric
from mindeye.metrics.retrieval_rows import Ceilings, with_ceilings
from mindeye.metrics.scoring import Scoring, interval
from mindeye.metrics.table import Row, Scored


@dataclass(frozen=True)
class ReferenceImages:
    """The pictures seen, with everything about them that all systems share.

    Parameters
    ----------
    images
        (N, 3, H, W) float in [0, 1].
    extractors
        Each gives ``two_way_<name>`` or ``distance_<name>``.
    size
        Side at which pixel metrics are computed; None compares pictures as they are.
    """

    images: Tensor
    extractors: Sequence[FeatureExtractor] = ()
    size: int | None = pixels.NSD_SIZE
    _features: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the images."""
        return int(self.images.shape[-2]), int(self.images.shape[-1])

    def features(self, extractor: FeatureExtractor) -> Tensor:
        """Features (N, D) of the pictures seen, extracted once for all systems.

        They stay in memory as float32: 1 MB a picture for all of the paper's networks, nearly all
        of it AlexNet's two layers.
        """
        if extractor.name not in self._features:
            extractors = {one.name: one for one in (*self.extractors, extractor)}
            left = [one for name, one in extractors.items() if name not in self._features]
            for one, features in extract_all(left, self.images):
                self._features[one.name] = features
        return self._features[extractor.name]


def picture_rows(
    system: str,
    images: Tensor,
    reference: ReferenceImages,
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
    ceilings: Ceilings | None = None,
    k: int | None = None,
) -> list[Scored]:
    """Score reconstructions by every metric of images and every feature network.

    A network of ``two_way`` has two rows: ``two_way_NAME`` (distractors are the other pictures,
    as the authors' code does) and ``two_way_among_reconstructions_NAME`` (the other
    reconstructions, as the paper's text says). Of ``distance`` it has ``distance_NAME``.

    Parameters
    ----------
    system : str
        Name of what made the pictures.
    images : Tensor (N, 3, H, W)
        Reconstructions, float in [0, 1], in the order of the pictures seen.
    reference : ReferenceImages
        Pictures seen and the networks that look at them.
    rng : numpy.random.Generator
        Shuffles and resamples.
    scoring : Scoring
        Resamples, level, shuffles.
    ceilings : mapping, optional
        Metric name to the score of the best possible system.
    k : int, optional
        Candidates drawn per stimulus.
    """
    how = scoring or Scoring()
    built_in, added = image_metrics()
    rows = [_image_row(m, system, images, reference, rng, how) for m in built_in]
    tables = {
        one.name: identification.similarity_table(predicted, reference.features(one))
        for one, predicted in extract_all(reference.extractors, images)
    }
    for extractor in reference.extractors:
        for family in FAMILIES_OF[extractor.comparison]:
            one = metric(f"{family}_{extractor.name}")
            rows.append(_feature_row(one, system, tables[extractor.name], rng, how))
    rows += [_image_row(m, system, images, reference, rng, how) for m in added]
    rows = [one._replace(row=dataclasses.replace(one.row, k=k)) for one in rows]
    return with_ceilings(rows, ceilings)


def image_scores(
    one: Metric, images: Tensor, reference: Tensor, size: int | None = None
) -> NDArray[np.float64]:
    """Score images by a metric that is computed of images, a few at a time.

    Parameters
    ----------
    one : Metric
        A metric that needs ``images``.
    images, reference : Tensor (N, 3, H, W)
        Reconstructions and the images shown, float in [0, 1].
    size : int or None
        Side to resize both to before comparing; None compares them as they are.

    Returns
    -------
    array (N,)
        One score an image.

    Raises
    ------
    DataError
        If the images do not pair up, or the metric gives anything but one finite score an image.
    """
    assert one.compute is not None
    parts = []
    for pair in pixels.in_batches(images, reference, size):
        scores = np.asarray(one.compute(*pair), dtype=np.float64)
        if scores.shape != (len(pair[0]),) or not np.isfinite(scores).all():
            raise DataError(
                f"{one.name}: compute must return one finite score an image, "
                f"({len(pair[0])},), got {scores.dtype} {scores.shape}"
            )
        parts.append(scores)
    return np.concatenate(parts)


def _image_row(
    one: Metric,
    system: str,
    images: Tensor,
    reference: ReferenceImages,
    rng: np.random.Generator,
    how: Scoring,
) -> Scored:
    """Row of a metric that is too slow for a table of all pairs."""
    n, shown, size = len(images), reference.images, reference.size
    values = image_scores(one, images, shown, size)
    bounds = interval(values, rng, how, one.statistic)

    def shuffled(left: NDArray[np.int64], right: NDArray[np.int64]) -> float:
        some = slice(how.slow_stimuli)
        pair = images[torch.from_numpy(left[some])], shown[torch.from_numpy(right[some])]
        return float(one.statistic(image_scores(one, *pair, size), axis=-1))

    floor = shuffled_floor_of(shuffled, n, rng, shuffles=how.slow_shuffles)
    note = f"at {size or shown.shape[-1]} px"
    if one.lower_is_better:
        note += "; lower is better"
    row = Row(
        one.name, system, bounds.value, bounds.low, bounds.high, n, one.chance,
        floor.value, None, floor.low, floor.high, note,
    )  # fmt: skip
    return Scored(row, values)


def _feature_row(
    one: Metric,
    system: str,
    similarities: NDArray[np.float64],
    rng: np.random.Generator,
    how: Scoring,
) -> Scored:
    """Row of a metric whose score under every pairing follows from similarities (N, N)."""
    assert one.compute is not None
    table = np.asarray(one.compute(similarities), dtype=np.float64)
    values = np.diagonal(table).copy()
    bounds = interval(values, rng, how, one.statistic)
    floor = shuffled_floor(
        table, rng, shuffles=how.shuffles, level=how.level, statistic=one.statistic
    )
    row = Row(
        one.name, system, bounds.value, bounds.low, bounds.high, len(table), one.chance,
        floor.value, None, floor.low, floor.high, one.note,
    )  # fmt: skip
    return Scored(row, values)
