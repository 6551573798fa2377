"""Comparisons that remember how far off they were."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

OUTPUT = (2e-5, 1e-4)
"""(atol, rtol) of network outputs."""

EXACT = (1e-6, 1e-6)
"""(atol, rtol) of schedules, losses and metrics."""

GRADIENT = (2e-5, 1e-6)
"""(atol, rtol) of gradients at low temperature."""


@dataclass
class Comparison:
    """Collects the comparisons of one entry.

    `max_error` is the largest absolute difference of any array divided by the largest absolute
    value of what it was compared with.
    """

    max_error: float = 0.0
    compared: int = 0
    names: set[str] = field(default_factory=set)

    def close(
        self, name: str, actual: Any, expected: Any, tolerance: tuple[float, float] = OUTPUT
    ) -> None:
        """Assert that two arrays agree within (atol, rtol)."""
        ours = torch.as_tensor(actual).detach().double()
        theirs = torch.as_tensor(expected).detach().double()
        self._count(name)
        assert ours.shape == theirs.shape, f"{name}: {tuple(ours.shape)} for {tuple(theirs.shape)}"
        difference = (ours - theirs).abs().max().item()
        size = theirs.abs().max().item()
        self.max_error = max(self.max_error, difference / size if size else difference)
        torch.testing.assert_close(
            ours, theirs, atol=tolerance[0], rtol=tolerance[1], msg=lambda text: f"{name}: {text}"
        )

    def equal(self, name: str, actual: Any, expected: Any) -> None:
        """Assert that two tensors, numbers or collections are the same."""
        self._count(name)
        if isinstance(expected, Tensor):
            assert torch.equal(torch.as_tensor(actual), expected), f"{name} differs"
        else:
            assert actual == expected, f"{name}: {actual} for {expected}"

    def _count(self, name: str) -> None:
        self.names.add(name)
        self.compared += 1

    def covers(self, names: set[str]) -> None:
        """Assert that every recorded result was compared: nothing in a file goes unread."""
        left = names - self.names
        assert not left, f"never compared: {', '.join(sorted(left))}"
