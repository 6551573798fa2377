"""One process or several (`torchrun`, `accelerate launch`), with the same result.

Every process reads the same global batch and draws the same random numbers, then works on its own
contiguous share of the rows. Batch size, learning rate and epochs are those of the configuration,
however many processes there are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from mindeye.errors import ConfigError

PATIENCE = timedelta(days=7)
"""How long processes wait for the first one while it embeds, draws and scores."""


@dataclass(frozen=True)
class Processes:
    """One process among all of them.

    Parameters
    ----------
    device
        Device that this process computes on.
    index, count
        Number of this process, from 0, and number of processes.
    """

    device: torch.device
    index: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.index == 0

    def share(self, rows: int, index: int | None = None) -> slice:
        """Return the rows of a process, this one by default; shares differ by one row at most."""
        index = self.index if index is None else index
        return slice(rows * index // self.count, rows * (index + 1) // self.count)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            distributed.barrier()

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return a module whose backward pass averages gradients over processes."""
        if self.count == 1:
            return module
        return nn.parallel.DistributedDataParallel(
            module, broadcast_buffers=False, gradient_as_bucket_view=True
        )

    def gather_rows(self, own: Tensor, rows: int) -> Tensor:
        """Join the shares (n, ...) of all processes to (rows, ...), in order.

        Gradients flow to this process's own rows only, so that a loss that every process computes
        from all rows has its gradient summed, not averaged: multiply such a loss by `count` before
        the backward pass of a wrapped module.
        """
        if self.count == 1:
            return own
        shares = [self.share(rows, i) for i in range(self.count)]
        longest = max(s.stop - s.start for s in shares)
        padded = own.new_zeros((longest, *own.shape[1:]))
        padded[: len(own)] = own.detach()
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        distributed.all_gather(parts, padded)
        joined = [part[: s.stop - s.start] for part, s in zip(parts, shares, strict=True)]
        joined[self.index] = own
        return torch.cat(joined)

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over processes of detached values."""
        if self.count > 1:
            values = values.detach().clone()
            distributed.all_reduce(values)
        return values


def join_processes(device: str) -> Processes:
    """Find out whether a launcher started several processes and join them.

    Parameters
    ----------
    device
        ``auto`` takes CUDA where there is one; with several processes each takes its own card.

    Raises
    ------
    ConfigError
        If the device is unknown or not there.
    """
    try:
        chosen = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        )
    except RuntimeError as error:
        raise ConfigError(f"unknown device {device!r}: {error}") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={device}, but torch finds no CUDA device; set device=cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(chosen)
    # imported here because accelerate takes a second to import and one process needs none of it
    from accelerate import PartialState

    state = PartialState(cpu=chosen.type == "cpu", timeout=PATIENCE)
    return Processes(state.device, state.process_index, state.num_processes)
