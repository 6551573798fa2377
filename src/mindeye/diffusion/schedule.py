"""Noise schedules and the closed forms of Gaussian diffusion that follow from them.

Source: Ho et al. (arXiv 2006.11239) for the linear schedule and the posterior, Nichol and Dhariwal
(arXiv 2102.09672) for the cosine schedule, Salimans and Ho (arXiv 2202.00512) for v.
Computed in float64 and stored in float32, as the published prior does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

COSINE_OFFSET = 0.008
"""Keeps the first noise step from vanishing (arXiv 2102.09672, section 3.2)."""

LARGEST_VARIANCE = 0.999
"""Upper bound of a step's variance in the cosine schedule (the same section)."""

LINEAR_VARIANCES = (1e-4, 0.02)
"""First and last variance of 1,000 linear steps (arXiv 2006.11239, section 4)."""

SMALLEST_POSTERIOR_VARIANCE = 1e-20
"""Floor under the logarithm of the posterior variance, which is 0 at t = 0."""


def cosine_variances(timesteps: int) -> Tensor:
    """(T,) step variances of the cosine schedule, the published one."""
    progress = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)
    kept = torch.cos((progress + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2
    return (1 - kept[1:] / kept[:-1]).clamp(0, LARGEST_VARIANCE)


def linear_variances(timesteps: int) -> Tensor:
    """(T,) step variances that grow linearly, so that any number of steps destroys as much."""
    first, last = (1000 / timesteps * variance for variance in LINEAR_VARIANCES)
    return torch.linspace(first, last, timesteps, dtype=torch.float64)


SCHEDULES: dict[str, Callable[[int], Tensor]] = {
    "cosine": cosine_variances,
    "linear": linear_variances,
}


PUBLISHED_NAMES = {"step_variances": "betas"}
"""Buffers whose published name means something else here: betas are responses."""


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Every per-timestep coefficient of a diffusion process; all fields are (T,) float32.

    `x_t = sqrt_alphas_cumprod[t] x_0 + sqrt_one_minus_alphas_cumprod[t] noise`.
    """

    step_variances: Tensor
    alphas_cumprod: Tensor
    alphas_cumprod_prev: Tensor
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor
    log_one_minus_alphas_cumprod: Tensor
    sqrt_recip_alphas_cumprod: Tensor
    sqrt_recipm1_alphas_cumprod: Tensor
    posterior_variance: Tensor
    posterior_log_variance_clipped: Tensor
    posterior_mean_coef1: Tensor
    posterior_mean_coef2: Tensor

    @classmethod
    def named(cls, name: str, timesteps: int) -> NoiseSchedule:
        """Make a schedule by name (see `SCHEDULES`); the published prior is ("cosine", 100)."""
        if name not in SCHEDULES:
            raise ValueError(f"schedule is {name!r}; known: {', '.join(SCHEDULES)}")
        return cls.from_variances(SCHEDULES[name](timesteps))

    @classmethod
    def from_variances(cls, variances: Tensor) -> NoiseSchedule:
        """Derive all from step variances (T,)."""
        variances = variances.to(torch.float64)
        kept = torch.cumprod(1 - variances, dim=0)
        before = torch.cat([torch.ones_like(kept[:1]), kept[:-1]])
        posterior = variances * (1 - before) / (1 - kept)
        buffers = {
            "step_variances": variances,
            "alphas_cumprod": kept,
            "alphas_cumprod_prev": before,
            "sqrt_alphas_cumprod": kept.sqrt(),
            "sqrt_one_minus_alphas_cumprod": (1 - kept).sqrt(),
            "log_one_minus_alphas_cumprod": (1 - kept).log(),
            "sqrt_recip_alphas_cumprod": (1 / kept).sqrt(),
            "sqrt_recipm1_alphas_cumprod": (1 / kept - 1).sqrt(),
            "posterior_variance": posterior,
            "posterior_log_variance_clipped": posterior.clamp_min(
                SMALLEST_POSTERIOR_VARIANCE
            ).log(),
            "posterior_mean_coef1": variances * before.sqrt() / (1 - kept),
            "posterior_mean_coef2": (1 - before) * (1 - variances).sqrt() / (1 - kept),
        }
        return cls(**{name: value.to(torch.float32) for name, value in buffers.items()})

    @property
    def timesteps(self) -> int:
        """T."""
        return len(self.alphas_cumprod)

    def to(self, device: torch.device | str) -> NoiseSchedule:
        """Copy the schedule to another device."""
        return NoiseSchedule(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def published(self) -> dict[str, Tensor]:
        """Return the buffers under the names of the published `noise_scheduler`.

        Its loss weights `p2_loss_weight` are 1: the authors switched them off.
        """
        own = {PUBLISHED_NAMES.get(f.name, f.name): getattr(self, f.name) for f in fields(self)}
        return {**own, "p2_loss_weight": torch.ones_like(self.step_variances)}

    def q_sample(self, x0: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """Noise `x0` (N, ...) to timesteps (N,): `x_t` (N, ...)."""
        return (
            _at(self.sqrt_alphas_cumprod, times, x0) * x0
            + _at(self.sqrt_one_minus_alphas_cumprod, times, x0) * noise
        )

    def velocity(self, x0: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """Return the v target: `sqrt(a) noise - sqrt(1 - a) x0`, (N, ...)."""
        return (
            _at(self.sqrt_alphas_cumprod, times, x0) * noise
            - _at(self.sqrt_one_minus_alphas_cumprod, times, x0) * x0
        )

    def x0_from_noise(self, x_t: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """`x0` (N, ...) from `x_t` and its noise."""
        return (
            _at(self.sqrt_recip_alphas_cumprod, times, x_t) * x_t
            - _at(self.sqrt_recipm1_alphas_cumprod, times, x_t) * noise
        )

    def x0_from_velocity(self, x_t: Tensor, times: Tensor, velocity: Tensor) -> Tensor:
        """`x0` (N, ...) from `x_t` and v."""
        return (
            _at(self.sqrt_alphas_cumprod, times, x_t) * x_t
            - _at(self.sqrt_one_minus_alphas_cumprod, times, x_t) * velocity
        )

    def noise_from_x0(self, x_t: Tensor, times: Tensor, x0: Tensor) -> Tensor:
        """Return the noise (N, ...) in `x_t` if `x0` is what lies under it."""
        return (_at(self.sqrt_recip_alphas_cumprod, times, x_t) * x_t - x0) / _at(
            self.sqrt_recipm1_alphas_cumprod, times, x_t
        )

    def posterior(self, x0: Tensor, x_t: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`q(x_{t-1} | x_t, x_0)`: mean (N, ...), variance and its clipped log (N, 1, ...)."""
        mean = (
            _at(self.posterior_mean_coef1, times, x_t) * x0
            + _at(self.posterior_mean_coef2, times, x_t) * x_t
        )
        return (
            mean,
            _at(self.posterior_variance, times, x_t),
            _at(self.posterior_log_variance_clipped, times, x_t),
        )


def _at(coefficients: Tensor, times: Tensor, like: Tensor) -> Tensor:
    """Coefficients (T,) at times (N,), as (N, 1, ...) to multiply `like` (N, ...)."""
    return coefficients[times].reshape(-1, *[1] * (like.ndim - 1))
