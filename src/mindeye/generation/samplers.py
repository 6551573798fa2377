"""The prior's samplers by the names that configurations use.

Each maps (denoiser, schedule, start (N, K, D), condition (N, K, D), steps, one generator a sample)
to `x_0` (N, K, D). Noise comes from a sample's own generator, so that a sample does not change with
the batch it is drawn in.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mindeye.diffusion import NoiseSchedule, sample_ddim, sample_ddpm, sample_dpmpp_2m
from mindeye.diffusion.objective import Denoiser

SampleFunction = Callable[
    [Denoiser, NoiseSchedule, Tensor, Tensor, int, list[torch.Generator]], Tensor
]


def _step_noise(start: Tensor, steps: int, generators: list[torch.Generator]) -> Tensor:
    """Draw (steps, N, K, D) standard normal numbers, sample n from generator n."""
    shape = (steps, *start.shape[1:])
    drawn = [torch.randn(shape, generator=g) for g in generators]
    return torch.stack(drawn, dim=1).to(start.device)


def _dpmpp(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    start: Tensor,
    condition: Tensor,
    steps: int,
    generators: list[torch.Generator],
) -> Tensor:
    del generators
    return sample_dpmpp_2m(denoiser, schedule, start, condition, steps=steps)


def _ddim(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    start: Tensor,
    condition: Tensor,
    steps: int,
    generators: list[torch.Generator],
) -> Tensor:
    del generators
    return sample_ddim(denoiser, schedule, start, condition, steps=steps, eta=0.0)


def _ddim_as_published(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    start: Tensor,
    condition: Tensor,
    steps: int,
    generators: list[torch.Generator],
) -> Tensor:
    noise = _step_noise(start, steps, generators)
    return sample_ddim(
        denoiser, schedule, start, condition, steps=steps, step_noise=noise, as_published=True
    )


def _ddpm(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    start: Tensor,
    condition: Tensor,
    steps: int,
    generators: list[torch.Generator],
) -> Tensor:
    del steps
    noise = _step_noise(start, schedule.timesteps, generators)
    return sample_ddpm(denoiser, schedule, start, condition, step_noise=noise)


SAMPLERS: dict[str, SampleFunction] = {
    "dpmpp": _dpmpp,
    "ddim": _ddim,
    "ddim_as_published": _ddim_as_published,
    "ddpm": _ddpm,
}
"""`high.prior.sampler`."""
