"""Stages that score: retrieval, the table of metrics, the controls.

Axes: Q queries, G gallery.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mindeye.files import write_array, write_json
from mindeye.metrics.features import available_extractors
from mindeye.metrics.points import Finding, Point, write_controls
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.table import write_table
from mindeye.retrieval import Embeddings, ranks_from_scores, rounding, score_rows, score_type
from mindeye.runs.scoring.controls import collapse_rows, control_points
from mindeye.runs.scoring.predictions import EMBEDDED, prediction, true_tokens
from mindeye.runs.scoring.references import reference_systems
from mindeye.runs.scoring.tables import picture_groups, reference_images, retrieval_groups
from mindeye.runs.workspace import Workspace

STRIP = 8
"""Matches kept for every query."""
QUERIES = 1024
"""Queries scored at once."""


def retrieve(work: Workspace) -> None:
    """Rank all test pictures by the brain embedding, and all brains by the picture."""
    if not work.config.high_enabled:
        return
    folder = work.folder / "retrieve"
    brain, actual = prediction(work, EMBEDDED["mindeye"]), true_tokens(work)
    for name, pair in (("brain_to_image", (brain, actual)), ("image_to_brain", (actual, brain))):
        for kind, values in _ranked(*pair)._asdict().items():
            write_array(folder / f"{name}_{kind}.npy", values.numpy())
    write_json(folder / "stimulus_ids.json", work.test_ids)


class _Ranked(NamedTuple):
    """Best gallery items (Q, STRIP) of every query, their scores, and the truth's rank (Q,)."""

    matches: Tensor
    scores: Tensor
    ranks: Tensor


def _ranked(queries: Embeddings, gallery: Embeddings) -> _Ranked:
    """Match every query and rank its truth, from one pass over the scores."""
    tolerance = rounding(score_type(queries))
    parts = []
    for block, scores in score_rows(queries, gallery, rows=QUERIES):
        truth = torch.arange(block.start, block.stop)
        ranks = ranks_from_scores(scores, truth, tie_tolerance=tolerance)
        best, order = scores.sort(dim=1, descending=True, stable=True)
        parts.append((order[:, :STRIP].clone(), best[:, :STRIP].clone(), ranks))
    return _Ranked(*(torch.cat(column) for column in zip(*parts, strict=True)))


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
    others, reference = reference_systems(work), reference_images(work, extractors)
    groups = [
        *retrieval_groups(work, others, scoring),
        *picture_groups(work, others, scoring, reference),
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
        points, findings = control_points(work, groups, scoring, reference)
    write_controls(points, findings, work.folder)
    write_table(groups, missing, work.folder, settings=settings)
