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

from mindeye.decoding.baselines import NeighbourDecoder, RidgeDecoder
from mindeye.files import write_array, write_json
from mindeye.models.ridge import Floats, Lambdas, restore
from mindeye.runs.workspace import Workspace

RESTORED = "mean and deviation of the test predictions themselves, as published (transductive)"


def ridge(work: Workspace) -> None:
    """Predict the test stimuli by ridge regression and by nearest neighbours."""
    folder, seed = work.folder / "ridge", work.config.seed
    choices: dict[str, Any] = {}
    for target in ("tokens", "latents"):
        decoder = RidgeDecoder(target=target, seed=seed).fit_embedded(work.embedded)
        predicted, columns = decoder.predicted(work.test_betas), decoder.columns_
        write_array(folder / f"{target}.npy", predicted.plain.reshape(-1, *columns.shape))
        write_array(folder / f"{target}_mean.npy", predicted.mean.reshape(columns.shape))
        restored = _restored(predicted.plain, predicted.mean, predicted.deviation, columns.block)
        write_array(folder / f"{target}_restored.npy", restored.reshape(-1, *columns.shape))
        choices[target] = _described(decoder.lambdas_)
    neighbours = NeighbourDecoder(seed=seed).fit_embedded(work.embedded)
    alike = neighbours.predict(work.test_betas, ids=work.test_ids)
    write_array(folder / "knn_tokens.npy", alike.tokens)
    content = {"stimulus_ids": work.test_ids, "nearest": alike.nearest}
    write_json(folder / "knn_nearest.json", content)
    found_k = neighbours.neighbours_
    choices["knn"] = {"k": found_k.count, "held_out_cosine": found_k.scores}
    write_json(folder / "chosen.json", {**choices, "restored_by": RESTORED})


def _restored(plain: Floats, mean: Floats, deviation: Floats, block: int) -> Floats:
    """Restore a block of targets at a time, since that takes float64."""
    restored = np.empty_like(plain)
    for first in range(0, plain.shape[1], block):
        part = slice(first, first + block)
        restored[:, part] = restore(plain[:, part], mean[part], deviation[part])
    return restored


def _described(lambdas: Lambdas) -> dict[str, Any]:
    values, counts = np.unique(lambdas.values, return_counts=True)
    described: dict[str, Any] = {"held_out_r2": lambdas.score, "targets": lambdas.targets}
    if len(lambdas.values) == 1:
        return {"lambda": float(values[0]), **described}
    pairs = zip(values, counts, strict=True)
    return {"lambdas": {f"{value:.4g}": int(count) for value, count in pairs}, **described}
