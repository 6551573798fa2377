"""Samplers: pure functions from noise (N, K, D) to `x_0` (N, K, D), in scaled units.

All need a denoiser that predicts `x_0` (wrap another in `PredictsX0`, add guidance with `Guided`)
and share one signature: ``sampler(denoiser, schedule, start, condition, *, steps, rng)``.
Randomness comes from `rng`, one generator or one a sample, or from recorded `step_noise` where a
run is to be replayed; a deterministic sampler draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from mindeye.config.bounds import REGISTRIES
from mindeye.diffusion.objective import Denoiser, draw_normal
from mindeye.diffusion.schedule import NoiseSchedule

OnStep = Callable[[int, Tensor], None]
"""Called with the step's index and `x` after it (not to be edited)."""

Randomness = torch.Generator | Sequence[torch.Generator]
"""One generator for a whole batch, or one a sample, so that a sample does not change with the batch
it is drawn in."""

FEW_STEP_POWER = 1.5
"""Bend of the few-step grid. Our choice: on Gaussian and two-mode data under the cosine schedule it
errs about half as much as an even grid (power 1), from 4 to 20 steps."""


def sample_ddpm(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    start: Tensor,
    condition: Tensor,
    *,
    steps: int | None = None,
    rng: Randomness | None = None,
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
    steps
        Ignored: this sampler always takes all T timesteps.
    rng, step_noise
        One of the two: where noise is drawn from, or the noise (T, N, K, D) of every step from
        t = T - 1 down; the last one (t = 0) has no effect.
    on_step
        Called after every step.
    """
    del steps
    rng, step_noise = _randomness(rng, step_noise, start, schedule.timesteps)
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


def ddim_times(timesteps: int, steps: int, *, as_published: bool = False) -> list[tuple[int, int]]:
    """List the (time, next time) pairs of DDIM; -1 stands for `x_0`.

    `steps` pairs, evenly from T - 1 down. The published grid (`linspace(-1, T, steps + 1)` without
    its end, truncated to integers) has one pair less, and starts below T - 1 at a point that is
    not pure noise.
    """
    fewest = 2 if as_published else 1
    if not fewest <= steps <= timesteps:
        raise ValueError(f"steps is {steps}; it must lie between {fewest} and {timesteps}")
    if as_published:
        grid = torch.linspace(-1.0, timesteps, steps + 1)[:-1].int().flip(0)
    else:
        grid = torch.linspace(timesteps - 1, -1, steps + 1).round().int()
    return list(pairwise(grid.tolist()))


def sample_ddim(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    start: Tensor,
    condition: Tensor,
    *,
    steps: int,
    eta: float = 1.0,
    rng: Randomness | None = None,
    step_noise: Tensor | None = None,
    as_published: bool = False,
    on_step: OnStep | None = None,
) -> Tensor:
    """DDIM (arXiv 2010.02502, equation 12); with eta 1 and all steps it is DDPM.

    Parameters
    ----------
    denoiser, schedule, start, condition
        Network, noise schedule, initial noise and condition, as `sample_ddpm` takes them.
    steps
        1 to T; one network call each (one less as published, see `ddim_times`).
    eta
        1 (published) is stochastic, 0 deterministic.
    rng, step_noise
        Generator of the noise, or recorded noise (calls, N, K, D); neither is used for eta 0.
    as_published
        The published code takes the signal level one timestep early (from `alphas_cumprod_prev`)
        and the noise from the right one. Samples then drift away from the data, the more steps
        the farther; for replaying its results only.
    """
    pairs = ddim_times(schedule.timesteps, steps, as_published=as_published)
    batch_rng = None
    if eta > 0:
        # `steps` rows of noise also as published, where the last is left over: streams stay as they
        # were first recorded.
        batch_rng, step_noise = _randomness(rng, step_noise, start, len(pairs), drawn=steps)
    levels = schedule.alphas_cumprod_prev if as_published else schedule.alphas_cumprod
    x = start
    for step, (time, after) in enumerate(pairs):
        times = _times(time, x)
        x0 = denoiser(x, times, condition)
        if after < 0:
            x = x0
        else:
            noise = schedule.noise_from_x0(x, times, x0)
            kept, kept_after = levels[time], levels[after]
            ratio = (1 - kept / kept_after) * (1 - kept_after) / (1 - kept)
            fresh = eta * ratio.sqrt()
            x = x0 * kept_after.sqrt() + (1 - kept_after - fresh**2).sqrt() * noise
            draws_here = after > 0 or not as_published
            if eta > 0 and draws_here:
                x = x + fresh * _noise(step, x, batch_rng, step_noise)
        if on_step is not None:
            on_step(step, x)
    return x


def few_step_times(timesteps: int, steps: int) -> list[int]:
    """List the times of `sample_dpmpp_2m`: T - 1 to 0, denser towards 0, equal ones merged."""
    if not 1 <= steps <= timesteps:
        raise ValueError(f"steps is {steps}; it must lie between 1 and {timesteps}")
    left = torch.linspace(1, 0, steps) ** FEW_STEP_POWER
    grid: list[int] = torch.unique(((timesteps - 1) * left).round().int()).flip(0).tolist()
    return grid


def sample_dpmpp_2m(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    start: Tensor,
    condition: Tensor,
    *,
    steps: int,
    rng: Randomness | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """DPM-Solver++(2M), arXiv 2211.01095, algorithm 2: deterministic, good with few steps.

    At most `steps` network calls, at `few_step_times`; the last call's prediction is returned.
    Other arguments as for `sample_ddpm`; `rng` is not used.
    """
    del rng
    grid = few_step_times(schedule.timesteps, steps)
    signal, sigma = schedule.sqrt_alphas_cumprod, schedule.sqrt_one_minus_alphas_cumprod
    half_log_snr = (signal / sigma).log()
    x, previous, last_width = start, None, None
    for step, time in enumerate(grid):
        x0 = denoiser(x, _times(time, x), condition)
        if step == len(grid) - 1:
            x = x0
        else:
            after = grid[step + 1]
            width = half_log_snr[after] - half_log_snr[time]
            estimate = x0
            if previous is not None and last_width is not None:
                estimate = x0 + (x0 - previous) * (width / (2 * last_width))
            x = sigma[after] / sigma[time] * x - signal[after] * torch.expm1(-width) * estimate
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


def _randomness(
    rng: Randomness | None, step_noise: Tensor | None, start: Tensor, calls: int, *, drawn: int = 0
) -> tuple[torch.Generator | None, Tensor | None]:
    """Return a batch's generator or the noise of every step, drawn here from one stream a sample.

    Raises
    ------
    ValueError
        If not exactly one of both is given, or less noise than there are calls.
    """
    if (rng is None) == (step_noise is None):
        raise ValueError("this sampler is stochastic: give either rng or step_noise")
    if step_noise is not None and len(step_noise) < calls:
        raise ValueError(f"step_noise has {len(step_noise)} steps, {calls} are needed")
    if rng is None or isinstance(rng, torch.Generator):
        return rng, step_noise
    shape = (drawn or calls, *start.shape[1:])
    noise = torch.stack([torch.randn(shape, generator=g) for g in rng], dim=1)
    return None, noise.to(start.device)


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "dpmpp": sample_dpmpp_2m,
    "ddim": partial(sample_ddim, eta=0.0),
    "ddim_as_published": partial(sample_ddim, as_published=True),
    "ddpm": sample_ddpm,
}
"""Samplers by the names of `high.prior.sampler`.

Each is called with (denoiser, schedule, start (N, K, D), condition (N, K, D)), `steps` and `rng`,
one generator a sample, and returns `x_0` (N, K, D). Add one of your own as
``mindeye.SAMPLERS["mine"] = function`` before the configuration that names it is made.
"""
REGISTRIES["SAMPLERS"] = SAMPLERS
