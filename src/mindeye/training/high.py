"""The objective of the high-level pipeline: contrastive loss and diffusion prior, jointly."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from mindeye.config import HighConfig
from mindeye.data.dataset import Batch
from mindeye.diffusion import draw_prior, prior_loss
from mindeye.diffusion.objective import PriorDraw
from mindeye.losses import LOSSES
from mindeye.losses.contrastive import (
    bimixco_loss,
    cosine_between,
    soft_clip_loss,
    unit_rows,
)
from mindeye.losses.mixco import MixCo, apply_mixco, draw_mixco
from mindeye.models.pipelines import HighLevel
from mindeye.retrieval import ranks, top_k_accuracy
from mindeye.targets.views import StoredTargets, TargetSource
from mindeye.training.objective import Objective, RowTerms, Validation


@dataclass(frozen=True)
class HighDraw:
    """A step of the high-level pipeline.

    Attributes
    ----------
    betas
        (N, V), mixed where `mix` says so.
    target
        (N, K, D) embeddings.
    prior
        Times, noise and dropped conditions; None without a diffusion prior.
    mix
        How the betas of the whole batch were mixed; None after the first part of training.
    temperature
        Temperature of the contrastive loss.
    """

    betas: Tensor
    target: Tensor
    prior: PriorDraw | None
    mix: MixCo | None
    temperature: float

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.betas)

    def part(self, rows: slice) -> HighDraw:
        """Return the same for some rows; `mix` goes on describing the whole batch."""
        prior = None if self.prior is None else PriorDraw(*(p[rows] for p in self.prior))
        return replace(self, betas=self.betas[rows], target=self.target[rows], prior=prior)


class HighObjective(Objective):
    """Contrastive loss plus weighted diffusion-prior loss, jointly (paper section 3.4).

    Parameters
    ----------
    model
        Backbone, projector, prior.
    config
        Losses and their weights.
    targets
        Embeddings to train towards.
    validation
        Held-out stimuli with their embeddings.
    """

    model: HighLevel

    name = "train high"

    def __init__(
        self,
        model: HighLevel,
        config: HighConfig,
        targets: TargetSource,
        validation: Validation,
    ) -> None:
        super().__init__()
        self.model = model
        self.input_layer = model.input_layer
        self.config = config
        self.targets = targets
        self.validation = validation
        self.gather = config.contrastive.gather
        weight = config.prior.loss_weight
        self.weights = {"contrastive": 1.0, "prior": weight, "mse": weight}

    def draw(self, batch: Batch, *, progress: float, rng: torch.Generator) -> HighDraw:
        """Draw mixing, target views, and the prior's times and noise."""
        config, device = self.config.contrastive, next(self.model.parameters()).device
        target = self.targets(batch.stimulus_rows, rng=rng).to(device)
        betas, mix = batch.betas.to(device), None
        if config.enabled and config.mixing != "none" and progress < config.mixco_share:
            mix = draw_mixco(
                len(betas),
                rng=rng,
                concentration=config.mixco_beta,
                share=config.mixco_threshold,
                device=device,
            )
            betas = apply_mixco(betas, mix)
        prior = None
        if self.model.prior is not None:
            # Noise is as large as the targets: drawn where it is needed.
            there = torch.Generator(device).manual_seed(
                int(torch.randint(2**62, (), generator=rng))
            )
            prior = draw_prior(
                target, self.model.schedule, rng=there, drop=self.config.prior.condition_drop
            )
        return HighDraw(betas, target, prior, mix, self._temperature(progress, mix))

    def _temperature(self, progress: float, mix: MixCo | None) -> float:
        """Return the temperature; after mixing, on a cosine from its first to its last value."""
        config = self.config.contrastive
        if mix is not None:
            return config.mixco_temperature
        begin = 0.0 if config.mixing == "none" else config.mixco_share
        share = (progress - begin) / (1 - begin) if begin < 1 else 1.0
        return cosine_between(config.soft_temperature_start, config.soft_temperature_end, share)

    def forward(self, draw: HighDraw) -> RowTerms:
        """Return the projected tokens and the loss `prior` or `mse`."""
        output = self.model(draw.betas)
        losses: dict[str, Tensor] = {}
        if draw.prior is not None:
            losses["prior"] = self._prior(self.model, output.backbone, draw.target, draw.prior)
        elif self.config.prior.kind == "mse":
            losses["mse"] = functional.mse_loss(
                output.backbone.float(), self.model.to_prior(draw.target)
            )
        return RowTerms(output.contrastive if self.config.contrastive.enabled else None, losses)

    @staticmethod
    def _prior(model: HighLevel, condition: Tensor, target: Tensor, draw: PriorDraw) -> Tensor:
        if model.prior is None:
            raise ValueError("this pipeline has no diffusion prior")
        return prior_loss(
            model.prior,
            model.schedule.to(target.device),
            model.to_prior(target),
            condition=condition,
            times=draw.times,
            noise=draw.noise,
            keep_condition=draw.keep_condition,
            keep_target=draw.keep_target,
        ).loss

    def embed(self, draw: HighDraw) -> Tensor | None:
        """Return the projected tokens (N, K, D)."""
        if not self.config.contrastive.enabled:
            return None
        tokens: Tensor = self.model(draw.betas).contrastive
        return tokens

    def coupled(self, embedding: Tensor, draw: HighDraw) -> dict[str, Tensor]:
        """Return the loss `contrastive` of all rows."""
        config = self.config.contrastive
        prediction, actual = unit_rows(embedding.float()), unit_rows(draw.target)
        temperature = draw.temperature
        if draw.mix is not None:
            loss = bimixco_loss(
                prediction,
                actual,
                draw.mix,
                bidirectional=config.mixing == "bimixco",
                as_published=config.published_targets,
                temperature=temperature,
            )
        else:
            loss = LOSSES[config.soft](prediction, actual, temperature=temperature)
        return {"contrastive": loss}

    def validate(self, model: nn.Module, *, rng: torch.Generator) -> dict[str, float]:
        """Return retrieval in both directions, SoftCLIP at its last temperature, prior loss."""
        if not isinstance(model, HighLevel):
            raise TypeError(f"a high-level pipeline is validated, not {type(model).__name__}")
        device = next(model.parameters()).device
        projected, prior, mse = [], 0.0, 0.0
        stored = StoredTargets([self.validation.targets])
        for rows in self.validation.blocks():
            output = model(self.validation.betas[rows].to(device))
            target = stored(self.validation.stimulus_rows[rows], rng=rng).to(device)
            share = len(target) / len(self.validation.betas)
            projected.append(output.contrastive.float().cpu())
            if model.prior is not None:
                draw = draw_prior(target, model.schedule, rng=rng, drop=0.0)
                prior += share * float(self._prior(model, output.backbone.float(), target, draw))
            elif self.config.prior.kind == "mse":
                errors = output.backbone.float() - model.to_prior(target)
                mse += share * float(errors.square().mean())
        actual = unit_rows(stored(self.validation.stimulus_rows, rng=rng))
        prediction = unit_rows(torch.cat(projected))
        truth = torch.arange(len(actual))
        scores = {
            "contrastive": float(
                soft_clip_loss(
                    prediction, actual, temperature=self.config.contrastive.soft_temperature_end
                )
            ),
            "brain_to_image_top1": float(top_k_accuracy(ranks(prediction, actual, truth), 1)),
            "image_to_brain_top1": float(top_k_accuracy(ranks(actual, prediction, truth), 1)),
        }
        if model.prior is not None:
            scores["prior"] = prior
        elif self.config.prior.kind == "mse":
            scores["mse"] = mse
        return scores
