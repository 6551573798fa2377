"""The backward pass of one step: whole batch, micro-batches, or a share of several processes.

Losses that are means over rows add up over micro-batches by themselves. A contrastive loss does
not: it couples all rows. With micro-batches its gradient with respect to the embeddings is taken
first, from a pass that keeps nothing, and handed to each micro-batch in a second pass (gradient
caching, arXiv 2101.06983). The result is the gradient of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mindeye.errors import ConfigError
from mindeye.processes import Processes
from mindeye.seeds import derive_seed
from mindeye.training.objective import D, Objective, RowTerms


class Rows(nn.Module):
    """An objective's `rows` as a module's forward pass, which is what torch can distribute."""

    def __init__(self, objective: Objective[Any]) -> None:
        super().__init__()
        self.model = objective.model
        self.objective = objective

    def forward(self, draw: Any) -> RowTerms:
        """Run the network on the rows of a draw."""
        return self.objective.rows(draw)


@dataclass(frozen=True)
class Descent:
    """How backward passes are run.

    Parameters
    ----------
    objective
        Model and losses.
    module
        `Rows` of the objective, wrapped by `Processes.wrap`.
    processes
        This process among all.
    precision
        ``bf16`` or ``fp32``.
    micro_batch
        Rows that go through the network at once, over all processes together; 0 for all.
    """

    objective: Objective[Any]
    module: nn.Module
    processes: Processes
    precision: str = "fp32"
    micro_batch: int = 0

    def backward(self, draw: D, rows: int, *, seed: int) -> dict[str, Tensor]:
        """Leave the gradient of the weighted losses in the parameters' `grad`.

        Parameters
        ----------
        draw
            Of the whole batch if the objective gathers, else of this process's share.
        rows
            Rows of the whole batch.
        seed
            Of dropout, which knows no generator of its own.

        Returns
        -------
        dict
            Losses by name, over the whole batch, detached.
        """
        share = self.processes.share(rows) if self.objective.gather else slice(0, len(draw))
        own = draw.part(share)
        parts = self._parts(len(own))
        values: dict[str, Tensor] = {}
        cached = None
        if len(parts) > 1:
            cached = self._cache(draw, own, parts, rows, seed, values)
        for i, part in enumerate(parts):
            last = i + 1 == len(parts)
            with self._dropout(seed, i), self._synchronised(last):
                terms = self._forward(own.part(part))
                total = self._row_losses(terms, part.stop - part.start, rows, values)
                if cached is not None and terms.embedding is not None:
                    total = total + (terms.embedding.float() * cached[part]).sum()
                elif terms.embedding is not None:
                    total = total + self._coupled(terms.embedding.float(), draw, rows, values)
                total.backward()  # type: ignore[no-untyped-call]
        return self._whole(values)

    def _parts(self, rows: int) -> list[slice]:
        if not self.micro_batch:
            return [slice(0, rows)]
        size = max(self.micro_batch // self.processes.count, 1)
        return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]

    def _cache(
        self,
        draw: D,
        own: D,
        parts: list[slice],
        rows: int,
        seed: int,
        values: dict[str, Tensor],
    ) -> Tensor | None:
        """Return the gradient of the coupled losses with respect to this process's embeddings."""
        embeddings = []
        with torch.no_grad():
            for i, part in enumerate(parts):
                with self._dropout(seed, i), self._autocast():
                    embedding = self.objective.embed(own.part(part))
                if embedding is None:
                    return None
                embeddings.append(embedding.float())
        leaf = torch.cat(embeddings).requires_grad_()
        self._coupled(leaf, draw, rows, values).backward()  # type: ignore[no-untyped-call]
        return leaf.grad

    def _forward(self, own: D) -> RowTerms:
        with self._autocast():
            terms: RowTerms = self.module(own)
        return terms

    def _row_losses(
        self, terms: RowTerms, size: int, rows: int, values: dict[str, Tensor]
    ) -> Tensor:
        """Add the means over some rows to the means over all, and return what to descend."""
        total = torch.zeros(())
        for name, loss in terms.losses.items():
            share = size / rows
            values[name] = values.get(name, 0.0) + share * loss.detach()
            scale = share * self.processes.count * self.objective.weights[name]
            total = total.to(loss.device) + scale * loss
        return total

    def _coupled(self, embedding: Tensor, draw: D, rows: int, values: dict[str, Tensor]) -> Tensor:
        """Return the weighted coupled losses, to be averaged over processes."""
        share = 1.0
        if self.objective.gather:
            embedding = self.processes.gather_rows(embedding, rows)
        else:
            share = len(draw) / rows
        total = torch.zeros((), device=embedding.device)
        for name, loss in self.objective.coupled(embedding, draw).items():
            own_part = share / self.processes.count if self.objective.gather else share
            values[name] = own_part * loss.detach()
            total = total + share * self.processes.count * self.objective.weights[name] * loss
        return total

    def _whole(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        names = sorted(values)
        summed = self.processes.total(torch.stack([values[name].float() for name in names]))
        return dict(zip(names, summed, strict=True))

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(
            self.processes.device.type, torch.bfloat16, enabled=self.precision == "bf16"
        )

    @contextmanager
    def _dropout(self, seed: int, part: int) -> Iterator[None]:
        """Seed dropout, the same in both passes over a micro-batch."""
        device = self.processes.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(derive_seed(seed, self.processes.index, part))
            yield

    def _synchronised(self, last: bool) -> AbstractContextManager[Any]:
        """Average gradients over processes once a step, after the last micro-batch."""
        if last or not isinstance(self.module, nn.parallel.DistributedDataParallel):
            return nullcontext()
        return self.module.no_sync()


def check_shares(batch_size: int, processes: Processes) -> None:
    """Refuse a batch that cannot be shared among the processes.

    Raises
    ------
    ConfigError
        If it is not a multiple of their number; says what to set.
    """
    if batch_size % processes.count:
        down = batch_size // processes.count * processes.count or processes.count
        raise ConfigError(
            f"batch_size={batch_size} cannot be shared evenly by {processes.count} processes; it "
            f"is the size over all of them and never changes silently: set it to {down} or start "
            "another number of processes"
        )
