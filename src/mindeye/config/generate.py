"""What `mindeye generate` draws, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mindeye.config.results import ReconstructConfig
from mindeye.errors import UsageError


@dataclass(frozen=True)
class GenerateConfig:
    """What is drawn from embeddings, and how.

    Parameters
    ----------
    generator
        As `targets.generator` of a run.
    encoder
        Whose embeddings they are, as `targets.encoder`; by default what the export says, and the
        zoo's for the generator zoo.
    tokens
        ``all`` or ``pooled``, as `targets.tokens`; by default as many as the file has.
    vae
        As `targets.vae`; by default what the export says, and zoo for the generator zoo.
    column
        Column of a table that holds the vectors, where there are several.
    start
        .npy file of latents (N, C, h, w) that pictures start from, one a row or one a stimulus.
    seed
        Of the noise; -1 takes the seeds that the file lists, and 0 where it lists none.
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
        Of the generator, as `reconstruct.precision`.
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
    seed: int = -1
    candidates: int = 1
    steps: int = 12
    guidance: float = 2.0
    strength: float = 0.85
    scheduler: Literal["unipc", "ddim", "dpmpp", "euler", "pndm", "ddpm"] = "unipc"
    unconditional: Literal["zeros", "image"] = "zeros"
    norm: float = 0.0
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    batch_size: int = 16
    device: str = "auto"
    weights: str = ""
    sheet: int = 64

    def __post_init__(self) -> None:
        if min(self.candidates, self.steps, self.batch_size, self.sheet) < 1:
            raise UsageError("--candidates, --steps, --batch-size and --sheet start at 1")
        if self.seed < -1:
            raise UsageError(f"--seed is {self.seed}; seeds start at 0")
        if self.generator in ("none", ""):
            raise UsageError("--generator none draws nothing; name a generator")

    @property
    def drawing(self) -> ReconstructConfig:
        """The part of it that a run has, too."""
        return ReconstructConfig(
            candidates=self.candidates,
            strength=self.strength,
            guidance=self.guidance,
            steps=self.steps,
            scheduler=self.scheduler,
            unconditional=self.unconditional,
            norm=self.norm,
            precision=self.precision,
            batch_size=self.batch_size,
        )

    @property
    def root(self) -> Path | None:
        """Folder in which hub ids are looked up, None for the usual places."""
        return Path(self.weights) if self.weights else None
