"""The one sampling loop of all latent generators: img2img by strength, guidance, any scheduler.

It does what the `diffusers` img2img pipelines do (0.42: `get_timesteps`, `prepare_latents` and the
denoising loop of `StableDiffusionImg2ImgPipeline`, bit for bit, tested), for conditions that those
pipelines do not take.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mindeye.errors import CheckpointError, ConfigError

GUIDANCE_OFF = 1.0

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(latents (M, C, h, w), timestep) -> the network's output; M is 2 N under guidance."""


@dataclass(frozen=True)
class Plan:
    """How a picture is sampled.

    Parameters
    ----------
    steps
        Sampling steps of the full schedule.
    strength
        Share of them that is run where there is a start, at least one step.
    guidance
        Classifier-free guidance scale; 1 switches it off.
    """

    steps: int
    strength: float
    guidance: float

    @property
    def guided(self) -> bool:
        """Whether the network is asked twice, without and with the condition."""
        return self.guidance != GUIDANCE_OFF


def sample_latents(
    denoise: Denoise,
    scheduler: Any,
    plan: Plan,
    *,
    noise: Tensor,
    start: Tensor | None,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Return latents (N, C, h, w).

    Parameters
    ----------
    denoise
        The network with its condition; under guidance the first N rows are the unconditional ones.
    scheduler
        Scheduler of `diffusers`; its state is set anew.
    plan
        Steps, strength, guidance.
    noise
        (N, C, h, w), standard normal.
    start
        (N, C, h, w) to start from, or None.
    generators
        One a picture, for schedulers that draw noise at every step.
    """
    timesteps, latents = _begin(scheduler, plan, noise, start)
    extra: dict[str, Any] = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        extra["generator"] = list(generators)
    for timestep in timesteps:
        scaled = scheduler.scale_model_input(latents, timestep)
        output = denoise(scaled.repeat(2, 1, 1, 1) if plan.guided else scaled, timestep)
        guided = _guide(output.float(), plan, latents.shape[1], _learned_variance(scheduler))
        latents = scheduler.step(guided, timestep, latents, return_dict=False, **extra)[0]
    return latents


def _begin(
    scheduler: Any, plan: Plan, noise: Tensor, start: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the timesteps to run through and the latents at the first of them."""
    scheduler.set_timesteps(plan.steps, device=noise.device)
    if start is None:
        return scheduler.timesteps, noise * scheduler.init_noise_sigma
    run = max(1, min(int(plan.steps * plan.strength), plan.steps))
    first = (plan.steps - run) * scheduler.order
    timesteps = scheduler.timesteps[first:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return timesteps, scheduler.add_noise(start, noise, timesteps[:1].repeat(len(noise)))


def _learned_variance(scheduler: Any) -> bool:
    """Whether the scheduler reads variances; of those here only DDPM does.

    Others keep the setting that they find in a folder without knowing what it means (the library's
    own Kandinsky pipeline fails with them).
    """
    if type(scheduler).__name__ != "DDPMScheduler":
        return False
    return getattr(scheduler.config, "variance_type", None) in ("learned", "learned_range")


def _guide(output: Tensor, plan: Plan, channels: int, learned_variance: bool) -> Tensor:
    """Return the output under guidance.

    A network that also predicts variances (Kandinsky) has them in its second half of channels:
    they are not guided, and kept, the conditional ones, only for a scheduler that uses them.
    """
    mean, variance = output[:, :channels], output[:, channels:]
    if plan.guided:
        without, given = mean.chunk(2)
        mean = without + plan.guidance * (given - without)
        variance = variance.chunk(2)[1]
    if learned_variance and variance.shape[1]:
        return torch.cat([mean, variance], dim=1)
    return mean


SCHEDULERS = {
    "unipc": "UniPCMultistepScheduler",
    "ddim": "DDIMScheduler",
    "dpmpp": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "pndm": "PNDMScheduler",
    "ddpm": "DDPMScheduler",
}
"""Name in `reconstruct.scheduler` -> class of `diffusers`."""


def load_scheduler(folder: Path, name: str) -> Any:
    """Return a scheduler of that name with the settings in `folder/scheduler`.

    Raises
    ------
    ConfigError
        If the name is unknown.
    CheckpointError
        If the folder holds no scheduler settings.
    """
    if name not in SCHEDULERS:
        raise ConfigError(f"unknown reconstruct.scheduler {name!r}; known: {', '.join(SCHEDULERS)}")
    import diffusers

    kind = getattr(diffusers, SCHEDULERS[name])
    # DPM-Solver would take the first three channels of a network that also predicts variances,
    # which are not all there are of a latent; the loop has cut the variances off already.
    more = {"variance_type": None} if name == "dpmpp" else {}
    try:
        return kind.from_pretrained(folder, subfolder="scheduler", local_files_only=True, **more)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder} holds no scheduler: {error}") from error
