"""Rows of the table: every decoder and every reference system, retrieved and drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mindeye.data.images import resize, to_images
from mindeye.metrics.features import FeatureExtractor, encoder_network
from mindeye.metrics.picture_rows import ReferenceImages, picture_rows
from mindeye.metrics.retrieval_rows import retrieval_rows, rows_from_scores
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.systems import SYSTEMS, System, reference_name, references, system
from mindeye.metrics.table import Scored
from mindeye.progress import track
from mindeye.retrieval import Selected
from mindeye.runs.scoring.predictions import retrieval_systems, stream, true_tokens
from mindeye.runs.scoring.references import References
from mindeye.runs.workspace import Workspace

Group = tuple[list[str], list[Scored]]


def retrieval_groups(work: Workspace, others: References, scoring: Scoring) -> list[Group]:
    """Score who is retrieved; a group of stimulus ids and rows for every set of stimuli."""
    groups: list[Group] = []
    for name, observer in others.observers.items():
        rng = stream(work, f"retrieval {name}")
        rows = rows_from_scores(name, observer.scores, rng=rng, scoring=scoring)
        groups.append((observer.ids, [_noted(one, observer.note) for one in rows]))
    ceiling = {
        row.metric: row.value for _, rows in groups for row, _ in rows
        if row.system == "ideal_observer"
    }  # fmt: skip
    tokens = work.embeddings("tokens")
    actual = true_tokens(work)
    training = {
        name: (Selected(tokens, work.rows(shown)), actual)
        for name, shown in others.training.items()
    }
    own: list[Scored] = []
    for name, pair in track((training | retrieval_systems(work)).items(), "retrieval"):
        rng = stream(work, f"retrieval {name}")
        own += retrieval_rows(name, *pair, rng=rng, scoring=scoring, ceiling=ceiling)
    return _with_references([*groups, (work.test_ids, own)])


def reference_images(work: Workspace, networks: Sequence[FeatureExtractor]) -> ReferenceImages:
    """Return the pictures of the stimuli that are drawn, and the networks that look at them."""
    return ReferenceImages(
        to_images(work.subject.pictures_of(work.drawn_ids)),
        [encoder_network(work.encoder), *networks],
        work.config.evaluate.picture_size or None,
    )


def picture_groups(
    work: Workspace, others: References, scoring: Scoring, reference: ReferenceImages
) -> list[Group]:
    """Score what the pictures look like."""
    rows: dict[str, list[Scored]] = {}
    for name, images, k in track(list(_pictures(work, others)), "pictures"):
        scored = [rows[c] for c in system(name).ceilings if c in rows]
        ceilings = {one.row.metric: one.row.value for one in scored[0]} if scored else {}
        rows[name] = picture_rows(
            name, resize(to_images(images()), reference.shape), reference,
            rng=stream(work, f"pictures {name}"), scoring=scoring, ceilings=ceilings, k=k,
        )  # fmt: skip
    return _with_references([(work.drawn_ids, [one for group in rows.values() for one in group])])


def _pictures(
    work: Workspace, others: References
) -> Iterator[tuple[str, Callable[[], NDArray[np.uint8]], int | None]]:
    """Yield every system's name, a way to read its pictures, and its candidates per stimulus."""
    count = len(work.drawn_ids)
    shown = {name: ids[:count] for name, ids in others.training.items()}
    for name, observer in others.observers.items():
        if observer.ids == work.test_ids:
            shown[name] = observer.shown[:count]
    for name, ids in shown.items():
        yield name, partial(work.subject.pictures_of, ids), None
    # Ceilings first: the others are set against them.
    for one in sorted(SYSTEMS.values(), key=lambda s: (s.role != "ceiling", s.role != "reference")):
        path = work.folder / "reconstruct" / f"{one.name}.npy"
        if path.is_file():
            yield one.name, partial(np.load, path), _candidates(work, one)


def _candidates(work: Workspace, one: System) -> int | None:
    """Return the number of pictures that were drawn of each stimulus; None if none was drawn."""
    config = work.config.reconstruct
    if one.noise == 1:
        return 1 if config.pick == "first" else config.candidates
    return 1 if one.noise else None


def _noted(one: Scored, note: str) -> Scored:
    text = "; ".join(part for part in (one.row.note, note) if part)
    return one._replace(row=dataclasses.replace(one.row, note=text))


def _with_references(groups: list[Group]) -> list[Group]:
    """Set beside every row what the references score on the same metric."""
    columns = references()
    known: dict[str, dict[str, float]] = {}
    for _, rows in groups:
        for row, _ in rows:
            name = reference_name(row.system)
            if name in columns:
                known.setdefault(row.metric, {})[name] = row.value

    def beside(one: Scored) -> Scored:
        others = {n: known[one.row.metric][n] for n in columns if n in known[one.row.metric]}
        others.pop(reference_name(one.row.system), None)
        return one._replace(row=dataclasses.replace(one.row, references=others))

    return [
        (ids, [beside(one) if one.row.metric in known else one for one in rows])
        for ids, rows in groups
    ]
