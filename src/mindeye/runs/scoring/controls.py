"""The controls of a run: the same scores under harder conditions, and what they found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mindeye.controls.clusters import (
    By,
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
from mindeye.controls.lookup import against_lookup
from mindeye.controls.measures import Measure, measures_of
from mindeye.controls.nearness import nearness, similarity_audit
from mindeye.controls.regions import Region, region_ablation
from mindeye.controls.repeats import trials_curve
from mindeye.controls.shuffled import floor_findings
from mindeye.controls.strata import stratified
from mindeye.metrics.curves import nway_curves
from mindeye.metrics.points import Finding, Point
from mindeye.metrics.registry import metric
from mindeye.metrics.retrieval_rows import retrieval_rows
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.systems import SYSTEMS, system
from mindeye.metrics.table import Scored
from mindeye.progress import track
from mindeye.runs.conditions import region_predictions, trial_predictions
from mindeye.runs.scoring.predictions import EMBEDDED, prediction, stream
from mindeye.runs.scoring.tables import Group
from mindeye.runs.workspace import Workspace

Said = tuple[list[Point], list[Finding]]

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
    train, test = (_embeddings(work, ids) for ids in (work.subject.splits["train"], work.test_ids))
    span = training_span(train, rng=stream(work, "span"))
    rows: list[Scored] = []
    for name, path in _decoders(work):
        predicted = np.array(prediction(work, path), dtype=np.float32)
        rows.append(effective_rank_row(name, torch.from_numpy(predicted), torch.from_numpy(test)))
        if test.shape[1:] != predicted.shape[1:]:
            predicted = pooled(work, predicted)
        rows.append(out_of_span_row(name, predicted, test, span, rng=stream(work, f"span {name}")))
    return rows


def control_points(
    work: Workspace, groups: Sequence[Group], scoring: Scoring, candidates: Said
) -> Said:
    """Run every control that this run has the data for."""
    scored = [one for _, rows in groups for one in rows]
    said: list[Said] = [
        (nway_curves(scored, rng=stream(work, "nway"), scoring=scoring), []),
        ([], floor_findings([one for one in scored if system(one.row.system).controls != "none"])),
        ([], collapse_findings(scored)),
        _by_nearness(work, groups, scoring),
        *(
            against_lookup(rows, MAIN, rng=stream(work, f"lookup {i}"), scoring=scoring)
            for i, (_, rows) in enumerate(groups)
        ),
        candidates,
    ]
    for control in track((_same_cluster, _held_out, _trials, _regions), "controls"):
        said.append(control(work, scoring))
    points, findings = zip(*said, strict=True)
    return [p for part in points for p in part], [f for part in findings for f in part]


def pooled(work: Workspace, tokens: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return one vector (S, D) for tokens (S, K, D): the class token, else their mean."""
    if tokens.ndim == 2:
        return np.array(tokens, dtype=np.float32)
    first = tokens[:, 0] if work.encoder.has_class_token else tokens.mean(axis=1, dtype=np.float32)
    return np.array(first, dtype=np.float32)


def _true_pooled(work: Workspace, ids: Sequence[str]) -> NDArray[np.float32]:
    """Read pooled embeddings a few stimuli at a time: all tokens of training are gigabytes."""
    rows, tokens = work.rows(list(ids)), work.embeddings("tokens")
    parts = [pooled(work, tokens[rows[i : i + 256]]) for i in range(0, len(rows), 256)]
    return np.concatenate(parts)


def _embeddings(work: Workspace, ids: Sequence[str]) -> NDArray[np.float32]:
    """Return whole embeddings, pooled ones where they are too wide."""
    tokens = work.embeddings("tokens")
    if int(np.prod(tokens.shape[1:])) > WHOLE_WIDTH:
        return _true_pooled(work, ids)
    return np.array(tokens[work.rows(list(ids))], dtype=np.float32)


def _decoders(work: Workspace) -> list[tuple[str, str]]:
    """Return the decoders of embeddings by name, with the files of what they predicted."""
    return [
        (name, path) for name, path in EMBEDDED.items() if (work.folder / f"{path}.npy").is_file()
    ]


def _by_nearness(work: Workspace, groups: Sequence[Group], scoring: Scoring) -> Said:
    train = work.subject.splits["train"]
    near = nearness(
        _true_pooled(work, work.test_ids),
        _true_pooled(work, train),
        rng=stream(work, "nearness"),
    )
    points, findings = similarity_audit(near, work.test_ids)
    for ids, rows in groups:
        if ids != work.test_ids[: len(ids)]:
            continue
        measures = [m for m in measures_of(rows) if m.system in MAIN]
        split = stratified(
            near.similarity[: len(ids)],
            measures,
            rng=stream(work, "strata"),
            scoring=scoring,
        )
        points += split[0]
        findings += split[1]
    return points, findings


def _same_cluster(work: Workspace, scoring: Scoring) -> Said:
    training = _true_pooled(work, work.subject.splits["train"])
    labels = cluster_labels(
        _true_pooled(work, work.test_ids),
        rng=stream(work, "clusters"),
        training=training,
        clusters=work.config.evaluate.clusters or None,
    )
    true = np.array(work.embeddings("tokens")[work.rows(work.test_ids)], dtype=np.float32)
    mean = np.load(work.folder / "ridge" / "tokens_mean.npy")
    points: list[Point] = []
    findings: list[Finding] = []
    for name, path in _decoders(work):
        predicted = np.array(prediction(work, path), dtype=np.float32)
        # What all pictures have in common tells none of them apart.
        scores = cosine_scores(name, "brain_to_image", predicted - mean, true - mean)
        own = prediction_labels(
            pooled(work, predicted),
            rng=stream(work, f"own clusters {name}"),
            training=training,
        )
        kinds: tuple[tuple[By, NDArray[np.int64]], ...]
        kinds = (("pictures", labels), ("predictions", own))
        for by, chosen in kinds:
            rng = stream(work, f"{by} {name}")
            found = same_cluster(scores, chosen, by=by, rng=rng, scoring=scoring)
            points += found[0]
            findings += found[1]
    return points, findings


def _held_out(work: Workspace, scoring: Scoring) -> Said:
    """Only where whole clusters were held out: there, test pictures are of no trained kind."""
    preparation = work.subject.info.get("preparation", {})
    if preparation.get("config", {}).get("test") != "clusters":
        return [], []
    train, test = (_true_pooled(work, ids) for ids in (work.subject.splits["train"], work.test_ids))
    rng = stream(work, "held-out clusters")
    # Labels of test begin after those of training: no cluster is in both.
    trained = cluster_labels(train, rng=rng)
    held = HeldOut(test, cluster_labels(test, rng=rng) + trained.max() + 1, train, trained)
    points: list[Point] = []
    findings: list[Finding] = []
    for name, path in _decoders(work):
        rng = stream(work, f"held-out clusters {name}")
        predicted = pooled(work, prediction(work, path))
        found = held_out_clusters(name, predicted, held, rng=rng, scoring=scoring)
        points += found[0]
        findings += found[1]
    return points, findings


def _trials(work: Workspace, scoring: Scoring) -> Said:
    ids, by_trials = trial_predictions(work)
    if not ids:
        return [], []
    measures = {
        count: _measures(work, predicted, ids, scoring, f"{count} trials")
        for count, predicted in by_trials.items()
    }
    return trials_curve(measures, rng=stream(work, "trials"), scoring=scoring)


def _regions(work: Workspace, scoring: Scoring) -> Said:
    if not work.config.high_enabled:
        return [], []
    whole = _measures(
        work, prediction(work, "predict/contrastive"), work.test_ids, scoring, "all voxels"
    )
    regions = [
        Region(
            name=found.label,
            voxels=found.voxels,
            alone=_measures(work, found.only, work.test_ids, scoring, f"only {i}"),
            without=_measures(work, found.without, work.test_ids, scoring, f"without {i}"),
            random=_measures(work, found.random_only, work.test_ids, scoring, f"random {i}"),
        )
        for i, found in enumerate(region_predictions(work))
    ]
    if not regions:
        return [], []
    return region_ablation(whole, regions, rng=stream(work, "regions"), scoring=scoring)


def _measures(
    work: Workspace,
    predicted: NDArray[np.floating],
    ids: list[str],
    scoring: Scoring,
    name: str,
) -> list[Measure]:
    """Score predictions under one condition; only what is asked of all stimuli, without draws."""
    actual = work.embeddings("tokens")[work.rows(ids)]
    rows = retrieval_rows(
        "mindeye",
        predicted,
        actual,
        rng=stream(work, f"condition {name}"),
        scoring=scoring,
    )
    return [m for m in measures_of(rows) if metric(m.metric).kind in CONDITIONED]
