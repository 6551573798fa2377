"""The samplers that are set side by side: the published one and ours."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, TypeVar

from torch import nn

from mindeye.config.high import Attention, Sampler
from mindeye.config.optim import Precision
from mindeye.models.attention import SharedKeyAttention
from mindeye.models.pipelines import HighLevel

M = TypeVar("M", bound=nn.Module)

Role = Literal["published", "noise floor", "point estimate", "ours"]


@dataclass(frozen=True)
class System:
    """A way to sample.

    Parameters
    ----------
    name
        Shown in tables.
    sampler, steps
        As in `PriorConfig`; `steps` are the network calls asked for.
    attention
        "explicit" as published, "sdpa" ours.
    precision
        Of matrix products.
    role
        ``published`` is what all others are compared with; ``noise floor`` is the same with other
        noise, and says what difference means nothing; ``point estimate`` is a sampler that cheats.
    """

    name: str
    sampler: Sampler
    steps: int
    attention: Attention = "sdpa"
    precision: Precision = "fp32"
    role: Role = "ours"


def all_systems(steps: Sequence[int], timesteps: int) -> list[System]:
    """Return every system, the published one first; step counts above T are left out."""
    published = System("as published", "ddpm", timesteps, "explicit", "fp32", "published")
    systems = [
        published,
        System("published, new noise", "ddpm", timesteps, "explicit", "fp32", "noise floor"),
        System("ddpm bf16", "ddpm", timesteps, precision="bf16"),
        System("one network call", "dpmpp", 1, role="point estimate"),
    ]
    samplers: tuple[Sampler, ...] = ("dpmpp", "ddim")
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    for sampler in samplers:
        for count in steps:
            if count <= timesteps:
                systems += [
                    System(f"{sampler}-{count} {precision}", sampler, count, precision=precision)
                    for precision in precisions
                ]
    return systems


def with_attention(network: M, kind: Attention) -> M:
    """Copy a network, with another way of attention and the same weights.

    Of a whole pipeline the prior alone is copied: the decoder does not attend, and is large.
    """
    shared = {id(network.decoder): network.decoder} if isinstance(network, HighLevel) else {}
    copied = deepcopy(network, shared)
    for module in copied.modules():
        if isinstance(module, SharedKeyAttention):
            module.attention = kind
    return copied
