"""Embeddings of a run: what decoders predicted for the test stimuli, and the true ones.

Axes: S stimuli, K tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
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

MEND = "delete the stage's folder and run it again"


def stream(work: Workspace, name: str) -> np.random.Generator:
    """Return the run's random numbers of a name."""
    return named_rng(work.config.seed, name)


def prediction(work: Workspace, name: str) -> NDArray[Any]:
    """Open predictions of all test stimuli, memory-mapped, such as `predict/contrastive`."""
    return open_array(work.folder / f"{name}.npy", MEND)


def decoded(work: Workspace) -> NDArray[Any]:
    """Open the run's own embeddings (S, K, D); ridge's where it trained no high level."""
    return prediction(work, EMBEDDED["mindeye" if work.config.high_enabled else "ridge"])


def true_tokens(work: Workspace) -> Selected:
    """Return the embeddings (S, K, D) of the test pictures."""
    return Selected(work.embeddings("tokens"), work.rows(work.test_ids))


def embedded(work: Workspace, ids: Sequence[str]) -> NDArray[np.float32]:
    """Read the whole embeddings (S, K, D) of stimuli."""
    return np.array(work.embeddings("tokens")[work.rows(list(ids))], dtype=np.float32)


def pooled(work: Workspace, tokens: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return one vector (S, D) for tokens (S, K, D): the class token, else their mean."""
    if tokens.ndim == 2:
        return np.array(tokens, dtype=np.float32)
    first = tokens[:, 0] if work.encoder.has_class_token else tokens.mean(axis=1, dtype=np.float32)
    return np.array(first, dtype=np.float32)


def true_pooled(work: Workspace, ids: Sequence[str]) -> NDArray[np.float32]:
    """Read pooled embeddings (S, D) of stimuli a few at a time: all tokens are gigabytes."""
    rows, tokens = work.rows(list(ids)), work.embeddings("tokens")
    parts = [pooled(work, tokens[rows[i : i + 256]]) for i in range(0, len(rows), 256)]
    return np.concatenate(parts)


def retrieval_systems(work: Workspace) -> dict[str, tuple[Embeddings, Embeddings]]:
    """Return predictions and targets of every decoder, by the name of its row.

    `_centred` takes the mean training embedding away from both before the cosine: what all
    pictures have in common then no longer counts as a match. `ridge_restored` has the training
    targets' mean and spread, as what ridge draws from (Brain-Diffuser's recipe).
    """
    actual = true_tokens(work)
    systems: dict[str, tuple[Embeddings, Embeddings]] = {}
    if work.config.high_enabled:
        for name in ("mindeye", "mindeye_backbone"):
            systems[name] = (prediction(work, EMBEDDED[name]), actual)
    systems["ridge_restored"] = (prediction(work, "ridge/tokens_restored"), actual)
    mean = np.load(work.folder / "ridge" / "tokens_mean.npy")
    true = actual[:] - mean
    for name in ("ridge", "knn"):
        plain = prediction(work, EMBEDDED[name])
        systems[name] = (plain, actual)
        systems[f"{name}_centred"] = (plain - mean, true)
    return systems
