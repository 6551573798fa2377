"""Stages that judge: retrieval, the table of metrics."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mindeye.data.ideal import has_truth, log_likelihood
from mindeye.evaluation.controls.collapse import effective_rank_row
from mindeye.evaluation.features import FeatureExtractor, FunctionExtractor, available_extractors
from mindeye.evaluation.picture_rows import Seen, picture_rows
from mindeye.evaluation.retrieval_rows import retrieval_rows, rows_from_scores
from mindeye.evaluation.scoring import Scoring
from mindeye.evaluation.table import Scored, write_table
from mindeye.progress import track
from mindeye.retrieval import ranks, top_matches
from mindeye.runs import write_array, write_json
from mindeye.stages.drawing import predicted
from mindeye.stages.workspace import Workspace
from mindeye.targets.images import resize, to_images

STRIP = 8
"""Matches kept for every query."""

CEILINGS = {
    "low": ("ceiling_vae",),
    "high": ("ceiling_generator",),
    "both": ("ceiling_both",),
    "ridge": ("ceiling_both", "ceiling_generator", "ceiling_vae"),
}
"""Which system a picture system cannot be expected to pass, the first of those that were drawn.

Ridge draws as the run does: by the generator from a start, without one, or by the autoencoder.
"""


PICTURE_SYSTEMS = ("ceiling_both", "ceiling_generator", "ceiling_vae", "mean_picture", *CEILINGS)
"""Ceilings first: the others are set against them."""


def _true_tokens(work: Workspace) -> Tensor:
    return torch.from_numpy(
        np.array(work.embeddings("tokens")[work.rows(work.test_ids)], np.float32)
    )


def retrieve(work: Workspace) -> None:
    """Rank all test pictures by the brain embedding, and all brains by the picture."""
    if not work.config.high_enabled:
        return
    folder = work.folder / "retrieve"
    brain, actual = predicted(work, "contrastive").flatten(1), _true_tokens(work).flatten(1)
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
    """Write `metrics.json` and `metrics.csv`: every score with interval, floor and ceiling."""
    config = work.config.evaluate
    scoring = Scoring(
        candidates=config.nway,
        draws=config.draws,
        resamples=config.resamples,
        level=config.level,
    )
    extractors, missing = available_extractors()
    groups = [
        (work.test_ids, _retrieval(work, scoring)),
        (work.drawn_ids, _pictures(work, scoring, extractors)),
    ]
    settings = {
        "n_candidates": scoring.candidates,
        "draws": scoring.draws,
        "resamples": scoring.resamples,
        "level": scoring.level,
    }
    write_table(groups, missing, work.folder, settings=settings)


def _rng(work: Workspace, purpose: int) -> np.random.Generator:
    """One stream a system, so that adding a system does not move another's interval."""
    return np.random.default_rng([work.config.seed, purpose])


def _retrieval(work: Workspace, scoring: Scoring) -> list[Scored]:
    rows: list[Scored] = []
    ceiling: dict[str, float] = {}
    if has_truth(work.subject):
        likelihood = torch.from_numpy(log_likelihood(work.subject, work.test_ids))
        rows += rows_from_scores("ideal_observer", likelihood, rng=_rng(work, 0), scoring=scoring)
        ceiling = {one.row.metric: one.row.value for one in rows}
    actual = _true_tokens(work)
    ridge = torch.from_numpy(np.load(work.folder / "ridge" / "tokens.npy"))
    mean = torch.from_numpy(np.load(work.folder / "ridge" / "tokens_mean.npy"))
    systems = {}
    if work.config.high_enabled:
        systems["mindeye"] = (predicted(work, "contrastive"), actual)
        systems["mindeye_backbone"] = (predicted(work, "backbone"), actual)
    systems["ridge"] = (ridge, actual)
    systems["ridge_centred"] = (ridge - mean, actual - mean)
    named = track(systems.items(), "retrieval")
    for purpose, (name, (prediction, target)) in enumerate(named, start=1):
        flat, true = prediction.flatten(1), target.flatten(1)
        rng = _rng(work, purpose)
        rows += retrieval_rows(name, flat, true, rng=rng, scoring=scoring, ceiling=ceiling)
        rows.append(effective_rank_row(name, flat, true))
    return rows


def own_extractor(work: Workspace) -> FeatureExtractor:
    """Return the run's own encoder as a feature network, under its own name."""
    encoder = work.encoder
    pixels = encoder.id.startswith("pixels")

    def features(images: Tensor) -> Tensor:
        tokens = encoder.encode(images)
        if pixels:
            return tokens
        # Without a class token, token 0 is the upper left corner of the picture.
        return tokens[:, 0] if encoder.has_class_token else tokens.mean(dim=1)

    return FunctionExtractor(encoder.id, features)


def _pictures(
    work: Workspace, scoring: Scoring, extractors: list[FeatureExtractor]
) -> list[Scored]:
    folder = work.folder / "reconstruct"
    seen = Seen(
        to_images(work.subject.pictures_of(work.drawn_ids)),
        [own_extractor(work), *extractors],
        work.config.evaluate.picture_size or None,
    )
    rows: dict[str, list[Scored]] = {}
    for purpose, name in enumerate(track(PICTURE_SYSTEMS, "pictures"), start=10):
        path = folder / f"{name}.npy"
        if not path.is_file():
            continue
        images = resize(to_images(np.load(path)), seen.images.shape[-1])
        drawn = [rows[c] for c in CEILINGS.get(name, ()) if c in rows]
        ceilings = {one.row.metric: one.row.value for one in drawn[0]} if drawn else {}
        rows[name] = picture_rows(
            name,
            images,
            seen,
            rng=_rng(work, purpose),
            scoring=scoring,
            ceilings=ceilings,
        )
    return [row for group in rows.values() for row in group]
