"""Targets of stimuli, read from a memory map a block of columns at a time.

Axes: S stored stimuli, N stimuli asked for, T targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mindeye.progress import track

BLOCK = 4096
"""Targets read at once: with the 8,859 training stimuli of a full NSD subject 145 MB in float32,
and at most 16 kB a stimulus in one piece of the file."""
ROWS_AT_ONCE = 256


class Columns:
    """Targets of some stimuli, any shape of them as columns.

    Parameters
    ----------
    stored
        (S, ...) targets of all stimuli, float32 or float16, memory-mapped or not.
    rows
        (N,) rows of the stimuli.
    block
        Columns read at once.
    """

    def __init__(
        self, stored: NDArray[np.floating], rows: NDArray[np.int64], *, block: int = BLOCK
    ) -> None:
        self._flat = stored.reshape(len(stored), -1)  # a view, also of a memory map
        self._rows = rows
        self.shape = stored.shape[1:]
        self.rows, self.count = len(rows), math.prod(self.shape)
        self.block = block

    def blocks(self, name: str) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield all columns in order: where they are and (N, at most `block`) of them."""
        for first in track(range(0, self.count, self.block), name):
            part = slice(first, min(first + self.block, self.count))
            yield part, np.asarray(self._flat[:, part][self._rows], dtype=np.float32)

    def array(self) -> NDArray[np.float32]:
        """Return all targets of the stimuli asked for, (N, ...), in memory."""
        found = self.pick(np.arange(self.count))
        return found.reshape(self.rows, *self.shape)

    def in_memory(self) -> Columns:
        """Return the same targets, of which nothing is left on disk."""
        return Columns(self.array(), np.arange(self.rows), block=self.block)

    def pick(self, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return some columns (N, len(columns)), of which alone memory is taken."""
        found = np.empty((self.rows, len(columns)), dtype=np.float32)
        for first in range(0, self.rows, ROWS_AT_ONCE):
            part = slice(first, first + ROWS_AT_ONCE)
            found[part] = self._flat[self._rows[part]][:, columns]
        return found
