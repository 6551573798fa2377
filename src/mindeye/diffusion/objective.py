"""What a denoiser is, how it is trained, and what can be wrapped around it.

Embeddings enter diffusion multiplied by sqrt(D) (`embedding_scale`), so that the entries of a
unit-length embedding have a variance near 1, like the noise; samples are divided by it again.
Everything in this package works in scaled units; the caller converts at the border.
Source: published code (`image_embed_scale`).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from mindeye.diffusion.schedule import NoiseSchedule

Predicts = Literal["x0", "noise", "v"]
LossName = Literal["l2", "l1", "huber"]

CONDITION_DROP = 0.2
"""Share of trials whose condition is dropped in training (published code)."""

_LOSSES = {"l2": functional.mse_loss, "l1": functional.l1_loss, "huber": functional.smooth_l1_loss}


class Denoiser(Protocol):
    """Predicts `x_0` (N, K, D) from `x_t` (N, K, D), times (N,) and a condition (N, K, D).

    `keep_condition` and `keep_target` (N,) bool say which trials see their condition and their
    noisy embedding; None keeps all.
    """

    def __call__(
        self,
        x_t: Tensor,
        times: Tensor,
        condition: Tensor,
        *,
        keep_condition: Tensor | None = None,
        keep_target: Tensor | None = None,
    ) -> Tensor:
        """Predict."""
        ...


class PriorDraw(NamedTuple):
    """The random numbers of one training step.

    Attributes
    ----------
    times
        (N,) integer timesteps.
    noise
        (N, K, D) standard normal.
    keep_condition, keep_target
        (N,) bool.
    """

    times: Tensor
    noise: Tensor
    keep_condition: Tensor
    keep_target: Tensor


class PriorLoss(NamedTuple):
    """Loss (scalar) and what the denoiser predicted (N, K, D), in scaled units."""

    loss: Tensor
    prediction: Tensor


def embedding_scale(token_dim: int) -> float:
    """sqrt(D): what embeddings are multiplied by before, and divided by after, diffusion."""
    return math.sqrt(token_dim)


def draw_normal(
    shape: tuple[int, ...], rng: torch.Generator, device: torch.device | str | None = None
) -> Tensor:
    """Draw standard normal numbers where `rng` lives and move them to `device`."""
    return torch.randn(shape, generator=rng, device=rng.device).to(device or rng.device)


def draw_prior(
    target: Tensor, schedule: NoiseSchedule, *, rng: torch.Generator, drop: float = CONDITION_DROP
) -> PriorDraw:
    """Draw times, noise and the two keep masks for a training step on `target` (N, K, D).

    Condition and noisy embedding are dropped independently, each with probability `drop`, as in
    the published code. The draws lie on the device of `target`.
    """
    trials, source = len(target), rng.device
    times = torch.randint(schedule.timesteps, (trials,), generator=rng, device=source)
    noise = draw_normal(tuple(target.shape), rng, target.device)
    keep = torch.rand(2, trials, generator=rng, device=source) < 1 - drop
    return PriorDraw(
        times.to(target.device), noise, keep[0].to(target.device), keep[1].to(target.device)
    )


def prior_loss(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    target: Tensor,
    *,
    condition: Tensor,
    times: Tensor,
    noise: Tensor,
    keep_condition: Tensor | None = None,
    keep_target: Tensor | None = None,
    predicts: Predicts = "x0",
    loss: LossName = "l2",
) -> PriorLoss:
    """Loss of the denoiser at given times and noise: a pure function of its arguments.

    Parameters
    ----------
    denoiser
        Network that denoises, see `Denoiser`.
    schedule
        Noise schedule, on the device of `target`.
    target
        (N, K, D) in scaled units.
    condition
        (N, K, D) backbone tokens.
    times, noise, keep_condition, keep_target
        Draws of `draw_prior`: `prior_loss(..., **draw._asdict())`.
    predicts
        What the denoiser is trained to give: x0 (published), noise or v.
    loss
        "l2" (published), "l1" or "huber"; mean over all entries.
    """
    x_t = schedule.q_sample(target, times, noise)
    prediction = denoiser(
        x_t, times, condition, keep_condition=keep_condition, keep_target=keep_target
    )
    if predicts == "x0":
        truth = target
    elif predicts == "noise":
        truth = noise
    elif predicts == "v":
        truth = schedule.velocity(target, times, noise)
    else:
        raise ValueError(f"predicts is {predicts!r}; known: x0, noise, v")
    if loss not in _LOSSES:
        raise ValueError(f"loss is {loss!r}; known: {', '.join(_LOSSES)}")
    return PriorLoss(_LOSSES[loss](prediction, truth), prediction)


class Guided:
    """Classifier-free guidance around a denoiser: `null + scale (conditional - null)`.

    The unconditional pass drops the noisy embedding as well as the condition, so it does not see
    `x_t`; this is what the published code does. A scale of 1 costs no second pass.
    """

    def __init__(self, denoiser: Denoiser, scale: float) -> None:
        self.denoiser = denoiser
        self.scale = scale

    def __call__(
        self, x_t: Tensor, times: Tensor, condition: Tensor, **keep: Tensor | None
    ) -> Tensor:
        """(N, K, D) guided prediction."""
        conditional = self.denoiser(x_t, times, condition, **keep)
        if self.scale == 1:
            return conditional
        nobody = torch.zeros(len(x_t), dtype=torch.bool, device=x_t.device)
        null = self.denoiser(x_t, times, condition, keep_condition=nobody, keep_target=nobody)
        return null + self.scale * (conditional - null)


class PredictsX0:
    """Makes a denoiser that predicts noise or v into one that predicts `x_0`."""

    def __init__(
        self, denoiser: Denoiser, schedule: NoiseSchedule, predicts: Literal["noise", "v"]
    ) -> None:
        self.denoiser = denoiser
        self.convert = {"noise": schedule.x0_from_noise, "v": schedule.x0_from_velocity}[predicts]

    def __call__(
        self, x_t: Tensor, times: Tensor, condition: Tensor, **keep: Tensor | None
    ) -> Tensor:
        """(N, K, D) prediction of `x_0`."""
        return self.convert(x_t, times, self.denoiser(x_t, times, condition, **keep))
