"""What a simulated subject is made of; apart from `simulate`, so that `--help` needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from mindeye.errors import ConfigError


@dataclass(frozen=True)
class SimulateConfig:
    """A simulated subject that looks at procedural scenes.

    Parameters
    ----------
    subject
        Name of the subject; another name is another brain.
    train
        Training stimuli (validation ones included).
    test
        Test stimuli.
    repeats
        Presentations of each stimulus.
    sessions
        Scan sessions that the trials are spread over.
    size
        Picture side in pixels.
    voxels
        Voxels, 0 to draw a count that differs from subject to subject.
    high_share
        Share of high-level (mixed-selectivity) voxels.
    ceiling_low
        Mean single-trial noise ceiling (share of signal variance) of low-level voxels.
    ceiling_high
        Mean single-trial noise ceiling of high-level voxels.
    correlated_noise
        Share of noise variance that is common to groups of voxels.
    noise_factors
        Number of common noise factors.
    drift
        Standard deviation of session offsets and slow drifts, in units of the noise.
    """

    subject: str = "sim01"
    train: int = 3000
    test: int = 300
    repeats: int = 3
    sessions: int = 10
    size: int = 64
    voxels: int = 0
    high_share: float = 0.5
    ceiling_low: float = 0.05
    ceiling_high: float = 0.008
    correlated_noise: float = 0.5
    noise_factors: int = 60
    drift: float = 0.3

    def __post_init__(self) -> None:
        if self.train < 20 or self.test < 2:
            raise ConfigError(
                f"train={self.train}, test={self.test}: a simulated subject needs at least 20 "
                "training and 2 test stimuli"
            )
        if self.repeats < 1 or self.sessions < 1:
            raise ConfigError("repeats and sessions must be at least 1")
