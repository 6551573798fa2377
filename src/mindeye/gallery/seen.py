"""Which ids a gallery has: exact, at 16 bytes an id whatever its length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Lookup = Callable[[NDArray[np.int64]], list[str]]


class Seen:
    """The ids so far, as hashes; where two hashes agree the ids themselves are compared.

    Parameters
    ----------
    lookup
        Rows (n,) -> their ids.
    """

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self.hashes = np.zeros(0, dtype=np.uint64)
        self.rows = np.zeros(0, dtype=np.int64)

    def new(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return (n,) which ids are neither in the gallery nor earlier in the list."""
        fresh = np.array(~pd.Series(list(ids), dtype=object).duplicated(), dtype=bool)
        hashes = _hashes(ids)
        low = np.searchsorted(self.hashes, hashes, side="left")
        high = np.searchsorted(self.hashes, hashes, side="right")
        doubted = np.flatnonzero((high > low) & fresh)
        counts = (high - low)[doubted]
        if len(doubted):
            rows = [self.rows[low[i] : high[i]] for i in doubted]
            own = np.repeat(doubted, counts)
            same = [
                ids[i] == known
                for i, known in zip(own.tolist(), self.lookup(np.concatenate(rows)), strict=True)
            ]
            fresh[own[np.array(same)]] = False
        return fresh

    def add(self, ids: Sequence[str], first: int) -> None:
        """Take in the ids of rows from `first` on."""
        hashes = np.concatenate([self.hashes, _hashes(ids)])
        rows = np.concatenate([self.rows, np.arange(first, first + len(ids), dtype=np.int64)])
        order = np.argsort(hashes, kind="stable")
        self.hashes, self.rows = hashes[order], rows[order]


def _hashes(ids: Sequence[str]) -> NDArray[np.uint64]:
    texts = np.array(list(ids), dtype=object)
    return np.asarray(pd.util.hash_array(texts, categorize=False), dtype=np.uint64)
