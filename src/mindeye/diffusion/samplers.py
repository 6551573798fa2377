"""Samplers: pure functions from noise (N, K, D) to `x_0` (N, K, D), in scaled units.

All need a denoiser that predicts `x_0` (wrap another in `PredictsX0`, add guidance with `Guided`).
Randomness comes from `rng`, or from recorded `step_noise` where a run is to be replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from mindeye.diffusion.objective import Denoiser, draw_normal
from mindeye.diffusion.schedule import NoiseSchedule

OnStep = Callable[[int, Tensor], None]
"""Called with the step's index and `x` after it (not to be edited)."""


def sample_ddpm(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    start: Tensor,
    condition: Tensor,
    *,
    rng: torch.Generator | None = None,
    step_noise: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Ancestral sampling over all timesteps (arXiv 2006.11239, algorithm 2); the published sampler.

    Parameters
    ----------
    denoiser, schedule
        T network calls; the schedule lies on the device of `start`.
    start
        (N, K, D) standard normal.
    condition
        (N, K, D).
    rng, step_noise
        One of the two: a generator, or the noise (T, N, K, D) of every step from t = T - 1 down;
        the last one (t = 0) has no effect.
    """
    _check_randomness(rng, step_noise, schedule.timesteps)
    x = start
    for step, time in enumerate(reversed(range(schedule.timesteps))):
        times = _times(time, x)
        x0 = denoiser(x, times, condition)
        mean, _, log_variance = schedule.posterior(x0, x, times)
        if time > 0:
            x = mean + (0.5 * log_variance).exp() * _noise(step, x, rng, step_noise)
        else:
            x = mean
        if on_step is not None:
            on_step(step, x)
    return x


def ddim_times(timesteps: int, steps: int) -> list[tuple[int, int]]:
    """List the (time, next time) pairs of the published DDIM grid; -1 stands for `x_0`.

    `linspace(-1, T, steps + 1)` without its end, truncated to integers and reversed: there are
    steps - 1 pairs, and the first lies below T - 1.
    """
    if not 2 <= steps <= timesteps:
        raise ValueError(f"steps is {steps}; it must lie between 2 and {timesteps}")
    grid = torch.linspace(-1.0, timesteps, steps + 1)[:-1].int().flip(0).tolist()
    return list(pairwise(grid))


def sample_ddim(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    start: Tensor,
    condition: Tensor,
    *,
    steps: int,
    eta: float = 1.0,
    rng: torch.Generator | None = None,
    step_noise: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """DDIM (arXiv 2010.02502, equation 12) as the published code does it.

    It looks `alpha` up one timestep earlier than the noise it estimates, so it is not an exact
    integrator even of a perfect denoiser's path; `sample_dpmpp_2m` is.

    Parameters
    ----------
    denoiser, schedule, start, condition
        As for `sample_ddpm`.
    steps
        2 to T; costs steps - 1 network calls (see `ddim_times`).
    eta
        1 (published) is stochastic, 0 deterministic.
    rng, step_noise
        A generator or recorded noise (steps - 1, N, K, D); neither is needed for eta 0.
    """
    pairs = ddim_times(schedule.timesteps, steps)
    if eta > 0:
        _check_randomness(rng, step_noise, len(pairs))
    x = start
    for step, (time, after) in enumerate(pairs):
        times = _times(time, x)
        x0 = denoiser(x, times, condition)
        if after < 0:
            x = x0
        else:
            noise = schedule.noise_from_x0(x, times, x0)
            kept = schedule.alphas_cumprod_prev[time]
            kept_after = schedule.alphas_cumprod_prev[after]
            ratio = (1 - kept / kept_after) * (1 - kept_after) / (1 - kept)
            fresh = eta * ratio.sqrt()
            x = x0 * kept_after.sqrt() + (1 - kept_after - fresh**2).sqrt() * noise
            if eta > 0 and after > 0:
                x = x + fresh * _noise(step, x, rng, step_noise)
        if on_step is not None:
            on_step(step, x)
    return x


def sample_dpmpp_2m(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    start: Tensor,
    condition: Tensor,
    *,
    steps: int,
    on_step: OnStep | None = None,
) -> Tensor:
    """DPM-Solver++(2M), arXiv 2211.01095, algorithm 2: deterministic, good with few steps.

    Times lie evenly from T - 1 to 0 (`steps` of them, one network call each); the last call's
    prediction is returned. Arguments as for `sample_ddpm`.
    """
    if not 1 <= steps <= schedule.timesteps:
        raise ValueError(f"steps is {steps}; it must lie between 1 and {schedule.timesteps}")
    grid = torch.linspace(schedule.timesteps - 1, 0, steps).round().long().tolist()
    half_log_snr = (schedule.sqrt_alphas_cumprod / schedule.sqrt_one_minus_alphas_cumprod).log()
    x, previous, last_width = start, None, None
    for step, time in enumerate(grid):
        x0 = denoiser(x, _times(time, x), condition)
        if step == steps - 1:
            x = x0
        else:
            after = grid[step + 1]
            width = half_log_snr[after] - half_log_snr[time]
            estimate = x0
            if previous is not None and last_width is not None:
                estimate = x0 + (x0 - previous) * (width / (2 * last_width))
            sigma = schedule.sqrt_one_minus_alphas_cumprod
            x = sigma[after] / sigma[time] * x - schedule.sqrt_alphas_cumprod[after] * (
                torch.expm1(-width) * estimate
            )
            previous, last_width = x0, width
        if on_step is not None:
            on_step(step, x)
    return x


def _times(time: int, x: Tensor) -> Tensor:
    """Repeat the timestep as (N,)."""
    return torch.full((len(x),), time, dtype=torch.long, device=x.device)


def _noise(step: int, x: Tensor, rng: torch.Generator | None, step_noise: Tensor | None) -> Tensor:
    """Noise (N, K, D) of a step: the recorded one, else drawn."""
    if step_noise is not None:
        return step_noise[step]
    if rng is None:
        raise ValueError("this sampler is stochastic: give rng or step_noise")
    return draw_normal(tuple(x.shape), rng, x.device).to(x.dtype)


def _check_randomness(rng: torch.Generator | None, step_noise: Tensor | None, steps: int) -> None:
    if (rng is None) == (step_noise is None):
        raise ValueError("this sampler is stochastic: give either rng or step_noise")
    if step_noise is not None and len(step_noise) < steps:
        raise ValueError(f"step_noise has {len(step_noise)} steps, {steps} are needed")
