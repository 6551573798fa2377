"""How results are drawn and scored."""

from __future__ import annotations

from dataclasses import dataclass

from mindeye.errors import ConfigError


@dataclass(frozen=True)
class ReconstructConfig:
    """Prior sample -> generator, started from the low-level latents -> candidates -> pick.

    Parameters
    ----------
    candidates
        Pictures drawn per test stimulus; the pick is by cosine to the brain embedding.
    strength
        Share of the noise schedule that img2img runs through; 1 ignores the low-level start.
    guidance
        Classifier-free guidance scale of the generator.
    steps
        Sampling steps of the full schedule.
    batch_size
        Candidate pictures generated at once.
    stimuli
        Number of test stimuli that are drawn as pictures, 0 for all of them.
    """

    candidates: int = 4
    strength: float = 0.85
    guidance: float = 2.0
    steps: int = 12
    batch_size: int = 64
    stimuli: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise ConfigError(f"reconstruct.strength is {self.strength}; it must be in (0, 1]")
        if self.candidates < 1:
            raise ConfigError(f"reconstruct.candidates is {self.candidates}; draw at least 1")


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
    """

    nway: int = 300
    draws: int = 30
    resamples: int = 2000
    level: float = 0.95
    picture_size: int = 425
