"""The bench of embedding hands every way the same targets; nothing is timed here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.embedding import (
    AUGMENTED,
    ENCODED,
    STORE,
    WAYS,
    EmbeddingBench,
    _sources,
    bench_embedding,
    table,
)
from mindeye.errors import UsageError

SMALL = EmbeddingBench(
    pictures=8, size=24, voxels=20, batch_size=4, steps=1, repetitions=2, threads=0
)


def test_the_store_holds_what_the_encoder_gives_every_time(tmp_path: Path) -> None:
    sources, sizes = _sources(SMALL, torch.device("cpu"), tmp_path)
    assert list(sources) == list(WAYS)
    rows = torch.tensor([5, 0, 2])
    found = {n: s(rows, rng=torch.Generator().manual_seed(0)) for n, s in sources.items()}
    assert found[STORE].shape == (3, sizes.tokens, sizes.width)
    torch.testing.assert_close(found[STORE], found[ENCODED], atol=1e-4, rtol=1e-4)
    assert (found[STORE] - found[AUGMENTED]).abs().max() > 0.05


def test_speeds_are_ratios_of_the_medians() -> None:
    content = bench_embedding(SMALL)
    for part in ("targets_alone", "training"):
        rows = content[part]
        for row in rows.values():
            assert len(row["seconds"]) == 2
            middle = sum(row["seconds"]) / 2
            assert row["samples_per_second"] == pytest.approx(4 / middle)
            assert row["store_is_faster"] == pytest.approx(
                middle / (sum(rows[STORE]["seconds"]) / 2)
            )
    assert all(name in table(content) for name in WAYS)


def test_sizes_that_make_no_batch_are_refused() -> None:
    with pytest.raises(UsageError, match="do not fill a batch"):
        EmbeddingBench(pictures=10, batch_size=64)
