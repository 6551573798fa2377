"""Candidates that were not picked: what a first draw scores, and what picking added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mindeye.controls.measures import measures_of
from mindeye.controls.spread import candidate_spread
from mindeye.data.images import resize, to_images
from mindeye.files import open_array
from mindeye.metrics.picture_rows import Seen, picture_rows
from mindeye.metrics.points import Finding, Point
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.systems import SYSTEMS
from mindeye.progress import track
from mindeye.runs.scoring.predictions import stream
from mindeye.runs.workspace import Workspace


def spread_of_candidates(
    work: Workspace, seen: Seen, scoring: Scoring
) -> tuple[list[Point], list[Finding]]:
    """Score every candidate of every system that drew several and kept them.

    Parameters
    ----------
    work
        The run.
    seen
        The pictures seen, with the networks that look at them.
    scoring
        Of the intervals; floors are left out.
    """
    points: list[Point] = []
    findings: list[Finding] = []
    quick = replace(scoring, shuffles=1, slow_shuffles=1, slow_stimuli=1)
    for name in [one.name for one in SYSTEMS.values() if one.noise == 1]:
        path = work.folder / "reconstruct" / f"{name}_candidates.npy"
        if not path.is_file():
            continue
        drawn = open_array(path, "delete the stage's folder and run it again")
        picks = np.load(path.with_name(f"{name}_pick.npy"))
        tables: list[Sequence[np.ndarray]] = []
        measures = []
        for i in track(range(drawn.shape[1]), f"{name} 1 by 1"):
            images = resize(to_images(np.asarray(drawn[:, i])), seen.images.shape[-1])
            rng = stream(work, f"candidate {name} {i}")
            measures = measures_of(picture_rows(name, images, seen, rng=rng, scoring=quick, k=1))
            tables.append([m.values for m in measures])
        for column, measure in enumerate(measures):
            scores = np.stack([row[column] for row in tables])
            rng = stream(work, f"spread {name} {measure.metric}")
            found = candidate_spread(measure, scores, picks, rng=rng, scoring=scoring)
            points += found[0]
            findings += found[1]
    return points, findings
