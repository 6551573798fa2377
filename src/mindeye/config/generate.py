"""What `mindeye generate` draws, and how."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from mindeye.config.bounds import BatchSize, Bound, Checked, FieldError, ShareAboveZero, Weight
from mindeye.config.results import (
    Candidates,
    GeneratorPrecision,
    Guidance,
    ReconstructConfig,
    Scheduler,
    Steps,
    Unconditional,
)


@dataclass(frozen=True)
class GenerateConfig(Checked):
    """What is drawn from embeddings, and how.

    Parameters
    ----------
    generator
        Generator, named as `targets.generator` of a run.
    encoder
        Encoder of the embeddings, as `targets.encoder`; by default what the export says, and the
        zoo's for the generator zoo.
    tokens
        ``all`` or ``pooled``, as `targets.tokens`; by default as many as the file has.
    vae
        Autoencoder, as `targets.vae`; by default what the export says, and zoo for the generator
        zoo.
    column
        Column of a table that holds the vectors, where there are several.
    start
        .npy file of latents (N, C, h, w) that pictures start from, one a row or one a stimulus.
    seed
        Seed of the noise; -1 takes the seeds that the file lists, and 0 where it lists none.
    candidates
        Pictures an embedding.
    steps
        Sampling steps of the full schedule.
    guidance
        Classifier-free guidance scale.
    strength
        Share of the schedule that is run from a start.
    scheduler
        Solver, as `reconstruct.scheduler`.
    unconditional
        What guidance leads away from, as `reconstruct.unconditional`.
    norm
        Norm that every embedding is scaled to before it is drawn, as `reconstruct.norm`; 0 leaves
        embeddings as they are.
    precision
        Precision of the generator, as `reconstruct.precision`.
    batch_size
        Pictures drawn at once.
    device
        ``auto`` takes a CUDA device where there is one.
    weights
        Folder in which hub ids are looked up.
    sheet
        Pictures on the contact sheet, the first ones.
    """

    generator: str = "zoo"
    encoder: str = ""
    tokens: Literal["", "all", "pooled"] = ""
    vae: str = ""
    column: str = ""
    start: str = ""
    seed: Annotated[int, Bound(-1, 2**32 - 1)] = -1
    candidates: Candidates = 1
    steps: Steps = 12
    guidance: Guidance = 2.0
    strength: ShareAboveZero = 0.85
    scheduler: Scheduler = "unipc"
    unconditional: Unconditional = "zeros"
    norm: Weight = 0.0
    precision: GeneratorPrecision = "bf16"
    batch_size: BatchSize = 16
    device: str = "auto"
    weights: str = ""
    sheet: Annotated[int, Bound(1, 10**4)] = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.generator in ("none", ""):
            raise FieldError("generator", "is none, which draws nothing; name a generator")

    @property
    def drawing(self) -> ReconstructConfig:
        """The part of it that a run has, too."""
        ours, theirs = ({f.name for f in fields(c)} for c in (GenerateConfig, ReconstructConfig))
        # `start` is a file of latents here and a way to use them there.
        shared = ours & theirs - {"start"}
        return ReconstructConfig(**{name: getattr(self, name) for name in shared})

    @property
    def root(self) -> Path | None:
        """Folder in which hub ids are looked up, None for the usual places."""
        return Path(self.weights) if self.weights else None
