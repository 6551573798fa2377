"""Predictions from betas: brain embeddings, prior samples and low-level latents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from mindeye.config import PriorConfig
from mindeye.config.optim import Precision
from mindeye.diffusion import SAMPLERS
from mindeye.errors import ConfigError
from mindeye.models.lowlevel import LowLevel
from mindeye.models.pipelines import HighLevel
from mindeye.progress import track


class BrainEmbeddings(NamedTuple):
    """What the high-level pipeline says of each stimulus.

    Attributes
    ----------
    backbone, contrastive
        (S, K, D); the prior's condition, and the tokens that retrieval compares.
    """

    backbone: Tensor
    contrastive: Tensor


def _blocks(count: int, size: int, name: str) -> Iterable[slice]:
    for start in track(range(0, count, size), name):
        yield slice(start, min(start + size, count))


@torch.inference_mode()
def embed_brains(
    model: HighLevel, betas: Tensor, *, device: torch.device, batch_size: int = 256
) -> BrainEmbeddings:
    """Return brain embeddings of betas (S, V)."""
    parts = [model(betas[b].to(device)) for b in _blocks(len(betas), batch_size, "brains")]
    return BrainEmbeddings(
        torch.cat([p.backbone for p in parts]).float().cpu(),
        torch.cat([p.contrastive for p in parts]).float().cpu(),
    )


@torch.inference_mode()
def sample_prior(
    model: HighLevel,
    condition: Tensor,
    config: PriorConfig,
    *,
    seeds: list[int],
    device: torch.device,
    batch_size: int = 128,
    precision: Precision = "bf16",
) -> Tensor:
    """Return one prior sample (N, K, D) a condition (N, K, D), in the encoder's units.

    Parameters
    ----------
    model
        High-level pipeline with a diffusion prior.
    condition
        Backbone tokens.
    config
        Sampler and its steps.
    seeds
        One a sample.
    device
        Where to sample.
    batch_size
        Samples drawn at once.
    precision
        Precision of matrix products.
    """
    if model.prior is None:
        raise ConfigError("high.prior.kind is not diffusion, so there is no prior to sample from")
    schedule = model.schedule.to(device)
    sampler = SAMPLERS[config.sampler]
    samples = []
    for block in _blocks(len(condition), batch_size, "prior"):
        generators = [torch.Generator().manual_seed(s) for s in seeds[block]]
        shape = tuple(condition.shape[1:])
        start = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(device)
        given = condition[block].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            drawn = sampler(
                model.prior, schedule, start, given, steps=config.sample_steps, rng=generators
            )
        samples.append(model.from_prior(drawn.float()).cpu())
    return torch.cat(samples)


@torch.inference_mode()
def predict_latents(
    model: LowLevel, betas: Tensor, *, device: torch.device, batch_size: int = 128
) -> Tensor:
    """Return low-level latents (S, C, h, w) of betas (S, V)."""
    parts = [model(betas[b].to(device)).latents for b in _blocks(len(betas), batch_size, "latents")]
    return torch.cat(parts).float().cpu()
