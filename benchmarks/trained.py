"""A trained prior and the test brains it is sampled for, opened together."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.systems import System, with_attention
from mindeye.config.high import Attention
from mindeye.config.settings import preset_content, run_config
from mindeye.data.simulate import simulate_subject
from mindeye.data.simulation import SimulateConfig
from mindeye.errors import ConfigError, UsageError
from mindeye.files import read_json
from mindeye.generation.predict import embed_brains, sample_prior
from mindeye.models.pipelines import HighLevel
from mindeye.runs import Workspace, open_run, run_all, start_run
from mindeye.seeds import derive_seed
from mindeye.targets.views import moments


@dataclass(frozen=True)
class PriorBenchConfig:
    """What is measured.

    Parameters
    ----------
    stimuli
        Test stimuli, 0 for all.
    samples
        Start noises a stimulus, at least 2.
    steps
        Step counts of the few-step samplers.
    repetitions
        Timings of each system.
    singles
        Samples that are drawn one at a time in a timing.
    batch
        Samples that are drawn together in a timing.
    paper_size
        Also time the published size with random weights.
    seed
        Of all noise and of the bootstrap.
    """

    stimuli: int = 0
    samples: int = 8
    steps: tuple[int, ...] = (4, 6, 8, 10, 12, 20)
    repetitions: int = 5
    singles: int = 4
    batch: int = 64
    paper_size: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ConfigError(f"samples is {self.samples}; a spread needs at least 2 a stimulus")
        if self.stimuli < 0 or self.stimuli == 1:
            raise ConfigError(f"stimuli is {self.stimuli}; give 0 for all, or at least 2")


@dataclass(frozen=True)
class Bench:
    """A trained prior and what it is asked.

    Parameters
    ----------
    work
        The run.
    models
        Its pipeline by way of attention, the same weights.
    condition
        (S, K, D) backbone tokens of the test stimuli.
    truth
        (S, K, D) their true embeddings.
    mean
        (K, D) mean training embedding.
    config
        What is measured.
    """

    work: Workspace
    models: dict[Attention, HighLevel]
    condition: Tensor
    truth: Tensor
    mean: Tensor
    config: PriorBenchConfig

    def seeds(self, draw: int, *, again: bool) -> list[int]:
        """Return a seed for every stimulus; other draws have other noise, systems the same."""
        return [
            derive_seed(self.config.seed, int(again), draw, stimulus)
            for stimulus in range(len(self.condition))
        ]

    def sample(
        self, system: System, seeds: list[int], *, count: int | None = None, batch_size: int = 128
    ) -> Tensor:
        """Return one sample for each of the first `count` stimuli, or of all."""
        # ancestral sampling takes all timesteps, whatever its configuration says
        steps = 1 if system.sampler == "ddpm" else system.steps
        return sample_prior(
            self.models[system.attention],
            self.condition[:count],
            replace(self.work.config.high.prior, sampler=system.sampler, sample_steps=steps),
            seeds=seeds[:count],
            device=self.work.device,
            batch_size=batch_size,
            precision=system.precision,
        )


@contextlib.contextmanager
def opened_run(
    run: Path | None, folder: Path | None, preset: str, seed: int, words: Sequence[str] = ()
) -> Iterator[Workspace]:
    """Open a run that is there, or train one: in `folder`, else in a temporary one.

    Parameters
    ----------
    run
        A run with a trained high-level pipeline.
    folder, preset, seed, words
        As for `trained_run`, where there is none.

    Raises
    ------
    UsageError
        If a run is given together with what only a training needs.
    """
    if run is not None:
        if folder is not None or words:
            extra = "--work" if folder is not None else words[0]
            raise UsageError(f"--run is trained already; leave out {extra}")
        yield open_run(run, run_config)
    elif folder is not None:
        yield trained_run(folder, preset, seed, words)
    else:
        with tempfile.TemporaryDirectory(prefix="mindeye-bench-") as temporary:
            yield trained_run(Path(temporary), preset, seed, words)


def trained_run(
    folder: Path,
    preset: str,
    seed: int,
    words: Sequence[str] = (),
    simulation: SimulateConfig | None = None,
) -> Workspace:
    """Simulate a subject and train the high-level pipeline on it; a second call goes on.

    Parameters
    ----------
    folder
        Gets `subject` and `run`.
    preset
        Of the run; its low-level pipeline is left out.
    seed
        Of the subject and of the run.
    words
        Like ``high.optim.epochs=20``, over the preset.
    simulation
        Of the subject; the demo's if left out.

    Raises
    ------
    ConfigError
        If the folder holds a subject or a run of another seed or configuration.
    """
    config = run_config(preset_content(preset), [f"seed={seed}", "low_enabled=false", *words])
    subject = folder / "subject"
    if not (subject / "subject.json").is_file():
        simulate_subject(simulation or SimulateConfig(), config.seed, subject)
    elif read_json(subject / "subject.json").get("seed") != config.seed:
        raise ConfigError(f"{folder} holds a subject of another seed; give another --work")
    work = start_run(config, subject, folder / "run")
    run_all(work, until="high")
    return work


def prepare_bench(work: Workspace, config: PriorBenchConfig) -> Bench:
    """Load a run's trained pipeline, its test brains and their true embeddings.

    Raises
    ------
    ConfigError
        If the run has no diffusion prior.
    CheckpointError
        If its high-level pipeline is not trained yet.
    """
    if not work.config.high_enabled:
        raise ConfigError(f"{work.folder} trains no high-level pipeline, so it has no prior")
    model = work.decoder.model_
    if model.prior is None:
        raise ConfigError(f"{work.folder} has no diffusion prior (high.prior.kind)")
    ids = work.test_ids[: config.stimuli or None]
    tokens = work.embeddings("tokens")
    mean, _ = moments(tokens, work.rows(work.subject.splits["train"]))
    return Bench(
        work,
        {"explicit": with_attention(model, "explicit"), "sdpa": with_attention(model, "sdpa")},
        embed_brains(model, work.embedded.mean_betas(ids), device=work.device).backbone,
        torch.from_numpy(np.array(tokens[work.rows(ids)])),
        mean.float(),
        config,
    )
