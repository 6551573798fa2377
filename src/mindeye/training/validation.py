"""Held-out stimuli that a training is scored on while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

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
