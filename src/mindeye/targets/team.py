"""What embedding needs of several processes; `mindeye.training.processes.Processes` gives it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Team(Protocol):
    """One process among those that embed the same pictures."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def index(self) -> int:
        """Its number, from 0."""
        ...

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def wait(self) -> None:
        """Wait until every process is here."""
        ...

    def gather_rows(self, own: Tensor, rows: int) -> Tensor:
        """Join equal shares of all processes to (rows, ...), in order."""
        ...

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over processes."""
        ...


class Alone:
    """The only process."""

    device = torch.device("cpu")
    index = 0
    count = 1

    def wait(self) -> None:
        """Wait for nobody."""

    def gather_rows(self, own: Tensor, rows: int) -> Tensor:
        """Return the rows as they are."""
        del rows
        return own

    def total(self, values: Tensor) -> Tensor:
        """Return the values as they are."""
        return values
