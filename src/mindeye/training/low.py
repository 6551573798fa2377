"""The objective of the low-level pipeline: latents, and soft contrast on intermediate maps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mindeye.config import LowConfig
from mindeye.data.dataset import Batch
from mindeye.losses.contrastive import soft_contrastive_loss, unit_rows
from mindeye.models.lowlevel import LowLevel, positions_last
from mindeye.targets.views import StoredTargets, TargetSource
from mindeye.training.objective import Objective, RowTerms, Validation


@dataclass(frozen=True)
class LowDraw:
    """A step of the low-level pipeline.

    Attributes
    ----------
    betas
        (N, V).
    latents
        (N, C, h, w) targets.
    maps
        Two views (N, P, M) of the maps, None without that term.
    chosen
        Map positions, out of all N P of the whole batch, that are contrasted; None for all.
    """

    betas: Tensor
    latents: Tensor
    maps: tuple[Tensor, Tensor] | None
    chosen: Tensor | None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.betas)

    def part(self, rows: slice) -> LowDraw:
        """Return the same for some rows; `chosen` goes on describing the whole batch."""
        maps = None if self.maps is None else (self.maps[0][rows], self.maps[1][rows])
        return replace(self, betas=self.betas[rows], latents=self.latents[rows], maps=maps)


class LowObjective(Objective):
    """L1 on latents plus soft contrastive term on maps (paper section 3.5).

    Parameters
    ----------
    model
        Low-level pipeline.
    config
        Weights and temperature.
    latents
        Targets (S, C, h, w).
    maps
        Maps (S, P, M) of the pictures and of an augmented view, None without that term.
    validation
        Held-out stimuli with their latents.
    """

    model: LowLevel

    name = "train low"
    input_layer = "backbone.input"
    gather = True

    def __init__(
        self,
        model: LowLevel,
        config: LowConfig,
        latents: TargetSource,
        maps: tuple[TargetSource, TargetSource] | None,
        validation: Validation,
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.latents = latents
        self.maps = maps
        self.validation = validation
        self.weights = {"latents": 1.0, "maps": config.contrastive_weight}

    def draw(self, batch: Batch, *, progress: float, rng: torch.Generator) -> LowDraw:
        """Look up targets and draw the positions to contrast."""
        del progress
        rows, device = batch.stimulus_rows, next(self.model.parameters()).device
        latents = self.latents(rows, rng=rng).to(device)
        if self.maps is None:
            return LowDraw(batch.betas.to(device), latents, None, None)
        plain, augmented = (source(rows, rng=rng).to(device) for source in self.maps)
        positions, limit = plain.shape[0] * plain.shape[1], self.config.contrastive_rows
        chosen = None
        if 0 < limit < positions:
            chosen = torch.randperm(positions, generator=rng)[:limit].to(device)
        return LowDraw(batch.betas.to(device), latents, (plain, augmented), chosen)

    def forward(self, draw: LowDraw) -> RowTerms:
        """Return the predicted maps and the loss `latents`, a mean absolute error."""
        output = self.model(draw.betas)
        loss = (output.latents.float() - draw.latents).abs().mean()
        return RowTerms(None if self.maps is None else output.maps, {"latents": loss})

    def embed(self, draw: LowDraw) -> Tensor | None:
        """Return the predicted maps (N, P, M)."""
        projector = self.model.maps_projector
        if self.maps is None or projector is None:
            return None
        return positions_last(projector(self.model.seed_grid(draw.betas)))

    def coupled(self, embedding: Tensor, draw: LowDraw) -> dict[str, Tensor]:
        """Return the loss `maps` over positions of the whole batch."""
        if draw.maps is None:
            return {}
        views = [view.flatten(0, 1) for view in (embedding, *draw.maps)]
        if draw.chosen is not None:
            views = [view[draw.chosen] for view in views]
        loss = soft_contrastive_loss(
            *(unit_rows(view.float()) for view in views),
            temperature=self.config.contrastive_temperature,
        )
        return {"maps": loss}

    def validate(self, model: nn.Module, *, rng: torch.Generator) -> dict[str, float]:
        """Return the mean absolute error of latents."""
        device = next(model.parameters()).device
        stored = StoredTargets([self.validation.targets])
        total = 0.0
        for rows in self.validation.blocks():
            predicted = model(self.validation.betas[rows].to(device)).latents.float().cpu()
            target = stored(self.validation.stimulus_rows[rows], rng=rng)
            total += float((predicted - target).abs().mean()) * len(target)
        return {"latents": total / len(self.validation.betas)}
