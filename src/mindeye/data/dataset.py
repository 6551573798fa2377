"""Training batches: every epoch shows each training stimulus once, by one of its repeats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.config.optim import Repeats
from mindeye.data.repeats import draw_repeats
from mindeye.data.subject import Subject
from mindeye.seeds import derive_seed


class Batch(NamedTuple):
    """One optimisation step's data.

    Attributes
    ----------
    betas
        Betas of one trial (or a mix of repeats) a stimulus, (N, V).
    stimulus_rows
        Rows of the stimuli in the embedding store, (N,).
    """

    betas: Tensor
    stimulus_rows: Tensor


@dataclass(frozen=True)
class TrainingSet:
    """Single-trial betas of the training stimuli.

    Parameters
    ----------
    subject
        Prepared subject that the trials are of.
    stimulus_ids
        Stimuli of the training split.
    """

    subject: Subject
    stimulus_ids: list[str]

    def batches_per_epoch(self, batch_size: int, *, smallest: int = 2) -> int:
        """Return the number of batches; a last one of fewer than `smallest` stimuli is left out."""
        full, rest = divmod(len(self.stimulus_ids), batch_size)
        return full + (rest >= smallest)

    def epoch(
        self,
        epoch: int,
        *,
        seed: int,
        batch_size: int,
        repeats: Repeats = "random",
        first: int = 0,
        smallest: int = 2,
    ) -> Iterator[Batch]:
        """Yield the batches of an epoch; order and repeats depend on (seed, epoch) alone.

        Parameters
        ----------
        epoch
            Number of the epoch, from 0.
        seed
            Seed of the order of stimuli and of the choice of repeats.
        batch_size
            Stimuli a batch.
        repeats
            What becomes of a stimulus's repeats, see `mindeye.config.OptimConfig`.
        first
            Batch to begin with, where a training goes on in the middle of an epoch.
        smallest
            A last batch of fewer stimuli is left out.
        """
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(self.stimulus_ids))
        draws = rng.random(len(self.stimulus_ids))
        for b in range(first, self.batches_per_epoch(batch_size, smallest=smallest)):
            members = order[b * batch_size : (b + 1) * batch_size]
            trials = [self._trials[m] for m in members]
            if repeats == "mixed":
                torch_rng = torch.Generator().manual_seed(derive_seed(seed, epoch, b))
                betas = draw_repeats(self._betas(_rectangle(trials)), rng=torch_rng)
            elif repeats == "cycle":
                betas = self._betas(np.array([t[b % len(t)] for t in trials]))
            else:
                chosen = [t[int(draws[m] * len(t))] for t, m in zip(trials, members, strict=True)]
                betas = self._betas(np.array(chosen))
            yield Batch(betas, torch.from_numpy(self._rows[members]))

    def names(self, batch: Batch, count: int = 4) -> str:
        """Return the first stimulus ids of a batch, for an error message."""
        ids = self.subject.stimuli["stimulus_id"].iloc[batch.stimulus_rows[:count].tolist()]
        more = ", ..." if len(batch.stimulus_rows) > count else ""
        return ", ".join(map(str, ids)) + more

    @cached_property
    def _trials(self) -> list[NDArray[np.int64]]:
        """Rows of the betas of every training stimulus."""
        return [np.asarray(self.subject.rows_by_stimulus[s]) for s in self.stimulus_ids]

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        return np.array([self.subject.row_of_stimulus[s] for s in self.stimulus_ids])

    def _betas(self, trials: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.subject.betas[trials])


def _rectangle(trials: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """(N, R) rows of the betas; a stimulus with fewer repeats than another gives some twice."""
    longest = max(map(len, trials))
    return np.stack([np.resize(t, longest) for t in trials])
