"""Stages that judge: retrieval, the table of metrics, the controls."""

from __future__ import annotations

from pathlib import Path

import torch

from mindeye.files import write_array, write_json
from mindeye.metrics.features import available_extractors
from mindeye.metrics.points import Finding, Point, write_controls
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.table import write_table
from mindeye.retrieval import ranks, top_matches
from mindeye.runs.scoring.candidates import spread_of_candidates
from mindeye.runs.scoring.controls import collapse_rows, control_points
from mindeye.runs.scoring.predictions import prediction, true_tokens
from mindeye.runs.scoring.stand_ins import stand_ins
from mindeye.runs.scoring.tables import picture_groups, retrieval_groups, seen_pictures
from mindeye.runs.workspace import Workspace

STRIP = 8
"""Matches kept for every query."""


def retrieve(work: Workspace) -> None:
    """Rank all test pictures by the brain embedding, and all brains by the picture."""
    if not work.config.high_enabled:
        return
    folder = work.folder / "retrieve"
    brain, actual = prediction(work, "predict/contrastive"), true_tokens(work)
    truth = torch.arange(len(actual))
    for name, queries, gallery in (
        ("brain_to_image", brain, actual),
        ("image_to_brain", actual, brain),
    ):
        matches, scores = top_matches(queries, gallery, min(STRIP, len(gallery)))
        write_array(folder / f"{name}_matches.npy", matches.numpy())
        write_array(folder / f"{name}_scores.npy", scores.numpy())
        write_array(folder / f"{name}_ranks.npy", ranks(queries, gallery, truth).numpy())
    write_json(folder / "stimulus_ids.json", work.test_ids)


def evaluate(work: Workspace) -> None:
    """Write `metrics.json`, `metrics.csv`, `scores.csv`; `controls.json`, `controls.csv`."""
    config = work.config.evaluate
    scoring = Scoring(
        candidates=config.nway,
        draws=config.draws,
        resamples=config.resamples,
        level=config.level,
        as_published=config.as_published,
    )
    extractors, missing = available_extractors(Path(config.weights) if config.weights else None)
    beside, seen = stand_ins(work), seen_pictures(work, extractors)
    groups = [
        *retrieval_groups(work, beside, scoring),
        *picture_groups(work, beside, scoring, seen),
    ]
    groups.append((work.test_ids, collapse_rows(work)))
    settings = {
        "subject": work.subject.fingerprint,
        "n_candidates": scoring.candidates,
        "draws": scoring.draws,
        "resamples": scoring.resamples,
        "level": scoring.level,
        "permutation": work.config.permutation,
    }
    points: list[Point] = []
    findings: list[Finding] = []
    if config.controls:
        candidates = spread_of_candidates(work, seen, scoring)
        points, findings = control_points(work, groups, scoring, candidates)
    write_controls(points, findings, work.folder)
    write_table(groups, missing, work.folder, settings=settings)
