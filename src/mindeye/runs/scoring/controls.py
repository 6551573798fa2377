"""The controls of a run: the same scores under harder conditions, and what they found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

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
from mindeye.controls.held_out import HeldOut, held_out_clusters
from mindeye.controls.measures import Measure, measures_of
from mindeye.controls.nearness import nearness, similarity_audit
from mindeye.controls.references import against_lookup, floor_findings
from mindeye.controls.regions import Region, region_ablation
from mindeye.controls.repeats import trials_curve
from mindeye.controls.spread import candidate_spread
from mindeye.controls.strata import stratified
from mindeye.data.images import resize, to_images
from mindeye.errors import DataError
from mindeye.files import open_array
from mindeye.metrics.curves import nway_curves
from mindeye.metrics.picture_rows import ReferenceImages, picture_rows
from mindeye.metrics.points import Finding, Point
from mindeye.metrics.registry import metric
from mindeye.metrics.retrieval_rows import retrieval_rows
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.systems import SYSTEMS, system
from mindeye.metrics.table import Scored
from mindeye.progress import track
from mindeye.runs.conditions import region_predictions, trial_predictions
from mindeye.runs.scoring.predictions import (
    EMBEDDED,
    MEND,
    embedded,
    pooled,
    prediction,
    stream,
    true_pooled,
)
from mindeye.runs.scoring.tables import Group
from mindeye.runs.workspace import Workspace

Control = tuple[list[Point], list[Finding]]
"""Scores under the conditions of one control, and what it found."""

WHOLE_WIDTH = 16_384
"""Values an embedding may have for the span of the training targets to be that of all tokens; of
wider ones it is that of the pooled embedding (4,000 x 197,376 doubles would be 6 GB)."""

MAIN = (
    *(name for name in EMBEDDED if SYSTEMS[name].controls == "all"),
    *(n for n, one in SYSTEMS.items() if one.controls == "all" and n not in EMBEDDED),
)
"""Systems whose scores are split by how near a test picture is to training: those that predict
embeddings, then those that only draw. The lookup's intervals are drawn in this order."""

CONDITIONED = ("full_top1", "median_rank")
"""Kinds of metrics of the curves over trials and regions: of all test stimuli, without draws."""


def collapse_rows(work: Workspace) -> list[Scored]:
    """Return `effective_rank` and `out_of_span` of every decoder, beside those of the truth."""
    width = int(np.prod(work.embeddings("tokens").shape[1:]))
    true = true_pooled if width > WHOLE_WIDTH else embedded
    train, test = (true(work, ids) for ids in (work.subject.splits["train"], work.test_ids))
    span = training_span(train, rng=stream(work, "span"))
    rows: list[Scored] = []
    for name, predicted in _decoders(work):
        rows.append(effective_rank_row(name, torch.from_numpy(predicted), torch.from_numpy(test)))
        same = predicted if test.shape[1:] == predicted.shape[1:] else pooled(work, predicted)
        rows.append(out_of_span_row(name, same, test, span, rng=stream(work, f"span {name}")))
    return rows


def control_points(
    work: Workspace, groups: Sequence[Group], scoring: Scoring, reference: ReferenceImages
) -> Control:
    """Run every control that this run has the data for.

    Parameters
    ----------
    work
        The run.
    groups
        Rows of the run's table, by set of stimuli.
    scoring
        How the intervals are drawn.
    reference
        The pictures seen, with the networks that look at them, for candidates that were not picked.
    """
    scored = [one for _, rows in groups for one in rows]
    decoders = [one for one in scored if system(one.row.system).controls != "none"]
    controls: dict[str, Callable[[Workspace, Scoring], Iterable[Control]]] = {
        "nway": lambda *_: [(nway_curves(scored, rng=stream(work, "nway"), scoring=scoring), [])],
        "shuffled_pairs": lambda *_: [([], floor_findings(decoders))],
        "collapse": lambda *_: [([], collapse_findings(scored))],
        "nearest_training": partial(_by_nearness, groups=groups),
        "training_lookup": partial(_lookups, groups=groups),
        "candidates": partial(_candidates, reference=reference),
        "same_cluster": _same_cluster,
        "held_out_clusters": _held_out,
        "trials_averaged": _trials,
        "regions": _regions,
    }
    results: list[Control] = []
    for name, control in track(controls.items(), "controls"):
        try:
            results += control(work, scoring)
        except DataError as error:  # too few stimuli for it: the run's scores are not lost
            results.append(([], [Finding(name, "", False, f"Not computed: {error}.")]))
    return [p for points, _ in results for p in points], [f for _, many in results for f in many]


def _lookups(work: Workspace, scoring: Scoring, *, groups: Sequence[Group]) -> Iterator[Control]:
    for i, (_, rows) in enumerate(groups):
        yield against_lookup(rows, MAIN, rng=stream(work, f"lookup {i}"), scoring=scoring)


def _decoders(work: Workspace) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the decoders of embeddings by name, with what they predicted (S, K, D)."""
    for name, path in EMBEDDED.items():
        if (work.folder / f"{path}.npy").is_file():
            yield name, np.array(prediction(work, path), dtype=np.float32)


def _by_nearness(
    work: Workspace, scoring: Scoring, *, groups: Sequence[Group]
) -> Iterator[Control]:
    near = nearness(
        true_pooled(work, work.test_ids), true_pooled(work, work.subject.splits["train"]),
        rng=stream(work, "nearness"),
    )  # fmt: skip
    yield similarity_audit(near, work.test_ids)
    for ids, rows in groups:
        if ids == work.test_ids[: len(ids)]:
            measures = [m for m in measures_of(rows) if m.system in MAIN]
            rng, similarity = stream(work, "strata"), near.similarity[: len(ids)]
            yield stratified(similarity, measures, rng=rng, scoring=scoring)


def _candidates(
    work: Workspace, scoring: Scoring, *, reference: ReferenceImages
) -> Iterator[Control]:
    """Score every candidate of every system that drew several and kept them."""
    quick = replace(scoring, shuffles=1, slow_shuffles=1, slow_stimuli=1)
    for name in [one.name for one in SYSTEMS.values() if one.noise == 1]:
        path = work.folder / "reconstruct" / f"{name}_candidates.npy"
        if not path.is_file():
            continue
        candidates = open_array(path, MEND)
        picks = np.load(path.with_name(f"{name}_pick.npy"))
        tables: list[list[Measure]] = []
        for i in track(range(candidates.shape[1]), f"{name} 1 by 1"):
            images = resize(to_images(np.asarray(candidates[:, i])), reference.shape)
            rng = stream(work, f"candidate {name} {i}")
            rows = picture_rows(name, images, reference, rng=rng, scoring=quick, k=1)
            tables.append(measures_of(rows))
        for same in zip(*tables, strict=True):  # one metric of all candidates
            rng = stream(work, f"spread {name} {same[0].metric}")
            scores = np.stack([one.values for one in same])
            yield candidate_spread(same[-1], scores, picks, rng=rng, scoring=scoring)


def _same_cluster(work: Workspace, scoring: Scoring) -> Iterator[Control]:
    training = true_pooled(work, work.subject.splits["train"])
    labels = cluster_labels(
        true_pooled(work, work.test_ids), rng=stream(work, "clusters"), training=training,
        clusters=work.config.evaluate.clusters or None,
    )  # fmt: skip
    true = embedded(work, work.test_ids)
    mean = np.load(work.folder / "ridge" / "tokens_mean.npy")
    for name, predicted in _decoders(work):
        # What all pictures have in common tells none of them apart.
        scores = cosine_scores(name, "brain_to_image", predicted - mean, true - mean)
        rng = stream(work, f"own clusters {name}")
        own = prediction_labels(pooled(work, predicted), rng=rng, training=training)
        rng = stream(work, f"pictures {name}")
        yield same_cluster(scores, labels, by="pictures", rng=rng, scoring=scoring)
        rng = stream(work, f"predictions {name}")
        yield same_cluster(scores, own, by="predictions", rng=rng, scoring=scoring)


def _held_out(work: Workspace, scoring: Scoring) -> Iterator[Control]:
    """Only where whole clusters were held out: there, test pictures are of no trained kind."""
    preparation = work.subject.info.get("preparation", {})
    if preparation.get("config", {}).get("test") != "clusters":
        return
    train, test = (true_pooled(work, ids) for ids in (work.subject.splits["train"], work.test_ids))
    rng = stream(work, "held-out clusters")
    # Labels of test begin after those of training: no cluster is in both.
    trained = cluster_labels(train, rng=rng)
    held = HeldOut(test, cluster_labels(test, rng=rng) + trained.max() + 1, train, trained)
    for name, predicted in _decoders(work):
        rng = stream(work, f"held-out clusters {name}")
        yield held_out_clusters(name, pooled(work, predicted), held, rng=rng, scoring=scoring)


def _trials(work: Workspace, scoring: Scoring) -> Iterator[Control]:
    ids, by_trials = trial_predictions(work)
    if ids:
        measures = {
            count: _measures(work, predicted, ids, scoring, f"{count} trials")
            for count, predicted in by_trials.items()
        }
        yield trials_curve(measures, rng=stream(work, "trials"), scoring=scoring)


def _regions(work: Workspace, scoring: Scoring) -> Iterable[Control]:
    if not work.config.high_enabled:
        return []

    def measures(predicted: NDArray[np.floating], name: str) -> list[Measure]:
        return _measures(work, predicted, work.test_ids, scoring, name)

    whole = measures(prediction(work, EMBEDDED["mindeye"]), "all voxels")
    regions = [
        Region(
            region.label, region.voxels, measures(region.only, f"only {i}"),
            measures(region.without, f"without {i}"), measures(region.random_only, f"random {i}"),
        )
        for i, region in enumerate(region_predictions(work))
    ]  # fmt: skip
    if not regions:
        return []
    return [region_ablation(whole, regions, rng=stream(work, "regions"), scoring=scoring)]


def _measures(
    work: Workspace, predicted: NDArray[np.floating], ids: list[str], scoring: Scoring, name: str
) -> list[Measure]:
    """Score predictions under one condition; only what is asked of all stimuli, without draws."""
    actual, rng = work.embeddings("tokens")[work.rows(ids)], stream(work, f"condition {name}")
    rows = retrieval_rows("mindeye", predicted, actual, rng=rng, scoring=scoring)
    return [m for m in measures_of(rows) if metric(m.metric).kind in CONDITIONED]
