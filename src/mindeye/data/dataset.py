"""Training batches: every epoch shows each training stimulus once, by one of its repeats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.data.subject import Subject


class Batch(NamedTuple):
    """One optimisation step's data.

    Attributes
    ----------
    betas
        (N, V).
    stimulus_rows
        (N,) rows of the embeddings store.
    """

    betas: Tensor
    stimulus_rows: Tensor


@dataclass(frozen=True)
class TrainingSet:
    """Single-trial betas of the training stimuli.

    Parameters
    ----------
    subject
        Where they come from.
    stimulus_ids
        Stimuli of the training split.
    """

    subject: Subject
    stimulus_ids: list[str]

    def batches_per_epoch(self, batch_size: int) -> int:
        """Return the number of batches; a last batch of one stimulus is left out."""
        full, rest = divmod(len(self.stimulus_ids), batch_size)
        return full + (rest > 1)

    def epoch(self, epoch: int, *, seed: int, batch_size: int) -> Iterator[Batch]:
        """Yield the batches of an epoch; order and repeats depend on (seed, epoch) alone."""
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(self.stimulus_ids))
        trials = [self.subject.rows_by_stimulus[s] for s in self.stimulus_ids]
        repeat = rng.random(len(trials))
        chosen = np.array([t[int(r * len(t))] for t, r in zip(trials, repeat, strict=True)])
        rows = np.array([self.subject.row_of_stimulus[s] for s in self.stimulus_ids])
        for b in range(self.batches_per_epoch(batch_size)):
            members = order[b * batch_size : (b + 1) * batch_size]
            yield Batch(self._betas(chosen[members]), torch.from_numpy(rows[members]))

    def _betas(self, trials: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.subject.betas[trials])
