"""Scores of anybody's reconstructions: no run, no decoder, only pictures and what was seen.

Writes what a run writes (``metrics.json``, ``metrics.csv``, ``scores.csv``), so that the same
tools read both, and ``pictures.png`` to look at.

Axes: S stimuli.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mindeye.external.config import ExternalConfig
from mindeye.external.opening import Opened, open_all
from mindeye.external.strip import SHOWN, write_strip
from mindeye.external.text import missing_lines, table_lines
from mindeye.external.training import Answers, training_answers
from mindeye.files import provenance
from mindeye.metrics.features import FeatureExtractor, Missing, available_extractors
from mindeye.metrics.picture_rows import Seen, picture_rows
from mindeye.metrics.retrieval_rows import retrieval_rows
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.table import Scored, write_table
from mindeye.progress import track

Tell = Callable[[str], None]

STRIP = "pictures.png"
"""What a person looks at first."""


def evaluate_pictures(config: ExternalConfig, *, tell: Tell) -> list[Scored]:
    """Score reconstructions and write tables, scores per stimulus and a strip of pictures.

    Parameters
    ----------
    config
        What to score against what.
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
    opened = open_all(config)
    said = opened.said
    _tell_all(tell, "pictures", said)
    found, missing = available_extractors(config.weights)
    _tell_all(tell, "missing", missing_lines(missing))
    extractors, left_out = _for_so_many(found, len(opened.stimuli))
    _tell_all(tell, "left out", left_out)
    seen = Seen(opened.seen(), extractors, config.size or None)
    shown = {"seen": seen.images[:SHOWN]}
    answers = _answers(config, opened, seen)
    if answers is not None:
        shown["nearest training"] = answers.nearest[:SHOWN]
        _tell_all(tell, "training", answers.said)
        said += answers.said
    rows = []
    for purpose, system in enumerate(track(opened.systems, "scoring"), start=1):
        images = system.images()
        shown[system.name] = images[:SHOWN].clone()
        rows += picture_rows(
            system.name, images, seen, rng=_rng(config, purpose), scoring=_how(config), k=config.k
        )
    rows = [_beside(one, answers.references if answers else {}) for one in rows]
    groups = [(list(opened.stimuli.names), rows), *_retrieval(config, opened)]
    _write(config, opened, groups, missing, said=said, left_out=left_out)
    write_strip(config.out / STRIP, shown)
    scored = [one for _, group in groups for one in group]
    for line in table_lines([one.row for one in scored]):
        tell(line)
    return scored


def _tell_all(tell: Tell, heading: str, lines: Sequence[str]) -> None:
    for line in lines:
        tell(f"{heading:<9} {line}")


def _how(config: ExternalConfig) -> Scoring:
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
    kept = [one for one in extractors if one.comparison != "two_way"]
    gone = [f"two_way_{one.name}" for one in extractors if one.comparison == "two_way"]
    named = ", ".join(gone) or "two-way identification"
    return kept, [
        f"{named}: there is one picture, and it takes two to tell one from the other",
        "intervals and shuffled floors: of one picture there are none",
    ]


def _answers(config: ExternalConfig, opened: Opened, seen: Seen) -> Answers | None:
    if opened.training is None:
        return None
    return training_answers(
        opened.training,
        opened.stimuli,
        seen,
        meeting=opened.systems[0].meeting,
        rng=_rng(config, 0),
        scoring=_how(config),
    )


def _beside(one: Scored, references: Mapping[str, Mapping[str, float]]) -> Scored:
    """Set what training pictures score beside a row; a single picture has nothing around it."""
    row = dataclasses.replace(one.row, references=references.get(one.row.metric, {}))
    if row.n == 1:
        note = "; ".join(filter(None, (row.note, "one picture: no interval, no floor")))
        row = dataclasses.replace(
            row, low=None, high=None, floor=None, floor_low=None, floor_high=None, note=note
        )
    return one._replace(row=row)


def _retrieval(config: ExternalConfig, opened: Opened) -> list[tuple[list[str], list[Scored]]]:
    if opened.embeddings is None:
        return []
    predicted, target = opened.embeddings
    # Embeddings may be of more stimuli than were drawn; their rows are then named as rows.
    same = len(predicted) == len(opened.stimuli)
    ids = list(opened.stimuli.names) if same else [f"row {i}" for i in range(len(predicted))]
    rng = _rng(config, len(opened.systems) + 1)
    name = opened.systems[0].name
    return [(ids, retrieval_rows(name, predicted, target, rng=rng, scoring=_how(config)))]


def _write(
    config: ExternalConfig,
    opened: Opened,
    groups: Sequence[tuple[list[str], list[Scored]]],
    missing: Sequence[Missing],
    *,
    said: Sequence[str],
    left_out: Sequence[str],
) -> None:
    how = _how(config)
    settings: dict[str, Any] = {
        "conversions": list(said),
        "left_out": list(left_out),
        "inputs": {
            "stimuli": str(config.stimuli),
            "reconstructions": {name: str(path) for name, path in config.systems},
            "training_pictures": config.training_pictures and str(config.training_pictures),
            "predicted": config.predicted and str(config.predicted),
            "target": config.target and str(config.target),
        },
        "n_stimuli": len(opened.stimuli),
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
    write_table(groups, missing, config.out, settings=settings)
