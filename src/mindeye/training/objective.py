"""What the training loop asks of an objective.

A step has four parts, so that one loop can run a batch at once, in micro-batches, or spread over
processes, with the same gradient:

1. `draw` fixes everything random and the targets, for the whole batch;
2. `rows` runs the network on some rows: losses that are means over rows, and the embedding;
3. `embed` gives the embedding alone, for a first pass without gradients;
4. `coupled` computes losses that couple all rows of the batch, from their embeddings.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from mindeye.data.dataset import Batch


class Draw(Protocol):
    """Everything a step needs to know, by row."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def part(self, rows: slice) -> Self:
        """Return the same for some rows."""
        ...


D = TypeVar("D", bound=Draw)


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


class Objective(Protocol[D]):
    """A model and its losses.

    Attributes
    ----------
    name
        Shown in the progress bar.
    input_layer
        Name of the module that reads the voxels, for its own weight decay.
    weights
        Weight of every loss in the total.
    gather
        Whether `coupled` sees the rows of all processes.
    model
        What is trained.
    """

    name: str
    input_layer: str
    weights: dict[str, float]
    gather: bool

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        ...

    def draw(self, batch: Batch, *, progress: float, rng: torch.Generator) -> D:
        """Draw a step; `progress` in [0, 1) is the share of steps done."""
        ...

    def rows(self, draw: D) -> RowTerms:
        """Run the network on the rows of a draw."""
        ...

    def embed(self, draw: D) -> Tensor | None:
        """Return the embedding of `rows` alone."""
        ...

    def coupled(self, embedding: Tensor, draw: D) -> dict[str, Tensor]:
        """Return scalar losses by name from the embedding of all rows, in float32."""
        ...

    def validate(self, model: nn.Module, *, rng: torch.Generator) -> dict[str, float]:
        """Score `model` on the validation stimuli, by one definition throughout training."""
        ...
