from __future__ import annotations

from pathlib import Path

import numpy as np

from mindeye.preparation import rows as room
from mindeye.preparation.rows import column_blocks, create_rows, row_blocks, write_rows


def test_rows_land_where_they_belong_whatever_the_gaps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = rng.standard_normal((20, 3, 2)).astype(np.float32)
    create_rows(tmp_path / "a.npy", whole.shape, np.float32)
    for rows in (np.array([0, 1, 2, 7, 8, 19]), np.array([3, 5]), np.array([4, 6, *range(9, 19)])):
        write_rows(tmp_path / "a.npy", rows, whole[rows])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), whole)


def test_blocks_put_together_are_the_whole(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(room, "BLOCK_BYTES", 4 * 30)
    whole = np.arange(17 * 11, dtype=np.float32).reshape(17, 11)
    np.save(tmp_path / "a.npy", whole)
    np.testing.assert_array_equal(
        np.concatenate([block for _, block in row_blocks(tmp_path / "a.npy", "rows")]), whole
    )
    columns = np.array([0, 2, 3, 7, 10])
    blocks = list(column_blocks(tmp_path / "a.npy", columns, "columns"))
    assert len(blocks) == 5
    np.testing.assert_array_equal(
        np.concatenate([block for _, block in blocks], axis=1), whole[:, columns]
    )
