"""Stages that learn: embeddings of the stimuli, the ridge baseline, both pipelines."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from pathlib import Path

import numpy as np
import torch

from mindeye.config import OptimConfig
from mindeye.data.dataset import TrainingSet
from mindeye.errors import DataError
from mindeye.fingerprints import config_hash
from mindeye.models.lowlevel import LowLevelDecoder
from mindeye.models.pipelines import (
    HighLevel,
    build_low,
    describe_model,
    load_weights,
    read_description,
    save_model,
)
from mindeye.models.ridge import fit_ridge
from mindeye.runs import write_array, write_json
from mindeye.stages.workspace import Workspace
from mindeye.targets.augment import recolour
from mindeye.targets.autoencoders import Autoencoder
from mindeye.targets.encoders import Encoder
from mindeye.targets.store import write_embeddings
from mindeye.training.loop import Objective, discard_checkpoint, train
from mindeye.training.objectives import HighObjective, LowObjective, Validation


def embed(work: Workspace) -> None:
    """Embed every stimulus: tokens, tokens of a recoloured view, latents."""
    folder = work.folder / "embed"
    encoder, vae, pictures = work.encoder, work.vae, work.subject.pictures
    seed, size = work.config.seed, work.config.targets.batch_size

    def encode_recoloured(images: torch.Tensor) -> torch.Tensor:
        return encoder.encode(recolour(images, seed=seed))

    jobs: dict[str, tuple[Encoder | Autoencoder, Callable[[torch.Tensor], torch.Tensor]]] = {
        "tokens": (encoder, encoder.encode),
        "latents": (vae, vae.encode),
    }
    if maps_shape(work) is not None:
        jobs["tokens_recoloured"] = (encoder, encode_recoloured)
    for name, (model, encode) in jobs.items():
        write_embeddings(
            folder,
            name,
            encode,
            pictures,
            fingerprint=work.store_fingerprint(model),
            batch_size=size,
        )


def maps_shape(work: Workspace) -> tuple[int, int] | None:
    """Return (P, M) of the maps the low-level pipeline is contrasted with, None for none.

    The maps are the encoder's patch tokens, without a class token where there is one.
    """
    if not work.config.low_enabled or work.config.low.contrastive_weight == 0:
        return None
    tokens = work.encoder.tokens
    patches = tokens if isqrt(tokens) ** 2 == tokens else tokens - 1
    return (patches, work.encoder.width)


def ridge(work: Workspace) -> None:
    """Fit one ridge regression to tokens and latents and predict the test stimuli."""
    folder = work.folder / "ridge"
    train_ids = work.subject.splits["train"]
    betas, test = work.mean_betas(train_ids).numpy(), work.mean_betas(work.test_ids).numpy()
    rows = work.rows(train_ids)
    names = ("tokens", "latents")
    targets = {n: np.asarray(work.embeddings(n)[rows]).reshape(len(rows), -1) for n in names}
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


def _validation(work: Workspace) -> Validation:
    ids = work.subject.splits["val"]
    if not ids:
        raise DataError(f"{work.subject.path} has no val split; prepare it again with one")
    return Validation(work.mean_betas(ids), torch.from_numpy(work.rows(ids)))


def _train(work: Workspace, objective: Objective, optim: OptimConfig, folder: Path) -> None:
    train(
        objective,
        TrainingSet(work.subject, work.subject.splits["train"]),
        optim,
        folder,
        seed=work.config.seed,
        key=config_hash(work.config, work.subject.fingerprint),
        device=work.device,
    )


def train_high(work: Workspace) -> None:
    """Train backbone, projector and prior jointly."""
    folder = work.folder / "high"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(work.config.seed)  # torch initialises modules from its global state
        model = HighLevel(work.sizes, work.config.high)
    tokens = torch.from_numpy(np.array(work.embeddings("tokens")))
    if work.config.high.prior.standardise:
        model.standardise(tokens[work.rows(work.subject.splits["train"])])
    objective = HighObjective(model, work.config.high, tokens, _validation(work))
    _train(work, objective, work.config.high.optim, folder)
    save_model(model, folder, describe_model("high", work.sizes, work.config.high))
    discard_checkpoint(folder)


def load_high(work: Workspace) -> HighLevel:
    """Load the trained high-level pipeline."""
    folder = work.folder / "high"
    read_description(folder)
    model = HighLevel(work.sizes, work.config.high)
    load_weights(model, folder)
    return model.to(work.device).eval()


def train_low(work: Workspace) -> None:
    """Train the low-level pipeline, where it is switched on."""
    if not work.config.low_enabled:
        return
    folder = work.folder / "low"
    shape = maps_shape(work)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(work.config.seed)
        model = build_low(work.sizes, work.config.low, shape)
    maps = None
    if shape is not None:
        views = (work.embeddings(name) for name in ("tokens", "tokens_recoloured"))
        plain, recoloured = (torch.from_numpy(np.array(v[:, -shape[0] :])) for v in views)
        maps = (plain, recoloured)
    latents = torch.from_numpy(np.array(work.embeddings("latents")))
    objective = LowObjective(model, work.config.low, latents, maps, _validation(work))
    _train(work, objective, work.config.low.optim, folder)
    save_model(model, folder, describe_model("low", work.sizes, work.config.low, maps=shape))
    discard_checkpoint(folder)


def load_low(work: Workspace) -> LowLevelDecoder:
    """Load the trained low-level pipeline."""
    folder = work.folder / "low"
    read_description(folder)
    model = build_low(work.sizes, work.config.low, maps_shape(work))
    load_weights(model, folder)
    return model.to(work.device).eval()
