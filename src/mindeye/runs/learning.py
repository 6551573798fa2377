"""Stages that learn: both pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mindeye.config import OptimConfig
from mindeye.data.dataset import TrainingSet
from mindeye.errors import CheckpointError, DataError
from mindeye.files import read_json, sha256, write_json
from mindeye.models.lowlevel import LowLevelDecoder
from mindeye.models.pipelines import (
    HighLevel,
    build_low,
    describe_model,
    load_weights,
    read_description,
    save_model,
)
from mindeye.published.adopted import adopt_high, adopt_low
from mindeye.runs.embedding import maps_names, maps_shape, refuse_misfits
from mindeye.runs.workspace import Workspace
from mindeye.targets.views import (
    RecomputedTargets,
    StoredTargets,
    TargetSource,
    moments,
    view_names,
)
from mindeye.training.checkpoint import discard_checkpoints
from mindeye.training.high import HighObjective
from mindeye.training.loop import train
from mindeye.training.low import LowObjective
from mindeye.training.objective import Objective
from mindeye.training.validation import Validation


def _validation(work: Workspace, optim: OptimConfig, name: str) -> Validation:
    ids = work.subject.splits[optim.validate_on]
    if not ids:
        raise DataError(
            f"{work.subject.path} has no {optim.validate_on} split; prepare it again with one"
        )
    rows = torch.from_numpy(work.rows(ids))
    return Validation(work.mean_betas(ids), rows, work.embeddings(name))


def _train(
    work: Workspace, objective: Objective[Any], optim: OptimConfig, folder: Path, key: str
) -> None:
    train(
        objective,
        TrainingSet(work.subject, work.subject.splits["train"]),
        optim,
        folder,
        seed=work.config.seed,
        key=key,
        processes=work.processes,
    )


def _targets(work: Workspace) -> TargetSource:
    """Return what the high-level pipeline is trained towards: stored, cached or new views."""
    augmentation = work.config.targets.augmentation
    if augmentation == "recomputed":
        encoder = work.encoder
        return RecomputedTargets(
            encoder.encode, work.subject.pictures, size=encoder.size, device=work.device
        )
    if augmentation == "cached":
        names = view_names(work.config.targets.views)
        return StoredTargets([work.embeddings(name) for name in names])
    return StoredTargets([work.embeddings("tokens")])


def train_high(work: Workspace, key: str) -> None:
    """Train backbone, projector and prior jointly, or look at the weights that are given."""
    config, folder = work.config.high, work.folder / "high"
    if not work.config.high_enabled:
        return
    refuse_misfits(work)
    if config.weights:
        if work.processes.is_first:
            _note_weights(folder, Path(config.weights))
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(work.config.seed)  # torch initialises modules from its global state
        model = HighLevel(work.sizes, config)
    if config.prior.standardise:
        rows = work.rows(work.subject.splits["train"])
        model.set_units(*moments(work.embeddings("tokens"), rows))
    validation = _validation(work, config.optim, "tokens")
    _train(
        work, HighObjective(model, config, _targets(work), validation), config.optim, folder, key
    )
    if work.processes.is_first:
        save_model(model, folder, describe_model("high", work.sizes, config))
        discard_checkpoints(folder)


def load_high(work: Workspace) -> HighLevel:
    """Load the trained high-level pipeline."""
    config, folder = work.config.high, work.folder / "high"
    if config.weights:
        _check_weights(folder, Path(config.weights))
        return adopt_high(Path(config.weights), work.sizes, config).to(work.device)
    read_description(folder)
    model = HighLevel(work.sizes, config)
    load_weights(model, folder)
    return model.to(work.device).eval()


def train_low(work: Workspace, key: str) -> None:
    """Train the low-level pipeline, or look at the weights that are given."""
    config, folder = work.config.low, work.folder / "low"
    if not work.config.low_enabled:
        return
    if config.weights:
        if work.processes.is_first:
            adopt_low(Path(config.weights), work.sizes)
            _note_weights(folder, Path(config.weights))
        return
    shape = maps_shape(work)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(work.config.seed)
        model = build_low(work.sizes, config, shape)
    maps = None
    if shape is not None:
        views = (work.embeddings(name) for name in maps_names(work))
        plain, recoloured = (StoredTargets([view[:, -shape[0] :]]) for view in views)
        maps = (plain, recoloured)
    latents = StoredTargets([work.embeddings("latents")])
    validation = _validation(work, config.optim, "latents")
    objective = LowObjective(model, config, latents, maps, validation)
    _train(work, objective, config.optim, folder, key)
    if work.processes.is_first:
        save_model(model, folder, describe_model("low", work.sizes, config, maps=shape))
        discard_checkpoints(folder)


def load_low(work: Workspace) -> LowLevelDecoder:
    """Load the trained low-level pipeline."""
    config, folder = work.config.low, work.folder / "low"
    if config.weights:
        _check_weights(folder, Path(config.weights))
        return adopt_low(Path(config.weights), work.sizes).to(work.device)
    read_description(folder)
    model = build_low(work.sizes, config, maps_shape(work))
    load_weights(model, folder)
    return model.to(work.device).eval()


def _note_weights(folder: Path, weights: Path) -> None:
    content = {"folder": str(weights.resolve()), "sha256": _digests(weights)}
    write_json(folder / "weights.json", content)


def _check_weights(folder: Path, weights: Path) -> None:
    """Refuse weights that changed since the stage looked at them."""
    noted = read_json(folder / "weights.json")["sha256"]
    if _digests(weights) != noted:
        raise CheckpointError(
            f"{weights} is not what it was when this run began; start a new run with it"
        )


def _digests(weights: Path) -> dict[str, str | None]:
    """Return the SHA-256 of both files of an imported checkpoint, None for one that is gone."""
    paths = [weights / name for name in ("config.json", "model.safetensors")]
    return {path.name: sha256(path) if path.is_file() else None for path in paths}
