"""Stage of the baselines: what linear maps and neighbours make of the same split.

::

    RUN/ridge/tokens.npy            (M, K, D) ridge predictions of the test stimuli
        tokens_restored.npy         the same at the spread of the training targets
        tokens_mean.npy             (K, D) mean of the training targets
        latents*.npy                the same of the autoencoder's latents (M, C, h, w)
        knn_tokens.npy              (M, K, D) mean tokens of the k training stimuli with the most
                                    alike betas
        knn_nearest.json            the nearest training stimulus of every test stimulus
        chosen.json                 lambdas, k, and the scores that chose them
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.files import write_array, write_json
from mindeye.models.columns import Columns
from mindeye.models.neighbours import choose_count, nearest, predict_by_neighbours
from mindeye.models.ridge import (
    TARGETS_FOR_LAMBDA,
    Floats,
    Kernel,
    Lambdas,
    choose_lambdas,
    linear_kernel,
    predict_ridge,
    restore,
)
from mindeye.runs.workspace import Workspace

EACH_UP_TO = 20_000
"""Latents that get a lambda each; those of Stable Diffusion at 512 pixels are 16,384."""
RESTORED = "mean and deviation of the test predictions themselves, as published (transductive)"


def ridge(work: Workspace) -> None:
    """Predict the test stimuli by ridge regression and by nearest neighbours.

    Tokens share one lambda and latents have one each: on the demo's subject a lambda a token gave
    no better held-out R2, one a latent did.
    """
    folder = work.folder / "ridge"
    train_ids = work.subject.splits["train"]
    betas, test = work.mean_betas(train_ids).numpy(), work.mean_betas(work.test_ids).numpy()
    columns = {n: Columns(work.embeddings(n), work.rows(train_ids)) for n in ("tokens", "latents")}
    kernel = linear_kernel(betas, test)
    chosen: dict[str, Any] = {
        name: _ridge(work, name, columns[name], kernel) for name in ("tokens", "latents")
    }
    sample = columns["tokens"].pick(_sampled(columns["tokens"].count, work.config.seed))
    found = choose_count(betas, sample, seed=work.config.seed)
    rows = nearest(betas, test, found.count)
    means = predict_by_neighbours(rows, columns["tokens"], "neighbours: tokens")
    write_array(folder / "knn_tokens.npy", means.reshape(-1, *columns["tokens"].shape))
    alike = {"stimulus_ids": work.test_ids, "nearest": [train_ids[row] for row in rows[:, 0]]}
    write_json(folder / "knn_nearest.json", alike)
    chosen["knn"] = {"k": found.count, "held_out_cosine": found.scores}
    write_json(folder / "chosen.json", {**chosen, "restored_by": RESTORED})


def _ridge(work: Workspace, name: str, columns: Columns, kernel: Kernel) -> dict[str, Any]:
    """Write ridge predictions of one kind of targets; return how lambda was chosen."""
    folder, seed = work.folder / "ridge", work.config.seed
    each = name == "latents" and columns.count <= EACH_UP_TO
    picked = np.arange(columns.count) if each else _sampled(columns.count, seed)
    lambdas = choose_lambdas(kernel, columns.pick(picked), each=each, seed=seed)
    found = predict_ridge(kernel, lambdas, columns, f"ridge: {name}")
    write_array(folder / f"{name}.npy", found.plain.reshape(-1, *columns.shape))
    write_array(folder / f"{name}_mean.npy", found.mean.reshape(columns.shape))
    restored = _restored(found.plain, found.mean, found.deviation, columns.block)
    write_array(folder / f"{name}_restored.npy", restored.reshape(-1, *columns.shape))
    return _described(lambdas, each)


def _sampled(count: int, seed: int) -> NDArray[np.int64]:
    size = min(count, TARGETS_FOR_LAMBDA)
    return np.sort(np.random.default_rng(seed).choice(count, size=size, replace=False))


def _restored(plain: Floats, mean: Floats, deviation: Floats, block: int) -> Floats:
    """Restore a block of targets at a time, since that takes float64."""
    restored = np.empty_like(plain)
    for first in range(0, plain.shape[1], block):
        part = slice(first, first + block)
        restored[:, part] = restore(plain[:, part], mean[part], deviation[part])
    return restored


def _described(lambdas: Lambdas, each: bool) -> dict[str, Any]:
    values, counts = np.unique(lambdas.values, return_counts=True)
    described: dict[str, Any] = {"held_out_r2": lambdas.score, "targets": lambdas.targets}
    if not each:
        return {"lambda": float(values[0]), **described}
    pairs = zip(values, counts, strict=True)
    return {"lambdas": {f"{value:.4g}": int(count) for value, count in pairs}, **described}
