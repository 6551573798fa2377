"""Controls and reference systems of the synthetic run, made by the real functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from mindeye.controls.clusters import (
    cluster_labels,
    cosine_scores,
    prediction_labels,
    same_cluster,
)
from mindeye.controls.collapse import (
    collapse_findings,
    effective_rank_row,
    out_of_span_row,
    training_span,
)
from mindeye.controls.measures import Measure, measures_of
from mindeye.controls.nearness import nearness, similarity_audit
from mindeye.controls.references import floor_findings
from mindeye.controls.regions import Region, region_ablation
from mindeye.controls.repeats import trials_curve
from mindeye.controls.spread import candidate_spread
from mindeye.controls.strata import stratified
from mindeye.metrics.curves import nway_curves
from mindeye.metrics.points import Finding, Point
from mindeye.metrics.registry import metric
from mindeye.metrics.retrieval_rows import retrieval_rows
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.systems import reference_name, references
from mindeye.metrics.table import Scored

REGIONS = ("early", "higher", "<script>alert('a region')</script>")
Said = tuple[list[Point], list[Finding]]


def with_references(scored: Sequence[Scored]) -> list[Scored]:
    """Set beside every row what the reference systems score, as the stage does."""
    names = {s.name: reference_name(s.name) for s in references().values()}
    known: dict[str, dict[str, float]] = {}
    for row, _ in scored:
        if row.system in names:
            known.setdefault(row.metric, {})[names[row.system]] = row.value
    return [
        one._replace(
            row=dataclasses.replace(
                one.row,
                references={
                    name: value
                    for name, value in known.get(one.row.metric, {}).items()
                    if name != names.get(one.row.system)
                },
            )
        )
        for one in scored
    ]


def noisy(image: torch.Tensor, noise: float, seed: int) -> torch.Tensor:
    return image + noise * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))


def collapse_rows(image: torch.Tensor, training: torch.Tensor) -> list[Scored]:
    span = training_span(training, rng=np.random.default_rng(0))
    rows = []
    for name, flattened in (("mindeye", 0.0), ("ridge", 0.9)):
        predicted = noisy(image, 0.6, 5)
        predicted[:, 4:] *= 1 - flattened
        rows.append(effective_rank_row(name, predicted, image))
        rows.append(out_of_span_row(name, predicted, image, span, rng=np.random.default_rng(0)))
    return rows


def controls(
    scored: Sequence[Scored], image: torch.Tensor, training: torch.Tensor, how: Scoring
) -> Said:
    """All controls that a run has, of a decoder that sees the image through noise."""
    rng = np.random.default_rng(4)
    said: list[Said] = [
        (nway_curves(scored, rng=rng, scoring=how), []),
        ([], floor_findings([one for one in scored if one.row.system not in references()])),
        ([], collapse_findings(scored)),
        _near(scored, image, training, rng, how),
        *_clusters(image, rng, how),
        _trials(image, rng, how),
        _regions(image, rng, how),
        _candidates(scored, rng, how),
    ]
    return [p for points, _ in said for p in points], [f for _, many in said for f in many]


def _measures(predicted: torch.Tensor, image: torch.Tensor, how: Scoring) -> list[Measure]:
    rows = retrieval_rows("mindeye", predicted, image, rng=np.random.default_rng(0), scoring=how)
    return [m for m in measures_of(rows) if metric(m.metric).kind in ("full_top1", "median_rank")]


def _near(
    scored: Sequence[Scored],
    image: torch.Tensor,
    training: torch.Tensor,
    rng: np.random.Generator,
    how: Scoring,
) -> Said:
    near = nearness(image, training, rng=rng)
    points, findings = similarity_audit(near, [str(i) for i in range(len(image))])
    main = ("mindeye", "ridge", "low", "high", "both")
    measures = [m for m in measures_of(scored) if m.system in main and len(m.values) == len(image)]
    split = stratified(near.similarity, measures, rng=rng, scoring=how)
    return points + split[0], findings + split[1]


def _clusters(image: torch.Tensor, rng: np.random.Generator, how: Scoring) -> list[Said]:
    labels = cluster_labels(image, rng=rng)
    said = []
    for name, noise in (("mindeye", 1.5), ("ridge", 3.0)):
        predicted = noisy(image, noise, 7)
        scores = cosine_scores(name, "brain_to_image", predicted, image)
        said.append(same_cluster(scores, labels, by="pictures", rng=rng, scoring=how))
        own = prediction_labels(predicted, rng=rng)
        said.append(same_cluster(scores, own, by="predictions", rng=rng, scoring=how))
    return said


def _trials(image: torch.Tensor, rng: np.random.Generator, how: Scoring) -> Said:
    by_trials = {n: _measures(noisy(image, 2.6 / n**0.5, 8), image, how) for n in (1, 2, 3)}
    return trials_curve(by_trials, rng=rng, scoring=how)


def _regions(image: torch.Tensor, rng: np.random.Generator, how: Scoring) -> Said:
    regions = [
        Region(
            name,
            400,
            _measures(noisy(image, noise, 9), image, how),
            _measures(noisy(image, 4.0 - noise, 10), image, how),
            _measures(noisy(image, 2.4, 11), image, how),
        )
        for name, noise in zip(REGIONS, (2.2, 2.0, 3.2), strict=True)
    ]
    return region_ablation(
        _measures(noisy(image, 1.5, 1), image, how), regions, rng=rng, scoring=how
    )


def _candidates(scored: Sequence[Scored], rng: np.random.Generator, how: Scoring) -> Said:
    points: list[Point] = []
    findings: list[Finding] = []
    for measure in [m for m in measures_of(scored) if m.system == "both"]:
        table = (measure.values + rng.normal(0, 0.04, (4, len(measure.values)))).clip(-1, 1)
        picks = rng.integers(0, 4, table.shape[1])
        found = candidate_spread(measure, table, picks, rng=rng, scoring=how)
        points += found[0]
        findings += found[1]
    return points, findings
