"""What decoders predicted for the test stimuli, opened from a run's folder."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.files import open_array
from mindeye.retrieval import Embeddings, Selected
from mindeye.runs.workspace import Workspace
from mindeye.seeds import named_rng

EMBEDDED = {
    "mindeye": "predict/contrastive",
    "mindeye_backbone": "predict/backbone",
    "ridge": "ridge/tokens",
    "knn": "ridge/knn_tokens",
}
"""Systems that predict embeddings, with the files of what they predicted."""


def stream(work: Workspace, name: str) -> np.random.Generator:
    """Return the run's random numbers of a name."""
    return named_rng(work.config.seed, name)


def prediction(work: Workspace, name: str) -> NDArray[Any]:
    """Open predictions of all test stimuli, memory-mapped, such as `predict/contrastive`."""
    return open_array(work.folder / f"{name}.npy", "delete the stage's folder and run it again")


def decoded(work: Workspace) -> NDArray[Any]:
    """Open the run's own embeddings (S, K, D); ridge's where it trained no high level."""
    return prediction(work, EMBEDDED["mindeye" if work.config.high_enabled else "ridge"])


def true_tokens(work: Workspace) -> Selected:
    """Return the embeddings (S, K, D) of the test pictures."""
    return Selected(work.embeddings("tokens"), work.rows(work.test_ids))


def retrieval_systems(work: Workspace) -> dict[str, tuple[Embeddings, Embeddings]]:
    """Return predictions and targets of every decoder, by the name of its row.

    `_centred` takes the mean training embedding away from both before the cosine: what all
    pictures have in common then no longer counts as a match. `ridge_restored` has the training
    targets' mean and spread, as what ridge draws from (Brain-Diffuser's recipe).
    """
    actual = true_tokens(work)
    found: dict[str, tuple[Embeddings, Embeddings]] = {}
    if work.config.high_enabled:
        for name in ("mindeye", "mindeye_backbone"):
            found[name] = (prediction(work, EMBEDDED[name]), actual)
    found["ridge_restored"] = (prediction(work, "ridge/tokens_restored"), actual)
    mean = np.load(work.folder / "ridge" / "tokens_mean.npy")
    true = actual[:] - mean
    for name in ("ridge", "knn"):
        plain = prediction(work, EMBEDDED[name])
        found[name] = (plain, actual)
        found[f"{name}_centred"] = (plain - mean, true)
    return found
