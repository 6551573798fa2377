"""How results are drawn and scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from mindeye.config.bounds import (
    BatchSize,
    Bound,
    Checked,
    CountOrZero,
    FieldError,
    OpenShare,
    Pixels,
    ShareAboveZero,
    ShareBelowOne,
    Weight,
)

Scheduler = Literal["unipc", "ddim", "dpmpp", "euler", "pndm", "ddpm"]
Unconditional = Literal["zeros", "image"]
GeneratorPrecision = Literal["fp32", "bf16", "fp16"]
Candidates = Annotated[int, Bound(1, 10**4)]
Steps = Annotated[int, Bound(1, 1000)]
Guidance = Annotated[float, Bound(0, 1000)]


@dataclass(frozen=True)
class ReconstructConfig(Checked):
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
        Precision of the generator: ``bf16`` multiplies in bfloat16, ``fp16`` also holds the weights
        in half precision.
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

    section = "reconstruct"

    candidates: Candidates = 1
    keep_candidates: bool = True
    strength: ShareAboveZero = 0.85
    guidance: Guidance = 2.0
    steps: Steps = 12
    scheduler: Scheduler = "unipc"
    unconditional: Unconditional = "zeros"
    start: Literal["auto", "latents", "image"] = "auto"
    precision: GeneratorPrecision = "bf16"
    attention: Literal["", "slicing"] = ""
    norm: Weight = 0.0
    pick: Literal["tokens", "pooled", "first"] = "tokens"
    blend: ShareBelowOne = 0.0
    batch_size: BatchSize = 64
    stimuli: CountOrZero = 0


@dataclass(frozen=True)
class EvaluateConfig(Checked):
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

    section = "evaluate"

    nway: Annotated[int, Bound(2, 10**6)] = 300
    draws: Annotated[int, Bound(1, 10**6)] = 30
    resamples: Annotated[int, Bound(1, 10**7)] = 2000
    level: OpenShare = 0.95
    picture_size: Pixels = 425
    weights: str = ""
    controls: bool = True
    as_published: bool = False
    clusters: CountOrZero = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clusters == 1:
            raise FieldError(
                "evaluate.clusters",
                "is 1; give at least 2, or 0 for about the square root of the number of test "
                "stimuli",
            )
