"""Scores of anybody's reconstructions: no run, no decoder, only pictures and what was shown.

The command writes what a run writes (``metrics.json``, ``metrics.csv``, ``scores.csv``), so that
the same tools read both, and ``pictures.png`` to look at.

Axes: S stimuli, K tokens, D width, H height, W width of a picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from mindeye.external.config import ExternalConfig
from mindeye.external.inputs import Inputs, open_inputs
from mindeye.external.results import SHOWN, table_text, write_sheet
from mindeye.external.training import TrainingReferences, training_references
from mindeye.files import provenance
from mindeye.metrics.features import FeatureExtractor, Missing, available_extractors
from mindeye.metrics.picture_rows import ReferenceImages, picture_rows
from mindeye.metrics.retrieval_rows import retrieval_rows
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.table import Scored, write_table
from mindeye.progress import track

Tell = Callable[[str], None]

SHEET = "pictures.png"
"""Contact sheet of the first stimuli and everyone's reconstructions."""


@dataclass(frozen=True)
class Scores:
    """All scores of one call.

    Attributes
    ----------
    groups
        Stimulus ids and the rows that score them, in the order of the ids.
    missing
        Metrics that could not be computed, with reason and remedy.
    notes
        What was converted and chosen on reading the pictures.
    left_out
        Metrics that make no sense for these pictures, each with its reason.
    sheet
        Label to the first images, for the contact sheet.
    """

    groups: Sequence[tuple[list[str], list[Scored]]]
    missing: Sequence[Missing]
    notes: Sequence[str]
    left_out: Sequence[str]
    sheet: Mapping[str, Tensor]

    @property
    def scored(self) -> list[Scored]:
        """All rows with their scores per stimulus."""
        return [one for _, group in self.groups for one in group]


def evaluate_pictures(config: ExternalConfig, *, tell: Tell) -> list[Scored]:
    """Score reconstructions and write tables, scores per stimulus and a contact sheet.

    Parameters
    ----------
    config
        What to score against what, and where to write it.
    tell
        Gets every line for the terminal: what was converted, what is missing, the table.

    Returns
    -------
    list of Scored
        All rows, as written.

    Raises
    ------
    DataError
        If pictures cannot be read or paired without guessing; nothing is written then.
    """
    scores = score(config, tell)
    write_table(scores.groups, scores.missing, config.out, settings=_settings(config, scores))
    write_sheet(config.out / SHEET, scores.sheet)
    for line in table_text([one.row for one in scores.scored]).splitlines():
        tell(line)
    return scores.scored


def score(config: ExternalConfig, tell: Tell = lambda line: None) -> Scores:
    """Score all systems of a configuration without writing anything.

    Parameters
    ----------
    config
        What to score against what.
    tell
        Gets a line for everything that was converted or is missing, before the scoring begins.
    """
    inputs = open_inputs(config)
    notes, antialias = list(inputs.notes), not config.as_published
    found, missing = available_extractors(config.weights)
    extractors, left_out = _for_so_many(found, len(inputs.stimuli))
    remedies = dict.fromkeys(one.how for one in missing)
    for heading, lines in (
        ("pictures", notes),
        ("missing", [f"{one.metric}: {one.why}" for one in missing]),
        ("missing", [f"-> {remedy}" for remedy in remedies]),
        ("left out", left_out),
    ):
        for line in lines:
            tell(f"{heading:<9} {line}")
    shown = inputs.stimuli.images(range(len(inputs.stimuli)), size=inputs.size, antialias=antialias)
    reference = ReferenceImages(shown, extractors, config.size or None)
    sheet = {"seen": reference.images[:SHOWN]}
    training = _training(config, inputs, reference)
    if training is not None:
        sheet["nearest training"] = training.nearest[:SHOWN]
        notes += training.notes
        for line in training.notes:
            tell(f"{'training':<9} {line}")
    rows = []
    for purpose, system in enumerate(track(inputs.systems, "scoring"), start=1):
        images = system.pictures.images(system.rows, size=system.size, antialias=antialias)
        sheet[system.name] = images[:SHOWN].clone()
        rows += picture_rows(
            system.name, images, reference, rng=_rng(config, purpose), scoring=_scoring(config),
            k=config.k,
        )  # fmt: skip
    rows = [_with_references(one, training.references if training else {}) for one in rows]
    groups = [(list(inputs.stimuli.names), rows), *_retrieval(config, inputs)]
    return Scores(groups, missing, notes, left_out, sheet)


def _scoring(config: ExternalConfig) -> Scoring:
    return Scoring(resamples=config.resamples, as_published=config.as_published)


def _rng(config: ExternalConfig, purpose: int) -> np.random.Generator:
    """One stream a system, so that adding a system does not move another's interval."""
    return np.random.default_rng([config.seed, purpose])


def _for_so_many(
    extractors: Sequence[FeatureExtractor], n: int
) -> tuple[list[FeatureExtractor], list[str]]:
    """Leave out what compares with other stimuli where there is none."""
    if n > 1:
        return list(extractors), []
    usable = [one for one in extractors if one.comparison != "two_way"]
    gone = [f"two_way_{one.name}" for one in extractors if one.comparison == "two_way"]
    named = ", ".join(gone) or "two-way identification"
    return usable, [
        f"{named}: there is one picture, and it takes two to tell one from the other",
        "intervals and shuffled floors: of one picture there are none",
    ]


def _training(
    config: ExternalConfig, inputs: Inputs, reference: ReferenceImages
) -> TrainingReferences | None:
    if inputs.training is None:
        return None
    return training_references(
        inputs.training,
        inputs.stimuli,
        reference,
        antialias=not config.as_published,
        rng=_rng(config, 0),
        scoring=_scoring(config),
    )


def _with_references(one: Scored, references: Mapping[str, Mapping[str, float]]) -> Scored:
    """Set what training pictures score beside a row; a single picture has nothing around it."""
    row = dataclasses.replace(one.row, references=references.get(one.row.metric, {}))
    if row.n == 1:
        note = "; ".join(filter(None, (row.note, "one picture: no interval, no floor")))
        row = dataclasses.replace(
            row, low=None, high=None, floor=None, floor_low=None, floor_high=None, note=note
        )
    return one._replace(row=row)


def _retrieval(config: ExternalConfig, inputs: Inputs) -> list[tuple[list[str], list[Scored]]]:
    if inputs.embeddings is None:
        return []
    predicted, target = inputs.embeddings
    # Embeddings may be of more stimuli than have reconstructions; they are then named as rows.
    same = len(predicted) == len(inputs.stimuli)
    ids = list(inputs.stimuli.names) if same else [f"row {i}" for i in range(len(predicted))]
    rng = _rng(config, len(inputs.systems) + 1)
    name = inputs.systems[0].name
    return [(ids, retrieval_rows(name, predicted, target, rng=rng, scoring=_scoring(config)))]


def _settings(config: ExternalConfig, scores: Scores) -> dict[str, Any]:
    """Further content of ``metrics.json``."""
    how = _scoring(config)
    return {
        "conversions": list(scores.notes),
        "left_out": list(scores.left_out),
        "inputs": {
            "stimuli": str(config.stimuli),
            "reconstructions": {name: str(path) for name, path in config.systems},
            "training_pictures": config.training_pictures and str(config.training_pictures),
            "predicted": config.predicted and str(config.predicted),
            "target": config.target and str(config.target),
        },
        "n_stimuli": len(scores.groups[0][0]),
        "size": config.size,
        "as_published": config.as_published,
        "n_candidates": how.candidates,
        "draws": how.draws,
        "resamples": how.resamples,
        "level": how.level,
        "seed": config.seed,
        "k": config.k,
        "provenance": provenance(),
    }
