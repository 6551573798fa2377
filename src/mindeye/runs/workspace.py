"""A run's folder, configuration, subject and models, opened together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mindeye.config import RunConfig
from mindeye.config.fingerprints import config_dict, differing_fields, filled
from mindeye.data.permutation import permuted_subject
from mindeye.data.splits import SPLITS
from mindeye.data.subject import Subject, load_subject
from mindeye.data.subject_checks import validate
from mindeye.errors import ConfigError, DataError
from mindeye.files import provenance, read_json, write_json
from mindeye.models.pipelines import Sizes
from mindeye.targets.autoencoders import Autoencoder, load_autoencoder
from mindeye.targets.encoders import Encoder, load_encoder
from mindeye.targets.store import read_embeddings
from mindeye.training.processes import Processes, join_processes
from mindeye.weights.names import found_models

WHEREABOUTS = ("weights", "evaluate.weights")
"""Fields that say where something lies; a run may go on with another value of them."""


@dataclass(frozen=True)
class Workspace:
    """What every stage works with.

    Parameters
    ----------
    folder
        The run's folder.
    config
        Its configuration.
    subject
        The prepared subject it decodes; under `config.permutation` with shuffled training pairs.
    processes
        This process among those that work on the run.
    """

    folder: Path
    config: RunConfig
    subject: Subject
    processes: Processes

    @property
    def device(self) -> torch.device:
        """Where networks run."""
        return self.processes.device

    @property
    def weights(self) -> Path | None:
        """Folder in which published models are looked up, None for the usual places."""
        return Path(self.config.weights) if self.config.weights else None

    @property
    def null(self) -> str:
        """What to say of a run that is a permutation null, empty for any other."""
        number = self.config.permutation
        if not number:
            return ""
        return (
            f"Permutation null {number}: brains and pictures were paired at random in training. "
            "These scores are what chance gives, not what can be decoded."
        )

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder whose embeddings are decoded."""
        targets = self.config.targets
        return load_encoder(
            targets.encoder, device=self.device, tokens=targets.tokens, weights=self.weights
        )

    @cached_property
    def vae(self) -> Autoencoder:
        """The autoencoder of the low-level pipeline."""
        targets = self.config.targets
        return load_autoencoder(
            targets.vae, device=self.device, size=targets.vae_size, weights=self.weights
        )

    @cached_property
    def maps_encoder(self) -> Encoder:
        """The encoder of the low-level pipeline's contrastive maps."""
        targets = self.config.targets
        if not targets.maps:
            return self.encoder
        return load_encoder(
            targets.maps, device=self.device, size=targets.maps_size, weights=self.weights
        )

    @property
    def sizes(self) -> Sizes:
        """Sizes that the data give the models."""
        voxels = self.subject.betas.shape[1]
        return Sizes(voxels, self.encoder.tokens, self.encoder.width, self.vae.shape)

    @cached_property
    def test_ids(self) -> list[str]:
        """All test stimuli."""
        return self.subject.splits["test"]

    @property
    def drawn_ids(self) -> list[str]:
        """Test stimuli that are drawn as pictures: all, or the first so many."""
        count = self.config.reconstruct.stimuli
        return self.test_ids[:count] if count else self.test_ids

    def rows(self, stimulus_ids: list[str]) -> NDArray[np.int64]:
        """Return rows of the embeddings store."""
        return np.array([self.subject.row_of_stimulus[s] for s in stimulus_ids])

    def store_fingerprint(self, model: Encoder | Autoencoder) -> str:
        """Return the identity of embeddings: model, weights, versions and pictures."""
        return f"{model.fingerprint}-{self.subject.fingerprint}"

    def embeddings(self, name: str) -> NDArray[np.floating]:
        """Open stored embeddings of all stimuli: tokens, a view of them, maps, or latents.

        They are of the type that is stored, float32 or float16.
        """
        model: Encoder | Autoencoder = self.encoder
        if name == "latents":
            model = self.vae
        elif name.startswith("maps"):
            model = self.maps_encoder
        return read_embeddings(
            self.folder / "embed", name, fingerprint=self.store_fingerprint(model)
        )

    def mean_betas(self, stimulus_ids: list[str]) -> torch.Tensor:
        """Return betas (S, V) averaged over repeats."""
        return torch.from_numpy(self.subject.mean_betas(stimulus_ids))


def start_run(config: RunConfig, subject_dir: Path, folder: Path) -> Workspace:
    """Open a run folder for a configuration, a new one or one with the same configuration.

    Raises
    ------
    ConfigError
        If the folder holds a run with another configuration or another subject.
    DataError
        If the subject is not a sound prepared subject, or the folder holds something else.
    """
    subject = load_subject(subject_dir)
    problems = validate(subject)
    if problems:
        raise DataError(f"{subject_dir}: {problems[0]}")
    empty = [name for name in SPLITS if not subject.splits[name]]
    if empty:
        raise DataError(
            f"{subject_dir} has no {empty[0]} stimuli; a run needs train, val and test, prepare it "
            "with another --test"
        )
    content = {
        "config": config_dict(config),
        "subject_dir": str(Path(subject_dir).resolve()),
        "subject": subject.fingerprint,
    }
    processes = join_processes(config.device)
    path = folder / "run.json"
    if processes.is_first and not path.is_file():
        if folder.is_dir() and any(
            p for p in folder.iterdir() if p.resolve() != subject.path.resolve()
        ):
            raise DataError(f"{folder} is not empty and not a run; give another --out")
        write_json(path, {**content, "models": found_models(config), **provenance()})
    processes.wait()
    _same_run(read_json(path), content, folder)
    return Workspace(folder, config, permuted_subject(subject, config.permutation), processes)


def _same_run(known: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    different = [
        name
        for name in differing_fields(
            filled(known["config"], config_dict(RunConfig())), wanted["config"]
        )
        if name not in WHEREABOUTS
    ]
    if different:
        raise ConfigError(
            f"{folder} holds a run with another configuration (it differs in "
            f"{', '.join(different[:4])}); give another --out, or --resume to go on with its own"
        )
    if known["subject"] != wanted["subject"]:
        raise ConfigError(
            f"{folder} holds a run on another subject ({known['subject_dir']}); give another --out"
        )


def open_run(folder: Path, parse: Any) -> Workspace:
    """Open an existing run with the configuration stored in it.

    Parameters
    ----------
    folder
        The run's folder.
    parse
        Turns a plain dictionary into a RunConfig, checking every field.

    Raises
    ------
    DataError
        If the folder holds no run.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise DataError(f"{folder} holds no run (no run.json); start one with `mindeye run`")
    known = read_json(path)
    return start_run(parse(known["config"]), Path(known["subject_dir"]), folder)
