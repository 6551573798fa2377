"""Reference systems: training pictures shown in place of a prediction, and observers.

Each is scored as a system, and its scores stand beside everybody's (`metrics.systems.Reference`):

* `random_training`: a random training picture;
* `nearest_training_true`: the training picture most like the one seen, the best that a decoder
  can do that only looks training pictures up;
* `nearest_training_predicted`: the training picture nearest to what was decoded; a decoder that is
  no better has added nothing to a lookup;
* `noise_ceiling`: the test picture whose repeats look most like a stimulus's other repeats;
* `ideal_observer`: the test picture that is most likely under the true model of a simulated brain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mindeye.controls.noise_ceiling import match_halves, training_reliability
from mindeye.data.ideal import has_truth, log_likelihood
from mindeye.metrics.floors import nearest_training_picture, random_training_picture
from mindeye.retrieval import Selected
from mindeye.runs.scoring.predictions import decoded, stream
from mindeye.runs.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Observer:
    """Who looks test stimuli up among test stimuli without a decoder.

    Parameters
    ----------
    ids
        Test stimuli that are looked up, (S,).
    scores
        (S, S) rows are brains, columns are pictures; higher is a better match.
    note
        What a reader must know.
    """

    ids: list[str]
    scores: Tensor
    note: str = ""

    @property
    def shown(self) -> list[str]:
        """The stimulus it would show for each."""
        return [self.ids[i] for i in self.scores.argmax(dim=1).tolist()]


@dataclass(frozen=True, eq=False)
class References:
    """Training stimuli by name of the reference, one a test stimulus, and observers by name."""

    training: Mapping[str, list[str]]
    observers: Mapping[str, Observer]


def reference_systems(work: Workspace) -> References:
    """Find the reference systems of a run."""
    return References(_training(work), _observers(work))


def _training(work: Workspace) -> dict[str, list[str]]:
    ids = work.subject.splits["train"]
    tokens = work.embeddings("tokens")
    training = Selected(tokens, work.rows(ids))
    true = Selected(tokens, work.rows(work.test_ids))
    predicted = decoded(work)
    rows = {
        "random_training": random_training_picture(
            len(work.test_ids), len(ids), stream(work, "random_training")
        ),
        "nearest_training_true": nearest_training_picture(true, training),
        "nearest_training_predicted": nearest_training_picture(predicted, training),
    }
    return {name: [ids[i] for i in rows_of] for name, rows_of in rows.items()}


def _observers(work: Workspace) -> dict[str, Observer]:
    observers: dict[str, Observer] = {}
    trials = work.subject.rows_by_stimulus
    if sum(len(trials[s]) > 1 for s in work.test_ids) > 1:
        betas = work.subject.betas
        weights = training_reliability(betas, [trials[s] for s in work.subject.splits["train"]])
        halves = match_halves(
            betas,
            [trials[s] for s in work.test_ids],
            weights,
            rng=stream(work, "noise_ceiling"),
        )
        repeated = [work.test_ids[i] for i in halves.kept]
        observers["noise_ceiling"] = Observer(repeated, halves.scores, halves.note)
    if has_truth(work.subject):
        likelihood = torch.from_numpy(np.asarray(log_likelihood(work.subject, work.test_ids)))
        observers["ideal_observer"] = Observer(work.test_ids, likelihood)
    return observers
