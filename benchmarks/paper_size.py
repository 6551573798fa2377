"""Seconds a sample at the size of the published prior; random weights, so timing only."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.systems import System, with_attention
from benchmarks.timing import alternate
from mindeye.config.high import Sampler
from mindeye.diffusion import NoiseSchedule
from mindeye.generation.samplers import SAMPLERS
from mindeye.models.prior_network import PriorNetwork

LABEL = "timing only, random weights"

SIZE: dict[str, int] = {"dim": 768, "depth": 6, "heads": 12, "dim_head": 64, "num_tokens": 65}
"""The published prior (paper appendix A.4) on 65 tokens: 257 in the paper, 65 in the simulation."""

TIMESTEPS = 100
"""Of the published prior."""


def time_paper_size(
    sampler: Sampler,
    steps: int,
    *,
    device: torch.device,
    repetitions: int = 3,
    batch: int = 8,
    size: dict[str, int] | None = None,
    timesteps: int = TIMESTEPS,
) -> dict[str, Any]:
    """Time the published sampler, one sample at a time, and ours, alone and in batches.

    Parameters
    ----------
    sampler, steps
        Ours.
    device
        Where to sample.
    repetitions
        Of every system, in turns.
    batch
        Samples that are drawn together.
    size
        Of `PriorNetwork`; that of the published prior if left out.
    timesteps
        T.
    """
    chosen = size or SIZE
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ours = PriorNetwork(**chosen).to(device).eval()  # type: ignore[arg-type]
    networks = {"sdpa": ours, "explicit": with_attention(ours, "explicit")}
    schedule = NoiseSchedule.named("cosine", timesteps).to(device)
    name = f"{sampler}-{steps}"
    rows = [
        (System("as published", "ddpm", timesteps, "explicit", "fp32", "published"), 1),
        (System("ddpm bf16", "ddpm", timesteps, precision="bf16"), 1),
        (System(f"{name} fp32", sampler, steps), 1),
        (System(f"{name} bf16", sampler, steps, precision="bf16"), 1),
        (System(f"{name} fp32", sampler, steps), batch),
        (System(f"{name} bf16", sampler, steps, precision="bf16"), batch),
    ]
    jobs = {
        f"{system.name}, {count} at a time": partial(
            _draw, networks[system.attention], schedule, system, count, chosen, device
        )
        for system, count in rows
    }
    seconds = alternate(jobs, repetitions)
    found = []
    published = median(seconds[next(iter(jobs))])
    for (system, count), (label, taken) in zip(rows, seconds.items(), strict=True):
        each = median(taken) / count
        found.append(
            {
                "name": label,
                "sampler": system.sampler,
                "steps": system.steps,
                "attention": system.attention,
                "precision": system.precision,
                "batch": count,
                "seconds_a_sample": each,
                "speed": published / each,
                "seconds": taken,
            }
        )
    return {"label": LABEL, "size": chosen, "timesteps": timesteps, "rows": found}


@torch.inference_mode()
def _draw(
    network: PriorNetwork,
    schedule: NoiseSchedule,
    system: System,
    count: int,
    size: dict[str, int],
    device: torch.device,
) -> Tensor:
    """Sample from random conditions, as `mindeye.generation.predict.sample_prior` does."""
    generators = [torch.Generator().manual_seed(seed) for seed in range(count)]
    shape = (size["num_tokens"], size["dim"])
    start = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=system.precision == "bf16"):
        drawn = SAMPLERS[system.sampler](
            network, schedule, start, start.flip(1), system.steps, generators
        )
    return drawn.float().cpu()
