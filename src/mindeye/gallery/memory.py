"""Embeddings in memory, searched as a run's stage `retrieve` does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.gallery.exact import Matches
from mindeye.gallery.tables import COLUMNS
from mindeye.retrieval import top_matches


class MemorySearch:
    """Compares queries with embeddings in memory.

    Parameters
    ----------
    embeddings
        Embeddings (G, D) of any float type and norm.
    """

    def __init__(self, embeddings: NDArray[Any]) -> None:
        self.embeddings = embeddings

    def search(self, queries: NDArray[Any], k: int) -> Matches:
        """Return the k nearest rows of queries (Q, D) of any norm; ties in the order of rows."""
        rows, scores = top_matches(queries, self.embeddings, k)
        return Matches(rows.numpy(), scores.numpy())


class MemoryTables:
    """What is known of embeddings in memory; the interface is that of `Tables`.

    Parameters
    ----------
    table
        Texts of G rows: id, caption, url and where.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """Return one line a row, in order: row and its texts."""
        rows = np.asarray(rows, dtype=np.int64).reshape(-1)
        found = self.table.iloc[rows].reset_index(drop=True)
        found.insert(0, "row", rows)
        return found

    def ids(self) -> Iterator[tuple[int, list[str]]]:
        """Yield 0 and all ids."""
        yield 0, self.table["id"].tolist()


def texts_of_ids(ids: list[str]) -> pd.DataFrame:
    """Return the table of rows of which the id alone is known."""
    table = pd.DataFrame("", index=range(len(ids)), columns=COLUMNS, dtype=object)
    table["id"] = ids
    return table
