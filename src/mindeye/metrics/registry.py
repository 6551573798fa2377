"""What a metric is, and the dict of all metrics: direction, chance, range, title, computation.

Everything that must know whether more is better, what chance gives or how a number is written asks
`metric`, so that a metric of one's own is one entry::

    mindeye.METRICS["LPIPS"] = Metric("LPIPS", direction="lower", range=(0, 1), compute=lpips)

It is then in the table of every run, in comparisons, in controls and on the page.

Axes: S stimuli, C H W of an image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import ConfigError, DataError
from mindeye.metrics import identification, pixels
from mindeye.metrics.networks import NETWORKS
from mindeye.metrics.uncertainty import Statistic

Direction = Literal["higher", "lower"]
Needs = Literal["images", "similarities", "embeddings", "control"]
Scale = Literal["share", "decimal", "count"]
Group = Literal["retrieval", "more_retrieval", "pictures", "more_pictures", "other"]

TOP, POOL = "top\u00a0", " within a pool"
"""Words of titles; the page replaces the second by the size of the pool."""


@dataclass(frozen=True)
class Metric:
    """One metric, or a family of metrics that differ in the feature network.

    Parameters
    ----------
    name
        Name in tables. That of a family is what its members begin with: ``two_way`` is the family
        of ``two_way_alexnet2``.
    direction
        Whether ``higher`` or ``lower`` scores are better; None where neither is by itself. Such
        metrics are not compared.
    chance
        Score of guessing; None where there is none, or where it depends on the number of stimuli
        (retrieval), which the rows of the table then say.
    range
        Least and greatest possible score, where there are such.
    needs
        What `compute` takes: ``images``, the ``similarities`` of features, or nothing that can be
        handed over (``embeddings`` are ranked block by block; a ``control`` makes its own).
    compute
        Function that scores what `needs` names. One of ``images`` takes reconstructions and shown
        images, two tensors (S, C, H, W) in [0, 1], and returns (S,) scores. It is called for a few
        images at a time, so that a score must not depend on the other images. One of
        ``similarities`` takes Pearson r of the features of every reconstruction (rows) with those
        of every shown image (columns), (S, S), and returns the score (S, S) of every pairing, the
        true ones on the diagonal.
    title
        Name for people; `name` by default.
    scale
        How scores are written: as percent, with three decimals, or as a count.
    group
        Part of the page that shows it; ``more_...`` are folded, ``other`` has no panel.
    version
        Version of the definition. One that changes scores gets a new number: rows of different
        versions do not compare.
    is_family
        Whether `name` stands for all metrics that begin with it.
    family
        Name of the family that a member is of.
    statistic
        What makes one score of the scores per stimulus: `numpy.mean` or `numpy.median`.
    kind
        Quantity that is measured, the same for both directions of retrieval; `name` by default.
    ranks
        Takes scores (S,) per stimulus and returns the 0-based ranks (S,) behind them, for n-way
        curves; None where no ranks are behind them.
    curve
        Metric whose n-way curve the ranks give; `name` by default.
    has_pool
        Whether it is asked of pools drawn from all stimuli, whose size is in a row's note.
    pool
        Metric that asks the same of such pools.
    preference
        Place among metrics of which the page shows one, from 1; 0 is shown where no other is.
    note
        What a reader of a row must know.
    """

    name: str
    direction: Direction | None
    chance: float | None = None
    range: tuple[float, float] | None = None
    needs: Needs = "images"
    compute: Callable[..., Any] | None = None
    title: str = ""
    scale: Scale = "decimal"
    group: Group = "pictures"
    version: int = 1
    is_family: bool = False
    family: str = ""
    statistic: Statistic = np.mean
    kind: str = ""
    ranks: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    curve: str = ""
    has_pool: bool = False
    pool: str = ""
    preference: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        if self.direction not in ("higher", "lower", None):
            raise ConfigError(
                f"metric {self.name}: direction is {self.direction!r}; it must be 'higher', "
                "'lower', or None where neither is better"
            )
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ConfigError(f"metric {self.name}: range {self.range} must rise")
        for field in ("title", "kind", "curve"):
            object.__setattr__(self, field, getattr(self, field) or self.name)

    @property
    def lower_is_better(self) -> bool:
        """Whether lower scores are better."""
        return self.direction == "lower"

    @property
    def sign(self) -> int:
        """-1 where lower is better, otherwise 1."""
        return -1 if self.lower_is_better else 1

    def member(self, name: str) -> Metric:
        """Return the metric of one network of this family, by the metric's name."""
        suffix = name.removeprefix(f"{self.name}_")
        network = NETWORKS.get(suffix)
        return dataclasses.replace(
            self,
            name=name,
            title=f"{self.title}, {network.title if network else suffix.replace('_', ' ')}",
            is_family=False,
            family=self.name,
            kind=name,
            curve=name,
            preference=network.preference if network else 0,
        )


def _beaten(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from shares of the others that are beaten."""
    # Ranks are multiples of a half; the share was rounded to float64.
    return np.round(2 * (1 - values) * (len(values) - 1)) / 2


def _same(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values


def _retrieval(direction: str, words: str) -> list[Metric]:
    """List the metrics of one direction of retrieval; the first is for the direction itself."""

    def share(kind: str, title: str, group: Group = "retrieval", **fields: Any) -> Metric:
        return Metric(
            f"{direction}_{kind}", "higher", range=(0, 1), needs="embeddings", scale="share",
            title=f"{words}, {title}", group=group, kind=kind, **fields,
        )  # fmt: skip

    def rank(kind: str, title: str, **fields: Any) -> Metric:
        return Metric(
            f"{direction}_{kind}", "lower", needs="embeddings", scale="count", group="other",
            title=f"{words}, {title}", kind=kind, **fields,
        )  # fmt: skip

    return [
        share("top1", f"{TOP}1{POOL}", has_pool=True),
        share("full_top1", f"{TOP}1 of all", pool=f"{direction}_top1"),
        share("full_top5", f"{TOP}5 of all", "more_retrieval"),
        share("full_top10", f"{TOP}10 of all", "more_retrieval"),
        rank(
            "median_rank", "median rank", statistic=np.median, ranks=_same,
            curve=f"{direction}_top1", note="0 is best",
        ),
        share("two_way", "two-way", chance=0.5),
        rank("rank", "rank"),
        Metric(
            direction, "higher", range=(0, 1), needs="embeddings", title=words, scale="share",
            group="other",
        ),
    ]  # fmt: skip


AMONG = "distractors: the other reconstructions"
"""Note of the rows that follow the paper's text instead of the authors' code."""

METRICS: dict[str, Metric] = {
    one.name: one
    for one in (
        *_retrieval("brain_to_image", "Brain → image"),
        *_retrieval("image_to_brain", "Image → brain"),
        Metric("PixCorr", "higher", range=(-1, 1), compute=partial(pixels.pixcorr, size=None)),
        Metric("SSIM", "higher", range=(-1, 1), compute=partial(pixels.ssim, size=None)),
        Metric(
            "two_way", "higher", 0.5, (0, 1), "similarities", identification.two_way_from_scores,
            title="Two-way", scale="share", is_family=True, ranks=_beaten,
        ),
        Metric(
            "two_way_among_reconstructions", "higher", 0.5, (0, 1), "similarities",
            partial(identification.two_way_from_scores, distractors="reconstructions"),
            title="Two-way among reconstructions", scale="share", group="more_pictures",
            is_family=True, ranks=_beaten, note=AMONG,
        ),
        Metric(
            "distance", "lower", 1.0, (0, 2), "similarities", identification.distance_from_scores,
            title="Distance", is_family=True, note="lower is better",
        ),
        Metric(
            "effective_rank", None, needs="control", title="Dimensions that predictions use",
            scale="count", group="other",
        ),
        Metric(
            "out_of_span", None, needs="control", range=(0, 1),
            title="Outside what training spans", scale="share", group="other",
        ),
        Metric(
            "similarity", None, needs="control", range=(-1, 1),
            title="Similarity to the nearest", group="other",
        ),
        Metric(
            "new_cluster_top1", "higher", needs="control", range=(0, 1),
            title=f"New cluster, {TOP}1", scale="share", group="other",
        ),
        Metric(
            "new_cluster_two_way", "higher", 0.5, (0, 1), "control",
            title="New cluster, two-way", scale="share", group="other",
        ),
    )
}  # fmt: skip
"""All metrics by name, families among them; add one of your own under its name."""

FAMILIES_OF = {"two_way": ("two_way", "two_way_among_reconstructions"), "distance": ("distance",)}
"""Families that the features of a network are scored by, by its `comparison`."""

BUILT_IN_IMAGES = ("PixCorr", "SSIM")
"""Image metrics that are scored before the networks. Others come after, so that one more of them
moves no interval of these."""


def find_metric(name: str) -> Metric | None:
    """Return a metric by name, or the member of a family; None if it is not known."""
    if name in METRICS:
        return METRICS[name]
    families = [m for m in METRICS.values() if m.is_family and name.startswith(f"{m.name}_")]
    if not families:
        return None
    return max(families, key=lambda family: len(family.name)).member(name)


def metric(name: str) -> Metric:
    """Return a metric by name; members of families are made from the family's entry.

    Raises
    ------
    DataError
        If there is no such metric; says how to add one.

    Examples
    --------
    >>> metric("two_way_alexnet2").title
    'Two-way, AlexNet, layer 2'
    >>> metric("distance_my_network").direction
    'lower'
    """
    registered = find_metric(name)
    if registered is None:
        raise DataError(
            f"metric {name!r} is not known; add it: mindeye.METRICS[{name!r}] = "
            f"Metric({name!r}, direction='higher' or 'lower'); known: {', '.join(METRICS)}"
        )
    return registered


def image_metrics() -> tuple[list[Metric], list[Metric]]:
    """Return the metrics that are computed of images: those built in, and those added."""
    known = [m for m in METRICS.values() if m.needs == "images" and m.compute is not None]
    built_in = [m for m in known if m.name in BUILT_IN_IMAGES]
    return built_in, [m for m in known if m.name not in BUILT_IN_IMAGES]


def preferred_metric(names: Sequence[str]) -> str:
    """Return the metric that the page shows of several, the first without a preference.

    Examples
    --------
    >>> preferred_metric(["two_way_zoo", "two_way_alexnet5", "two_way_inception_v3"])
    'two_way_inception_v3'
    """
    ranked = [name for name in names if (found := find_metric(name)) and found.preference]
    if ranked:
        return min(ranked, key=lambda name: metric(name).preference)
    return names[0] if names else ""
