"""Training of both pipelines on an embedded subject, and their weights from and to folders."""

from __future__ import annotations

from pathlib import Path

import torch

from mindeye.config import HighConfig, LowConfig, OptimConfig
from mindeye.data.dataset import TrainingSet
from mindeye.decoding.spaces import EmbeddedSubject
from mindeye.errors import CheckpointError, DataError
from mindeye.files import read_json, sha256, write_json
from mindeye.models.lowlevel import LowLevel as LowLevelNetwork
from mindeye.models.pipelines import (
    HighLevel,
    describe_model,
    load_weights,
    read_description,
    save_model,
)
from mindeye.models.sizes import Sizes
from mindeye.processes import Processes
from mindeye.published.adopted import adopt_high, adopt_low
from mindeye.targets.views import StoredTargets, moments
from mindeye.training.checkpoint import discard_checkpoints
from mindeye.training.high import HighObjective
from mindeye.training.loop import train
from mindeye.training.low import LowObjective
from mindeye.training.objective import Objective, Validation


def fit_high(
    data: EmbeddedSubject, config: HighConfig, folder: Path, *, key: str, processes: Processes
) -> HighLevel:
    """Train backbone, projector and prior jointly, or take the weights that `config` names.

    Parameters
    ----------
    data
        Subject and embeddings of its stimuli; its seed decides initial weights, batches and noise.
    config
        High-level pipeline.
    folder
        Folder of checkpoints while training, and of the model afterwards. A training that was cut
        off goes on from it.
    key
        Hash of configuration and data; checkpoints of another key are left alone.
    processes
        Process group; every process makes this call, the first one writes.

    Returns
    -------
    HighLevel
        The trained pipeline, in evaluation mode.
    """
    sizes = data.spaces.sizes(data.subject.betas.shape[1])
    if config.weights:
        model = adopt_high(Path(config.weights), sizes, config)
        if processes.is_first:
            _record_weights(folder, Path(config.weights))
        return model.to(processes.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(data.seed)  # torch initialises modules from its global state
        model = HighLevel(config, sizes)
    if config.prior.standardise:
        rows = data.rows(data.subject.splits["train"])
        model.set_units(*moments(data.embeddings("tokens"), rows))
    validation = _validation(data, config.optim, "tokens")
    objective = HighObjective(model, config, data.targets(), validation)
    _train(data, objective, config.optim, folder, key, processes)
    if processes.is_first:
        save_model(model, folder, describe_model("high", sizes, config))
        discard_checkpoints(folder)
    model.zero_grad(set_to_none=True)  # gradients are as large as the weights
    return model.eval()


def load_high(folder: Path, sizes: Sizes, config: HighConfig, device: torch.device) -> HighLevel:
    """Load a trained high-level pipeline from its folder.

    Parameters
    ----------
    folder
        Folder that `fit_high` wrote.
    sizes
        Voxels, tokens and latents of the data.
    config
        Configuration that it was trained under.
    device
        Device that it is put on.

    Raises
    ------
    CheckpointError
        If there is no model, it does not fit, or imported weights have changed since.
    """
    if config.weights:
        _check_weights(folder, Path(config.weights))
        return adopt_high(Path(config.weights), sizes, config).to(device)
    read_description(folder)
    model = HighLevel(config, sizes)
    load_weights(model, folder)
    return model.to(device).eval()


def fit_low(
    data: EmbeddedSubject, config: LowConfig, folder: Path, *, key: str, processes: Processes
) -> LowLevelNetwork:
    """Train the low-level pipeline, or take the weights that `config` names.

    Parameters and return value are those of `fit_high`.
    """
    sizes = data.spaces.sizes(data.subject.betas.shape[1])
    if config.weights:
        model = adopt_low(Path(config.weights), sizes)
        if processes.is_first:
            _record_weights(folder, Path(config.weights))
        return model.to(processes.device)
    shape = data.spaces.maps_shape(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(data.seed)
        model = LowLevelNetwork(config, sizes, shape)
    maps = None
    if shape is not None:
        views = (data.embeddings(name) for name in data.spaces.maps_names())
        plain, recoloured = (StoredTargets([view[:, -shape[0] :]]) for view in views)
        maps = (plain, recoloured)
    latents = StoredTargets([data.embeddings("latents")])
    validation = _validation(data, config.optim, "latents")
    objective = LowObjective(model, config, latents, maps, validation)
    _train(data, objective, config.optim, folder, key, processes)
    if processes.is_first:
        save_model(model, folder, describe_model("low", sizes, config, maps=shape))
        discard_checkpoints(folder)
    model.zero_grad(set_to_none=True)
    return model.eval()


def load_low(
    folder: Path,
    sizes: Sizes,
    config: LowConfig,
    maps: tuple[int, int] | None,
    device: torch.device,
) -> LowLevelNetwork:
    """Load a trained low-level pipeline; `maps` are (P, M) of its contrast, see `load_high`."""
    if config.weights:
        _check_weights(folder, Path(config.weights))
        return adopt_low(Path(config.weights), sizes).to(device)
    read_description(folder)
    model = LowLevelNetwork(config, sizes, maps)
    load_weights(model, folder)
    return model.to(device).eval()


def refuse_misfits(sizes: Sizes, high: HighConfig | None, low: LowConfig | None) -> None:
    """Refuse imported weights that do not fit the data, before anything is trained.

    Raises
    ------
    CheckpointError
        As `adopt_high` and `adopt_low`.
    """
    if high is not None and high.weights:
        adopt_high(Path(high.weights), sizes, high)
    if low is not None and low.weights:
        adopt_low(Path(low.weights), sizes)


def _validation(data: EmbeddedSubject, optim: OptimConfig, name: str) -> Validation:
    ids = data.subject.splits[optim.validate_on]
    if not ids:
        raise DataError(
            f"{data.subject.path} has no {optim.validate_on} split; prepare it again with one"
        )
    return Validation(data.mean_betas(ids), torch.from_numpy(data.rows(ids)), data.embeddings(name))


def _train(
    data: EmbeddedSubject,
    objective: Objective,
    optim: OptimConfig,
    folder: Path,
    key: str,
    processes: Processes,
) -> None:
    train(
        objective,
        TrainingSet(data.subject, data.subject.splits["train"]),
        optim,
        folder,
        seed=data.seed,
        key=key,
        processes=processes,
    )


def _record_weights(folder: Path, weights: Path) -> None:
    content = {"folder": str(weights.resolve()), "sha256": _digests(weights)}
    write_json(folder / "weights.json", content)


def _check_weights(folder: Path, weights: Path) -> None:
    """Refuse imported weights that changed since the training stage looked at them."""
    if _digests(weights) != read_json(folder / "weights.json")["sha256"]:
        raise CheckpointError(
            f"{weights} is not what it was when this run began; start a new run with it"
        )


def _digests(weights: Path) -> dict[str, str | None]:
    """Return the SHA-256 of both files of an imported checkpoint, None for one that is gone."""
    paths = [weights / name for name in ("config.json", "model.safetensors")]
    return {path.name: sha256(path) if path.is_file() else None for path in paths}
