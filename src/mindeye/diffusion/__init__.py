"""Gaussian diffusion of embeddings: schedule, training loss, samplers; no network lives here."""

from __future__ import annotations

from mindeye.diffusion.objective import (
    CONDITION_DROP,
    Denoiser,
    Guided,
    PredictsX0,
    PriorDraw,
    PriorLoss,
    draw_normal,
    draw_prior,
    embedding_scale,
    prior_loss,
)
from mindeye.diffusion.samplers import (
    SAMPLERS,
    ddim_times,
    few_step_times,
    sample_ddim,
    sample_ddpm,
    sample_dpmpp_2m,
)
from mindeye.diffusion.schedule import SCHEDULES, NoiseSchedule

__all__ = [
    "CONDITION_DROP",
    "SAMPLERS",
    "SCHEDULES",
    "Denoiser",
    "Guided",
    "NoiseSchedule",
    "PredictsX0",
    "PriorDraw",
    "PriorLoss",
    "ddim_times",
    "draw_normal",
    "draw_prior",
    "embedding_scale",
    "few_step_times",
    "prior_loss",
    "sample_ddim",
    "sample_ddpm",
    "sample_dpmpp_2m",
]
