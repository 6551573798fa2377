"""One step of a training: draw, backward pass, update.

The backward pass takes a whole batch, micro-batches, or a share of several processes. Losses that
are means over rows add up over micro-batches by themselves. A contrastive loss does not: it couples
all rows. With micro-batches its gradient with respect to the embeddings is taken first, from a pass
that keeps nothing, and handed to each micro-batch in a second pass (gradient caching, arXiv
2101.06983). The result is the gradient of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from mindeye.config import OptimConfig
from mindeye.data.dataset import Batch
from mindeye.errors import ConfigError, NumericalError
from mindeye.processes import Processes
from mindeye.seeds import derive_seed
from mindeye.training.checkpoint import TrainingState
from mindeye.training.objective import Draw, Objective, RowTerms


class TrainingStep:
    """Takes steps of a training: `draw`, then `backward`, then `update`.

    Parameters
    ----------
    objective
        Model and losses.
    state
        Model, optimiser, schedule and steps done; gets every step.
    config
        Precision, micro-batches and clipping.
    processes
        Process group.
    """

    def __init__(
        self,
        objective: Objective,
        state: TrainingState,
        config: OptimConfig,
        processes: Processes,
    ) -> None:
        self.objective = objective
        self.state = state
        self.config = config
        self.processes = processes
        self.module = processes.wrap(objective)

    def draw(self, batch: Batch, *, seed: int, total: int) -> tuple[Any, int]:
        """Draw everything random of the next step, which depends on (seed, step) alone.

        Parameters
        ----------
        batch
            The whole batch, over all processes.
        seed
            Seed of the training.
        total
            Steps of the training.

        Returns
        -------
        draw, seed
            Draw of the objective and seed of dropout.
        """
        step = self.state.step
        rng = torch.Generator().manual_seed(derive_seed(seed, step))
        dropout = int(torch.randint(2**62, (), generator=rng))
        if not self.objective.gather and self.processes.count > 1:
            share = self.processes.share(len(batch.betas))
            batch = Batch(batch.betas[share], batch.stimulus_rows[share])
            rng = torch.Generator().manual_seed(derive_seed(dropout, self.processes.index))
        return self.objective.draw(batch, progress=step / total, rng=rng), dropout

    def backward(self, draw: Draw, rows: int, *, seed: int) -> dict[str, Tensor]:
        """Leave the gradient of the weighted losses in the parameters' `grad`.

        Parameters
        ----------
        draw
            Draw of the whole batch if the objective gathers, else of this process's share.
        rows
            Rows of the whole batch.
        seed
            Seed of dropout, which takes no generator.

        Returns
        -------
        dict
            Losses by name, over the whole batch, detached.
        """
        self.state.optimizer.zero_grad(set_to_none=True)
        share = self.processes.share(rows) if self.objective.gather else slice(0, len(draw))
        own = draw.part(share)
        parts = self._parts(len(own))
        values: dict[str, Tensor] = {}
        cached = self._cache(draw, own, parts, rows, seed, values) if len(parts) > 1 else None
        for i, part in enumerate(parts):
            last = i + 1 == len(parts)
            with self._dropout(seed, i), self._synchronised(last):
                with self._autocast():
                    terms: RowTerms = self.module(own.part(part))
                total = self._row_losses(terms, part.stop - part.start, rows, values)
                if cached is not None and terms.embedding is not None:
                    total = total + (terms.embedding.float() * cached[part]).sum()
                elif terms.embedding is not None:
                    total = total + self._coupled(terms.embedding.float(), draw, rows, values)
                total.backward()  # type: ignore[no-untyped-call]
        return self._whole(values)

    def update(self, losses: dict[str, Tensor], describe: Callable[[], str] = str) -> None:
        """Clip the gradient and move the weights by it.

        Parameters
        ----------
        losses
            Losses of the step, from `backward`.
        describe
            Names the batch in an error message.

        Raises
        ------
        NumericalError
            If a loss or the gradient is not finite; the weights are then as before.
        """
        state = self.state
        norm = clip_gradient(state.model, self.config.clip)
        for name, value in {**losses, "gradient": norm}.items():
            if not bool(torch.isfinite(value)):
                what = "the gradient" if name == "gradient" else f"loss {name!r}"
                raise NumericalError(
                    f"{what} of {self.objective.name} is {float(value)} at step {state.step} "
                    f"(stimuli {describe()}); look at these, lower the learning rate, or use "
                    "precision=fp32"
                )
        state.optimizer.step()
        state.schedule.step()
        state.step += 1
        if state.average is not None:
            state.average.update(state.model)

    def _parts(self, rows: int) -> list[slice]:
        if not self.config.micro_batch:
            return [slice(0, rows)]
        size = max(self.config.micro_batch // self.processes.count, 1)
        return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]

    def _cache(
        self,
        draw: Draw,
        own: Draw,
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

    def _row_losses(
        self, terms: RowTerms, size: int, rows: int, values: dict[str, Tensor]
    ) -> Tensor:
        """Add the means over some rows to the means over all, and return what is minimised."""
        total = torch.zeros(())
        for name, loss in terms.losses.items():
            share = size / rows
            values[name] = values.get(name, 0.0) + share * loss.detach()
            scale = share * self.processes.count * self.objective.weights[name]
            total = total.to(loss.device) + scale * loss
        return total

    def _coupled(
        self, embedding: Tensor, draw: Draw, rows: int, values: dict[str, Tensor]
    ) -> Tensor:
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
            self.processes.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"
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


def clip_gradient(model: nn.Module, largest: float) -> Tensor:
    """Scale the gradient to norm `largest` where it is longer, 0 for never; return its norm."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if largest:
        nn.utils.clip_grads_with_norm_(model.parameters(), largest, norm)
    return norm
