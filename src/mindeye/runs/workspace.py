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
from mindeye.data.images import to_images
from mindeye.data.permutation import permuted_subject
from mindeye.data.preprocess import betas_problems
from mindeye.data.splits import SPLITS
from mindeye.data.subject import Subject, load_subject
from mindeye.data.subject_checks import betas_checked, validate_tables
from mindeye.decoding.brain import BrainDecoder
from mindeye.decoding.estimator import REFERENCE_IMAGES
from mindeye.decoding.low_level import LowLevelDecoder
from mindeye.decoding.reconstructor import generator_of
from mindeye.decoding.spaces import EmbeddedSubject, TargetSpaces
from mindeye.errors import ConfigError, DataError
from mindeye.files import provenance, read_json, write_json
from mindeye.generation.generators import Generator
from mindeye.models.sizes import Sizes
from mindeye.processes import Processes, join_processes
from mindeye.targets.autoencoders import Autoencoder
from mindeye.targets.encoders import Encoder
from mindeye.weights.names import found_models

FEWEST_TEST = 2
"""Test stimuli: identification is of one among others."""

WHEREABOUTS = ("weights", "evaluate.weights")
"""Fields that say where something lies; a run may go on with another value of them."""


@dataclass
class Workspace:
    """What every stage works with.

    Parameters
    ----------
    folder
        The run's folder.
    config
        Configuration of the run.
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
    def spaces(self) -> TargetSpaces:
        """The embedding spaces that the brain is decoded into."""
        return TargetSpaces(self.config.targets, self.device, self.weights)

    @cached_property
    def embedded(self) -> EmbeddedSubject:
        """The subject and the embeddings of its stimuli, which the stage `embed` writes."""
        return EmbeddedSubject(self.subject, self.spaces, self.folder / "embed", self.config.seed)

    @property
    def encoder(self) -> Encoder:
        """The encoder whose embeddings are decoded."""
        return self.spaces.encoder

    @property
    def vae(self) -> Autoencoder:
        """The autoencoder of the low-level pipeline."""
        return self.spaces.vae

    @property
    def sizes(self) -> Sizes:
        """Sizes that the data give the networks."""
        return self.spaces.sizes(self.subject.betas.shape[1])

    @cached_property
    def decoder(self) -> BrainDecoder:
        """The trained high-level decoder."""
        return BrainDecoder.of_run(self.embedded, self.config.high, self.folder / "high")

    @cached_property
    def low_decoder(self) -> LowLevelDecoder:
        """The trained low-level decoder."""
        return LowLevelDecoder.of_run(self.embedded, self.config.low, self.folder / "low")

    @cached_property
    def generator(self) -> Generator | None:
        """The generator that draws, None where the run has none."""
        subject = self.subject
        measured = subject.pictures_of(subject.splits["train"][:REFERENCE_IMAGES])
        return generator_of(
            self.config.targets.generator,
            self.spaces,
            self.config.reconstruct,
            to_images(measured),
        )

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
        """Return the rows of stimuli in the embedding store."""
        return self.embedded.rows(stimulus_ids)

    def embeddings(self, name: str) -> NDArray[np.floating]:
        """Open embeddings of all stimuli: tokens, a view of them, maps, or latents."""
        return self.embedded.embeddings(name)

    @cached_property
    def test_betas(self) -> NDArray[np.float32]:
        """Betas (S, V) of the test stimuli, averaged over their repeats."""
        return self.subject.betas_of(self.test_ids)


def start_run(config: RunConfig, subject_dir: Path, folder: Path) -> Workspace:
    """Open a run folder for a configuration, a new one or one with the same configuration.

    Parameters
    ----------
    config
        Configuration of the run, as `run_config` returns it.
    subject_dir
        Folder of the prepared subject that is decoded.
    folder
        Folder of the run, which is made if it is not there.

    Raises
    ------
    ConfigError
        If the folder holds a run with another configuration or another subject.
    DataError
        If the subject is not a sound prepared subject, or the folder holds something else.
    """
    subject, path = load_subject(subject_dir), folder / "run.json"
    problems = validate_tables(subject)
    # A run that is there was begun with these betas: its record names their fingerprint.
    if not problems and not path.is_file() and not betas_checked(subject):
        problems = betas_problems(subject.betas)
    if problems:
        raise DataError(f"{subject_dir}: {problems[0]}")
    empty = [name for name in SPLITS if not subject.splits[name]]
    if empty:
        raise DataError(
            f"{subject_dir} has no {empty[0]} stimuli; a run needs train, val and test, prepare it "
            "with another --test"
        )
    if len(subject.splits["test"]) < FEWEST_TEST:
        raise DataError(
            f"{subject_dir} has 1 test stimulus; there is nothing to tell it from, prepare it with "
            "another --test"
        )
    content = {
        "config": config_dict(config),
        "subject_dir": str(Path(subject_dir).resolve()),
        "subject": subject.fingerprint,
    }
    processes = join_processes(config.device)
    if processes.is_first and not path.is_file():
        if folder.is_dir() and any(
            p for p in folder.iterdir() if p.resolve() != subject.path.resolve()
        ):
            raise DataError(f"{folder} is not empty and not a run; give another --out")
        write_json(path, {**content, "models": found_models(config), **provenance()})
    processes.wait()
    _same_run(read_json(path), content, folder)
    return Workspace(folder, config, permuted_subject(subject, config.permutation), processes)


def _same_run(known: dict[str, Any], expected: dict[str, Any], folder: Path) -> None:
    different = [
        name
        for name in differing_fields(
            filled(known["config"], config_dict(RunConfig())), expected["config"]
        )
        if name not in WHEREABOUTS
    ]
    if different:
        raise ConfigError(
            f"{folder} holds a run with another configuration (it differs in "
            f"{', '.join(different[:4])}); give another --out, or --resume to go on with its own"
        )
    if known["subject"] != expected["subject"]:
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
