"""How galleries grow: power laws through what `mindeye bench gallery` measured at several sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mindeye.errors import DataError


class PowerLaw(NamedTuple):
    """``value = factor * size ** exponent``, by least squares of the logarithms.

    Attributes
    ----------
    exponent, factor
        Of the law.
    points
        Sizes it was fitted to, at least 2; through 2 it passes exactly.
    worst
        Largest ratio of a measured value to the law's or of the law's to it, at least 1.
    """

    exponent: float
    factor: float
    points: int
    worst: float

    def at(self, size: float) -> float:
        """Return the law's value."""
        return float(self.factor * size**self.exponent)


def power_law(sizes: Sequence[float], values: Sequence[float]) -> PowerLaw:
    """Fit a power law.

    Raises
    ------
    DataError
        If there are fewer than two different sizes, or a number is not positive.
    """
    x, y = np.asarray(sizes, dtype=float), np.asarray(values, dtype=float)
    if len(np.unique(x)) < 2 or x.shape != y.shape or not (np.all(x > 0) and np.all(y > 0)):
        raise DataError(
            f"a power law is fitted to positive values at two sizes at least; got {list(values)} "
            f"at {list(sizes)}"
        )
    exponent, constant = np.polyfit(np.log(x), np.log(y), 1)
    off = np.abs(np.log(y) - constant - exponent * np.log(x))
    return PowerLaw(float(exponent), float(np.exp(constant)), len(x), float(np.exp(off.max())))


QUANTITIES: dict[str, Callable[[Mapping[str, Any], str], float]] = {
    "parts: seconds": lambda c, i: c["gallery"]["seconds"],
    "index: seconds to build": lambda c, i: c["indices"][i]["build"]["seconds"],
    "index: own memory of the build, bytes": lambda c, i: c["indices"][i]["build"][
        "peak_anonymous"
    ],
    "index: bytes on disk": lambda c, i: c["indices"][i]["build"]["bytes"],
    "one query, seconds": lambda c, i: c["ways"][f"{i}:ours"]["single_median"],
    "query of a batch, seconds": lambda c, i: 1 / c["ways"][f"{i}:ours"]["queries_per_second"],
    "exact, query of a batch, seconds": lambda c, i: c["exact"]["seconds"] / c["exact"]["queries"],
    "own memory of one search, bytes": lambda c, i: c["indices"][i]["memory"]["one_anonymous"],
}
"""What is fitted -> where a bench's result has it, for one index."""


def growth(benches: Sequence[Mapping[str, Any]], index: str) -> dict[str, PowerLaw]:
    """Return the law of every quantity of an index over the sizes at which it was built.

    Raises
    ------
    DataError
        If it was built at fewer than two sizes.
    """
    having = [content for content in benches if index in content["indices"]]
    sizes = [content["vectors_count"] for content in having]
    return {
        name: power_law(sizes, [read(content, index) for content in having])
        for name, read in QUANTITIES.items()
    }
