"""Regions in and out: which voxels a score comes from.

Scores from a region alone, from all voxels but it, and from as many random voxels; what a region
holds that others do not shows in the second, what it holds at all in the first. Whether a decoder
is trained for each or one decoder sees the other voxels at their training mean, as in a run, is the
caller's: the latter is cheap, and lower where the decoder was never short of voxels.

Axes: S test stimuli, V voxels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mindeye.controls.measures import Measure, difference, point_of
from mindeye.errors import DataError
from mindeye.metrics.points import Finding, Point
from mindeye.metrics.scoring import Scoring

CONTROL = "regions"
ALONE, WITHOUT, RANDOM = "alone", "without", "as many random voxels"


@dataclass(frozen=True, eq=False)
class Region:
    """Measures of one region's decoders, in the order of the whole brain's.

    Attributes
    ----------
    name
        Such as ``early``.
    voxels
        How many it has.
    alone, without, random
        Measures of decoders of the region alone, of all voxels but it, and of as many voxels drawn
        at random; None where there is no such decoder.
    """

    name: str
    voxels: int
    alone: Sequence[Measure] | None = None
    without: Sequence[Measure] | None = None
    random: Sequence[Measure] | None = None


def region_ablation(
    whole: Sequence[Measure],
    regions: Sequence[Region],
    *,
    rng: np.random.Generator,
    scoring: Scoring | None = None,
) -> tuple[list[Point], list[Finding]]:
    """Score decoders of single regions against the decoder of all voxels.

    Parameters
    ----------
    whole
        Measures of the decoder of all voxels.
    regions
        The regions' measures, of the same metrics and stimuli.
    rng, scoring
        Generator, and settings, of the bootstrap intervals.

    Returns
    -------
    tuple
        For every metric ``all voxels``, and for every region and way a score (reference: all
        voxels) and the paired difference to all voxels, ``... less all voxels`` (chance 0). For
        regions with random voxels beside them a finding, which is never a warning: how the
        region differs from as many random voxels.
    """
    how = scoring or Scoring()
    points: list[Point] = []
    findings: list[Finding] = []
    for row, measure in enumerate(whole):
        full = point_of(CONTROL, "all voxels", measure, rng=rng, scoring=how)
        points.append(full)
        for region in regions:
            for condition, own in _ways(region, row, measure).items():
                points.append(
                    point_of(CONTROL, condition, own, rng=rng, scoring=how, reference=full.value)
                )
                points.append(_difference(f"{condition} less all voxels", own, measure, rng, how))
            findings += _held_against_random(region, row, rng, how)
    return points, findings


def _ways(region: Region, row: int, measure: Measure) -> Mapping[str, Measure]:
    """Name every decoder of a region, and check that it was scored by the same metric."""
    named = {
        f"{region.name} {ALONE}": region.alone,
        f"{WITHOUT} {region.name}": region.without,
        f"{RANDOM} as {region.name}": region.random,
    }
    given = {name: many for name, many in named.items() if many is not None}
    for name, many in given.items():
        if len(many) <= row:
            raise DataError(f"{name}: no score by {measure.metric}, which all voxels have")
    measures = {name: many[row] for name, many in given.items()}
    for name, own in measures.items():
        if own.metric != measure.metric or own.values.shape != measure.values.shape:
            raise DataError(
                f"{name}: {own.metric} of {len(own.values)} stimuli does not pair up with "
                f"{measure.metric} of {len(measure.values)}"
            )
    return measures


def _difference(
    condition: str, own: Measure, whole: Measure, rng: np.random.Generator, how: Scoring
) -> Point:
    bounds = difference(own, whole, rng, how)
    return Point(
        CONTROL, condition, own.system, own.metric, bounds.value, bounds.low, bounds.high,
        len(own.values), 0.0, note="paired difference of means over stimuli",
    )  # fmt: skip


def _held_against_random(
    region: Region, row: int, rng: np.random.Generator, how: Scoring
) -> list[Finding]:
    if region.alone is None or region.random is None:
        return []
    own, random = region.alone[row], region.random[row]
    bounds = difference(own, random, rng, how)
    better, worse = bounds.low > 0, bounds.high < 0
    if own.sign < 0:
        better, worse = worse, better
    verdict = "more" if better else "less" if worse else "neither more nor less, as far as seen,"
    text = (
        f"{region.name} ({region.voxels} voxels) says {verdict} than as many random voxels by "
        f"{own.metric} (difference {bounds.value:+.3f}, from {bounds.low:+.3f} to "
        f"{bounds.high:+.3f})."
    )
    return [Finding(CONTROL, own.system, True, text)]
