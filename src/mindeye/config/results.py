"""How results are drawn and scored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from mindeye.errors import ConfigError


@dataclass(frozen=True)
class ReconstructConfig:
    """Prior sample -> generator, started from the low-level latents -> candidates -> pick.

    Parameters
    ----------
    candidates
        Pictures drawn per test stimulus, of which `pick` takes one; with 1 nothing is picked.
    keep_candidates
        Keep all candidates, where there are several, before any `blend`: so the scores of a first
        draw and the spread over draws stand beside those of the pick. 16 candidates of the paper's
        982 stimuli at 512 x 512 are 12.4 GB a system.
    strength
        Share of the noise schedule that img2img runs through; 1 ignores the low-level start.
    guidance
        Classifier-free guidance scale of the generator; 1 switches it off.
    steps
        Sampling steps of the full schedule.
    scheduler
        Solver, along the schedule of noise in the generator's own folder.
    unconditional
        What guidance leads away from: ``zeros`` as MindEye's published code, or ``image``, the
        embedding that the generator's own pipeline uses (Versatile Diffusion a nearly black
        picture, Kandinsky a picture of CLIP's mean colour, all others zeros).
    start
        How low-level latents become a start: ``latents`` as they are, ``image`` decoded and
        encoded anew as the published code does, ``auto``: as they are where the generator's
        autoencoder is the run's.
    precision
        Of the generator: ``bf16`` multiplies in bfloat16, ``fp16`` also holds the weights in half
        precision.
    attention
        ``slicing`` takes less memory and more time.
    norm
        Norm that every embedding is scaled to before it is drawn, 0 leaves it; for generators that
        take CLIP embeddings at their own norm, where the encoder's have norm 1.
    pick
        What picks among candidates: cosine of the brain embedding to a candidate's embedding, of
        all ``tokens`` or the ``pooled`` one (class token, else the mean token), both by the run's
        encoder since that is the space the brain is decoded into; or the ``first``, no choice.
    blend
        Share of the low-level picture that is mixed into the final `both`, 0 for none; the picture
        without it is kept as `both_unblended`.
    batch_size
        Candidate pictures generated at once; the bound on memory.
    stimuli
        Number of test stimuli that are drawn as pictures, 0 for all of them.
    """

    candidates: int = 1
    keep_candidates: bool = True
    strength: float = 0.85
    guidance: float = 2.0
    steps: int = 12
    scheduler: Literal["unipc", "ddim", "dpmpp", "euler", "pndm", "ddpm"] = "unipc"
    unconditional: Literal["zeros", "image"] = "zeros"
    start: Literal["auto", "latents", "image"] = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    attention: Literal["", "slicing"] = ""
    norm: float = 0.0
    pick: Literal["tokens", "pooled", "first"] = "tokens"
    blend: float = 0.0
    batch_size: int = 64
    stimuli: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise ConfigError(f"reconstruct.strength is {self.strength}; it must be in (0, 1]")
        if self.candidates < 1:
            raise ConfigError(f"reconstruct.candidates is {self.candidates}; draw at least 1")
        if not 1 <= self.steps <= 1000:
            raise ConfigError(f"reconstruct.steps is {self.steps}; it must be in 1..1000")
        if self.batch_size < 1:
            raise ConfigError(f"reconstruct.batch_size is {self.batch_size}; it must be at least 1")
        if self.stimuli < 0:
            raise ConfigError(f"reconstruct.stimuli is {self.stimuli}; give 0 for all of them")
        if not (math.isfinite(self.guidance) and self.guidance >= 0):
            raise ConfigError(f"reconstruct.guidance is {self.guidance}; it must be 0 or more")
        if not (math.isfinite(self.norm) and self.norm >= 0):
            raise ConfigError(f"reconstruct.norm is {self.norm}; it must be 0 or more")
        if not 0 <= self.blend < 1:
            raise ConfigError(f"reconstruct.blend is {self.blend}; it must be in [0, 1)")


@dataclass(frozen=True)
class EvaluateConfig:
    """How results are scored.

    Parameters
    ----------
    nway
        Candidates a query is ranked among (300 in the paper).
    draws
        Random candidate sets (30 in the paper).
    resamples
        Bootstrap resamples over test stimuli.
    level
        Level of every interval.
    picture_size
        Side at which PixCorr and SSIM compare pictures (425 in the paper), 0 for the stimuli's own.
    weights
        Folder of the metrics' networks, as `mindeye fetch` writes it; empty: torchvision's and
        Hugging Face's own caches. Metrics whose network is not there are named as missing.
    controls
        Score everything again under the conditions of the controls too: fewer trials, regions in
        and out, nearest training pictures, distractors of the same cluster; see
        docs/reference/metrics.md.
    as_published
        Add to every retrieval score the name that the authors' tables have for it: their
        similarity helper returns the transpose, so that their directions are swapped.
    clusters
        Clusters of test stimuli that distractors are taken from, at least 2; 0 for about the square
        root of the number of test stimuli, within 4 and 100.
    """

    nway: int = 300
    draws: int = 30
    resamples: int = 2000
    level: float = 0.95
    picture_size: int = 425
    weights: str = ""
    controls: bool = True
    as_published: bool = False
    clusters: int = 0

    def __post_init__(self) -> None:
        if self.clusters < 0 or self.clusters == 1:
            raise ConfigError(
                f"evaluate.clusters is {self.clusters}; give at least 2, or 0 for about the square "
                "root of the number of test stimuli"
            )
