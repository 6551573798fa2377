"""What the two pipelines are trained for: losses by name and validation scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mindeye.config import HighConfig, LowConfig
from mindeye.data.dataset import Batch
from mindeye.diffusion import NoiseSchedule, draw_prior, prior_loss
from mindeye.losses.contrastive import (
    bimixco_loss,
    cosine_between,
    soft_clip_loss,
    soft_contrastive_loss,
    unit_rows,
)
from mindeye.losses.mixco import apply_mixco, draw_mixco
from mindeye.models.lowlevel import LowLevelDecoder
from mindeye.models.pipelines import HighLevel
from mindeye.retrieval import ranks, top_k_accuracy


@dataclass(frozen=True)
class Validation:
    """Mean betas of the validation stimuli and their rows in the embeddings store.

    Parameters
    ----------
    betas
        (S, V), averaged over repeats.
    stimulus_rows
        (S,).
    """

    betas: Tensor
    stimulus_rows: Tensor


class HighObjective:
    """Contrastive loss plus weighted diffusion-prior loss, jointly (paper section 3.4).

    Parameters
    ----------
    model
        Backbone, projector, prior.
    config
        Losses and their weights.
    tokens
        (S, K, D) target embeddings of all stimuli.
    validation
        Held-out stimuli, never those of the test split.
    """

    name = "train high"
    input_layer = "decoder.backbone.input"

    def __init__(
        self, model: HighLevel, config: HighConfig, tokens: Tensor, validation: Validation
    ) -> None:
        self.model = model
        self.config = config
        self.tokens = tokens
        self.validation = validation
        self.schedule = NoiseSchedule.named("cosine", config.prior.timesteps)
        self.weights = {"contrastive": 1.0, "prior": config.prior.loss_weight}

    def losses(self, batch: Batch, *, progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the losses `contrastive` and `prior` of a batch."""
        config = self.config.contrastive
        target = self.tokens[batch.stimulus_rows.cpu()].to(batch.betas.device)
        mixing = progress < config.mixco_share
        betas, mix = batch.betas, None
        if mixing:
            mix = draw_mixco(
                len(betas),
                rng=rng,
                concentration=config.mixco_beta,
                share=config.mixco_threshold,
                device=betas.device,
            )
            betas = apply_mixco(betas, mix)
        output = self.model(betas)
        prior = self._prior(output.backbone, target, rng)
        # Contrastive logits at temperatures near .01 need float32.
        with torch.autocast(betas.device.type, enabled=False):
            prediction, actual = unit_rows(output.contrastive.float()), unit_rows(target)
            if mixing:
                contrastive = bimixco_loss(
                    prediction, actual, mix, temperature=config.mixco_temperature
                )
            else:
                temperature = self._temperature(progress)
                contrastive = soft_clip_loss(prediction, actual, temperature=temperature)
        return {"contrastive": contrastive, "prior": prior}

    def _temperature(self, progress: float) -> float:
        """Return SoftCLIP's temperature, on a cosine from its first to its last value."""
        config = self.config.contrastive
        share = (progress - config.mixco_share) / (1 - config.mixco_share)
        return cosine_between(config.soft_temperature_start, config.soft_temperature_end, share)

    def _prior(
        self, condition: Tensor, target: Tensor, rng: torch.Generator, drop: float | None = None
    ) -> Tensor:
        scaled = self.model.to_prior(target)
        drop = self.config.prior.condition_drop if drop is None else drop
        draw = draw_prior(scaled, self.schedule, rng=rng, drop=drop)
        return prior_loss(
            self.model.prior,
            self.schedule.to(scaled.device),
            scaled,
            condition=condition,
            times=draw.times,
            noise=draw.noise,
            keep_condition=draw.keep_condition,
            keep_target=draw.keep_target,
        ).loss

    def validate(self, *, rng: torch.Generator) -> dict[str, float]:
        """Return retrieval in both directions, SoftCLIP at its last temperature, prior loss."""
        device = next(self.model.parameters()).device
        target = self.tokens[self.validation.stimulus_rows]
        output = self.model(self.validation.betas.to(device))
        prediction, actual = unit_rows(output.contrastive.float().cpu()), unit_rows(target)
        truth = torch.arange(len(target))
        loss = soft_clip_loss(
            prediction, actual, temperature=self.config.contrastive.soft_temperature_end
        )
        prior = self._prior(output.backbone.float(), target.to(device), rng, drop=0.0)
        return {
            "contrastive": float(loss),
            "prior": float(prior),
            "brain_to_image_top1": float(top_k_accuracy(ranks(prediction, actual, truth), 1)),
            "image_to_brain_top1": float(top_k_accuracy(ranks(actual, prediction, truth), 1)),
        }


class LowObjective:
    """L1 on latents plus soft contrastive term on maps (paper section 3.5).

    Parameters
    ----------
    model
        Low-level pipeline.
    config
        Weights and temperature.
    latents
        (S, C, h, w) of all stimuli.
    maps
        (2, S, P, M) maps of the pictures and of an augmented view, None without that term.
    validation
        Held-out stimuli.
    """

    name = "train low"
    input_layer = "backbone.input"

    def __init__(
        self,
        model: LowLevelDecoder,
        config: LowConfig,
        latents: Tensor,
        maps: tuple[Tensor, Tensor] | None,
        validation: Validation,
    ) -> None:
        self.model = model
        self.config = config
        self.latents = latents
        self.maps = maps
        self.validation = validation
        self.weights = {"latents": 1.0, "maps": config.contrastive_weight}

    def losses(self, batch: Batch, *, progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the losses `latents` (mean absolute error) and `maps` of a batch."""
        del progress
        rows = batch.stimulus_rows.cpu()
        output = self.model(batch.betas)
        target = self.latents[rows].to(batch.betas.device)
        losses = {"latents": (output.latents.float() - target).abs().mean()}
        if self.maps is not None:
            views = [m[rows].to(batch.betas.device).flatten(0, 1) for m in self.maps]
            maps = output.maps.flatten(0, 1)
            if 0 < self.config.contrastive_rows < len(maps):
                chosen = torch.randperm(len(maps), generator=rng)[: self.config.contrastive_rows]
                maps, *views = (m[chosen.to(m.device)] for m in (maps, *views))
            with torch.autocast(batch.betas.device.type, enabled=False):
                losses["maps"] = soft_contrastive_loss(
                    unit_rows(maps.float()),
                    *map(unit_rows, views),
                    temperature=self.config.contrastive_temperature,
                )
        return losses

    def validate(self, *, rng: torch.Generator) -> dict[str, float]:
        """Return the mean absolute error of latents."""
        del rng
        device = next(self.model.parameters()).device
        output = self.model(self.validation.betas.to(device))
        target = self.latents[self.validation.stimulus_rows]
        return {"latents": float((output.latents.float().cpu() - target).abs().mean())}
