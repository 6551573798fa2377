"""What a report is made of: plain arrays, rows and dicts, checked when put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.metrics.points import Finding, Point
from mindeye.metrics.table import Row


@dataclass(frozen=True)
class SubjectFacts:
    """Who was decoded, from what data, and under which licence.

    Attributes
    ----------
    name
        Subject, such as ``subj01``.
    source
        Data set or simulation that the betas come from.
    simulated
        True if no brain was measured; the page says so in its first lines.
    voxels, stimuli, trials, sessions
        Sizes of the prepared subject; None leaves the fact out.
    licence
        Licence and citation of the data.
    extra
        Further facts, label to text.
    """

    name: str
    source: str
    simulated: bool
    voxels: int | None = None
    stimuli: int | None = None
    trials: int | None = None
    sessions: int | None = None
    licence: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportData:
    """Everything that the page shows.

    Images are uint8, (S, H, W, 3) or grey (S, H, W); S test stimuli in one order throughout.

    Attributes
    ----------
    title
        Heading of the page.
    subject
        Facts about the subject; None where scores alone are known.
    seen
        The pictures seen; none where scores alone are known.
    ranks
        (S,) 0-based rank of the truth when the brain embedding is the query; None where nothing
        was retrieved, then the page shows the first stimuli.
    pictures
        System (``low``, ``high``, ``both``, ``ceiling_generator``, ...) to its pictures; shown
        in this order, systems that did not run are left out.
    retrieved
        (S, k) indices into the gallery, best first; None leaves the strips out.
    gallery, truth
        Pictures that were looked up in and the index of each stimulus among them; default:
        ``seen`` and its order.
    rows
        The tidy table.
    missing
        Metrics that could not be computed: ``metric``, ``why``, ``how``.
    points, findings
        What the controls say (`mindeye.controls`). Findings that warn of the run's own
        systems or of the data are shown under the headline, after `problems`.
    curves
        Points of training curves: ``name``, ``value`` and ``step`` or ``epoch``. Names that
        differ in ``train`` / ``val`` only share a panel.
    configuration, versions, timings, seeds
        Nested settings of the run, library versions, seconds per stage, seeds by name.
    problems
        What a reader must know before believing a number; shown under the headline.
    stimulus_ids
        (S,) labels of the stimuli; default: their position.
    sentence
        First sentence of the page; default: made from the rows.
    per_group
        Stimuli shown as best, median and worst.
    level
        Level of the intervals in ``rows``.
    """

    title: str
    subject: SubjectFacts | None = None
    seen: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 1, 1, 3), np.uint8))
    ranks: NDArray[Any] | None = None
    pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    retrieved: NDArray[Any] | None = None
    gallery: NDArray[np.uint8] | None = None
    truth: NDArray[Any] | None = None
    rows: Sequence[Row] = ()
    missing: Sequence[Mapping[str, str]] = ()
    points: Sequence[Point] = ()
    findings: Sequence[Finding] = ()
    curves: Sequence[Mapping[str, Any]] = ()
    configuration: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    problems: Sequence[str] = ()
    stimulus_ids: Sequence[Any] | None = None
    sentence: str = ""
    per_group: int = 3
    level: float = 0.95

    def __post_init__(self) -> None:
        n = len(self.seen)
        if n == 0 and not self.rows:
            raise DataError("a report needs at least one test stimulus, or scores")
        _check_images("seen", self.seen, n)
        for name, images in self.pictures.items():
            _check_images(f"pictures of {name}", images, n)
        if self.gallery is not None:
            _check_images("gallery", self.gallery, len(self.gallery))
        lengths = {"ranks": self.ranks, "retrieved": self.retrieved, "truth": self.truth}
        lengths["stimulus_ids"] = self.stimulus_ids  # type: ignore[assignment]
        for name, values in lengths.items():
            if values is not None and len(values) != n:
                raise DataError(f"{name} has {len(values)} entries for {n} stimuli")
        ranks = () if self.ranks is None else self.ranks
        if not np.isfinite(np.asarray(ranks, dtype=np.float64)).all():
            raise DataError("ranks contain NaN or infinity")
        if self.per_group < 1:
            raise DataError(f"per_group must be at least 1, got {self.per_group}")
        size = n if self.gallery is None else len(self.gallery)
        for name, indices in (("retrieved", self.retrieved), ("truth", self.truth)):
            if indices is not None and (np.min(indices) < 0 or np.max(indices) >= size):
                raise DataError(f"{name} points outside the gallery of {size} pictures")


def _check_images(name: str, images: NDArray[Any], n: int) -> None:
    grey = images.ndim == 3
    if images.dtype != np.uint8 or not (grey or (images.ndim == 4 and images.shape[3] in (1, 3))):
        raise DataError(
            f"{name} must be uint8 (S, H, W, 3) or (S, H, W), got {images.dtype} {images.shape}"
        )
    if len(images) != n:
        raise DataError(f"{name} has {len(images)} images for {n} stimuli")
