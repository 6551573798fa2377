"""Seconds a sample at the size of the published prior; random weights, so timing only."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.systems import System, with_attention
from benchmarks.timing import alternate
from mindeye.config.high import PriorConfig, Sampler
from mindeye.diffusion import SAMPLERS, NoiseSchedule
from mindeye.models.prior_network import PriorNetwork
from mindeye.models.sizes import Sizes

LABEL = "timing only, random weights"

CONFIG = PriorConfig(depth=6, heads=12, dim_head=64)
SIZES = Sizes(voxels=0, tokens=65, width=768, latents=(0, 0, 0))
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
    config: PriorConfig = CONFIG,
    sizes: Sizes = SIZES,
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
    config, sizes
        Layers and heads, tokens and width of the prior; by default those of the published one.
    timesteps
        T.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ours = PriorNetwork(config, sizes).to(device).eval()
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
            _draw, networks[system.attention], schedule, system, count, sizes, device
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
    size = {name: getattr(config, name) for name in ("depth", "heads", "dim_head")}
    size |= {"dim": sizes.width, "num_tokens": sizes.tokens}
    return {"label": LABEL, "size": size, "timesteps": timesteps, "rows": found}


@torch.inference_mode()
def _draw(
    network: PriorNetwork,
    schedule: NoiseSchedule,
    system: System,
    count: int,
    sizes: Sizes,
    device: torch.device,
) -> Tensor:
    """Sample from random conditions, as `mindeye.generation.predict.sample_prior` does."""
    generators = [torch.Generator().manual_seed(seed) for seed in range(count)]
    shape = (sizes.tokens, sizes.width)
    start = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=system.precision == "bf16"):
        drawn = SAMPLERS[system.sampler](
            network, schedule, start, start.flip(1), steps=system.steps, rng=generators
        )
    return drawn.float().cpu()
