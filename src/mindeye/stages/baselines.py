"""Stage of the baselines: what linear maps and neighbours make of the same split."""

from __future__ import annotations

import numpy as np

from mindeye.models.ridge import fit_ridge
from mindeye.runs import write_array, write_json
from mindeye.stages.workspace import Workspace


def ridge(work: Workspace) -> None:
    """Fit one ridge regression to tokens and latents and predict the test stimuli."""
    folder = work.folder / "ridge"
    train_ids = work.subject.splits["train"]
    betas, test = work.mean_betas(train_ids).numpy(), work.mean_betas(work.test_ids).numpy()
    rows = work.rows(train_ids)
    names = ("tokens", "latents")
    stored = {n: np.asarray(work.embeddings(n)[rows], dtype=np.float32) for n in names}
    targets = {n: values.reshape(len(rows), -1) for n, values in stored.items()}
    model = fit_ridge(betas, np.concatenate(list(targets.values()), axis=1), seed=work.config.seed)
    plain, restored = model.predict(test), model.predict_restored(test)
    first = 0
    for name, target in targets.items():
        columns = slice(first, first + target.shape[1])
        first = columns.stop
        shape = work.embeddings(name).shape[1:]
        write_array(folder / f"{name}.npy", plain[:, columns].reshape(-1, *shape))
        write_array(folder / f"{name}_restored.npy", restored[:, columns].reshape(-1, *shape))
        write_array(folder / f"{name}_mean.npy", target.mean(axis=0).reshape(shape))
    write_json(folder / "chosen.json", {"lambda": model.regularisation})
