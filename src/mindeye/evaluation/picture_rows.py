"""Rows that say what reconstructions look like: pixels, and networks that look at them.

Axes: N images, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.evaluation import identification, pixels
from mindeye.evaluation.controls.floors import shuffled_floor, shuffled_floor_of
from mindeye.evaluation.features import FeatureExtractor
from mindeye.evaluation.retrieval_rows import Ceilings, with_ceilings
from mindeye.evaluation.scoring import Scoring, interval
from mindeye.evaluation.table import Row, Scored


@dataclass(frozen=True)
class Seen:
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

    def features(self, extractor: FeatureExtractor) -> Tensor:
        """Features (N, D) of the pictures seen, extracted once for all systems."""
        if extractor.name not in self._features:
            self._features[extractor.name] = extractor.extract(self.images)
        return self._features[extractor.name]


def picture_rows(
    system: str,
    images: Tensor,
    seen: Seen,
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
    ceilings: Ceilings | None = None,
    k: int | None = None,
) -> list[Scored]:
    """PixCorr, SSIM and one row per feature network.

    Parameters
    ----------
    system : str
        Name of what made the pictures.
    images : Tensor (N, 3, H, W)
        Reconstructions, float in [0, 1], in the order of the pictures seen.
    seen : Seen
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
    n, reference, size = len(images), seen.images, seen.size

    def slow_row(name: str, score: Any) -> Scored:
        values = score(images, reference, size=size)
        bounds = interval(values, rng, how)

        def shuffled(left: NDArray[np.int64], right: NDArray[np.int64]) -> float:
            some = slice(how.slow_stimuli)
            pair = images[torch.from_numpy(left[some])], reference[torch.from_numpy(right[some])]
            return float(score(*pair, size=size).mean())

        floor = shuffled_floor_of(shuffled, n, rng, shuffles=how.slow_shuffles)
        row = Row(
            name, system, bounds.value, bounds.low, bounds.high, n, None,
            floor.value, None, floor.low, floor.high, f"at {size or reference.shape[-1]} px", k,
        )  # fmt: skip
        return Scored(row, values)

    rows = [slow_row("PixCorr", pixels.pixcorr), slow_row("SSIM", pixels.ssim)]
    for extractor in seen.extractors:
        predicted, actual = extractor.extract(images), seen.features(extractor)
        scored = _feature_row(system, extractor, predicted, actual, rng, how)
        rows.append(scored._replace(row=dataclasses.replace(scored.row, k=k)))
    return with_ceilings(rows, ceilings)


def _feature_row(
    system: str,
    extractor: FeatureExtractor,
    predicted: Tensor,
    actual: Tensor,
    rng: np.random.Generator,
    how: Scoring,
) -> Scored:
    if extractor.comparison == "two_way":
        table = identification.two_way_table(predicted, actual)
        chance = 0.5
    else:
        table = identification.distance_table(predicted, actual)
        chance = 1.0
    values = np.diagonal(table).copy()
    bounds = interval(values, rng, how)
    floor = shuffled_floor(table, rng, shuffles=how.shuffles, level=how.level)
    row = Row(
        f"{extractor.comparison}_{extractor.name}", system, bounds.value, bounds.low,
        bounds.high, len(table), chance, floor.value, None, floor.low, floor.high,
        note="lower is better" if extractor.comparison == "distance" else "",
    )  # fmt: skip
    return Scored(row, values)
