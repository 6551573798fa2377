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

from mindeye.metrics import identification, pixels
from mindeye.metrics.features import FeatureExtractor, extract_all
from mindeye.metrics.floors import shuffled_floor, shuffled_floor_of
from mindeye.metrics.retrieval_rows import Ceilings, with_ceilings
from mindeye.metrics.scoring import Scoring, interval
from mindeye.metrics.table import Row, Scored

AMONG = "distractors: the other reconstructions"
"""Note of the rows that follow the paper's text instead of the authors' code."""


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
        """Features (N, D) of the pictures seen, extracted once for all systems.

        They stay in memory as float32: 1 MB a picture for all of the paper's networks, nearly all
        of it AlexNet's two layers.
        """
        if extractor.name not in self._features:
            wanted = {one.name: one for one in (*self.extractors, extractor)}
            left = [one for name, one in wanted.items() if name not in self._features]
            for one, found in extract_all(left, self.images):
                self._features[one.name] = found
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
    """PixCorr, SSIM and the rows of every feature network.

    A network of ``two_way`` has two rows: ``two_way_NAME`` (distractors are the other pictures,
    as the authors' code does) and ``two_way_among_reconstructions_NAME`` (the other
    reconstructions, as the paper's text says). Of ``distance`` it has ``distance_NAME``.

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
    tables = {
        one.name: identification.similarity_table(predicted, seen.features(one))
        for one, predicted in extract_all(seen.extractors, images)
    }
    for extractor in seen.extractors:
        for scored in _feature_rows(system, extractor, tables[extractor.name], rng, how):
            rows.append(scored._replace(row=dataclasses.replace(scored.row, k=k)))
    return with_ceilings(rows, ceilings)


def _feature_rows(
    system: str,
    extractor: FeatureExtractor,
    scores: NDArray[np.float64],
    rng: np.random.Generator,
    how: Scoring,
) -> list[Scored]:
    """Rows of one network, from the correlations (N, N) of its features."""
    if extractor.comparison == "distance":
        return [
            _table_row(
                f"distance_{extractor.name}", system, 1.0 - scores, rng, how,
                chance=1.0, note="lower is better",
            )
        ]  # fmt: skip
    readings: tuple[tuple[str, identification.Distractors, str], ...] = (
        ("two_way", "ground_truths", ""),
        ("two_way_among_reconstructions", "reconstructions", AMONG),
    )
    return [
        _table_row(
            f"{name}_{extractor.name}", system,
            identification.two_way_from_scores(scores, distractors=distractors), rng, how,
            chance=0.5, note=note,
        )
        for name, distractors, note in readings
    ]  # fmt: skip


def _table_row(
    metric: str,
    system: str,
    table: NDArray[np.float64],
    rng: np.random.Generator,
    how: Scoring,
    *,
    chance: float,
    note: str,
) -> Scored:
    """Row of a metric whose score under every pairing is known."""
    values = np.diagonal(table).copy()
    bounds = interval(values, rng, how)
    floor = shuffled_floor(table, rng, shuffles=how.shuffles, level=how.level)
    row = Row(
        metric, system, bounds.value, bounds.low, bounds.high, len(table), chance,
        floor.value, None, floor.low, floor.high, note,
    )  # fmt: skip
    return Scored(row, values)
