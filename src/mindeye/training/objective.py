"""What the training loop asks of an objective, and the stimuli it is validated on.

A step has four parts, so that one loop can run a batch at once, in micro-batches, or spread over
processes, with the same gradient:

1. `draw` fixes everything random and the targets, for the whole batch;
2. the objective itself, as a module, runs the network on some rows: losses that are means over
   rows, and the embedding;
3. `embed` gives the embedding alone, for a first pass without gradients;
4. `coupled` computes losses that couple all rows of the batch, from their embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mindeye.data.dataset import Batch

BLOCK = 64
"""Stimuli scored at once."""


@dataclass(frozen=True)
class Validation:
    """Mean betas of the validation stimuli, and the store their targets are in.

    Parameters
    ----------
    betas
        (S, V), averaged over repeats.
    stimulus_rows
        (S,) rows of `targets`.
    targets
        Embeddings or latents of all stimuli, memory-mapped; not augmented.
    """

    betas: Tensor
    stimulus_rows: Tensor
    targets: NDArray[np.float32] | Tensor

    def blocks(self) -> Iterator[slice]:
        """Yield slices of at most `BLOCK` stimuli."""
        for start in range(0, len(self.betas), BLOCK):
            yield slice(start, min(start + BLOCK, len(self.betas)))


class Draw(Protocol):
    """Everything a step needs to know, by row."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def part(self, rows: slice) -> Self:
        """Return the same for some rows."""
        ...


class RowTerms(NamedTuple):
    """What the network says of N rows.

    Attributes
    ----------
    embedding
        (N, ...) that `coupled` compares, None if nothing couples rows.
    losses
        Scalars by name, each a mean over the rows.
    """

    embedding: Tensor | None
    losses: dict[str, Tensor]


class Objective(nn.Module):
    """A model and its losses; a module, which is what torch can distribute over processes.

    Attributes
    ----------
    name
        Name in the progress bar.
    input_layer
        Name of the module that reads the voxels, which has a weight decay of its own.
    weights
        Weight of every loss in the total.
    gather
        Whether `coupled` sees the rows of all processes.
    model
        Network that is trained.
    """

    name: str
    input_layer: str
    weights: dict[str, float]
    gather: bool
    model: nn.Module

    def draw(self, batch: Batch, *, progress: float, rng: torch.Generator) -> Any:
        """Return a `Draw` of a step; `progress` in [0, 1) is the share of steps done."""
        raise NotImplementedError

    def forward(self, draw: Any) -> RowTerms:
        """Run the network on the rows of a draw."""
        raise NotImplementedError

    def embed(self, draw: Any) -> Tensor | None:
        """Return the embedding of `forward` alone."""
        raise NotImplementedError

    def coupled(self, embedding: Tensor, draw: Any) -> dict[str, Tensor]:
        """Return scalar losses by name from the embedding of all rows, in float32."""
        raise NotImplementedError

    def validate(self, model: nn.Module, *, rng: torch.Generator) -> dict[str, float]:
        """Score `model` on the validation stimuli, by one definition throughout training."""
        raise NotImplementedError
