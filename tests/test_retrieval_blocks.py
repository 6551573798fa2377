"""Claims about retrieval in blocks: the same numbers, without the whole table in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mindeye import retrieval
from mindeye.errors import DataError
from mindeye.metrics.retrieval_rows import retrieval_rows
from mindeye.metrics.scoring import Scoring

SCORING = Scoring(candidates=12, draws=5, resamples=50, shuffles=20)


def pair(n: int = 41, tokens: int = 3, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    image = torch.randn(n, tokens, width, generator=rng)
    return image + 2 * torch.randn(image.shape, generator=rng), image


@pytest.mark.parametrize("memory", [1, 3_000, 20_000])
def test_blocks_of_any_size_give_the_scores_of_one_product(memory: int) -> None:
    queries, gallery = pair()
    whole = retrieval.similarity(queries, gallery)
    parts = list(retrieval.score_rows(queries, gallery, memory=memory))
    assert [i for block, _ in parts for i in range(block.start, block.stop)] == list(range(41))
    torch.testing.assert_close(torch.cat([s for _, s in parts]), whole, rtol=0, atol=5e-7)


@pytest.mark.parametrize("memory", [2_000, 30_000])
def test_a_table_made_in_blocks_is_the_table_made_at_once(memory: int) -> None:
    predicted, actual = pair()
    tables = [
        retrieval_rows(
            "mindeye", predicted, actual, rng=np.random.default_rng(3), scoring=SCORING, memory=m
        )
        for m in (retrieval.MEMORY, memory)
    ]
    for (one, values), (other, again) in zip(*tables, strict=True):
        assert one == other
        np.testing.assert_array_equal(values, again)


def test_half_precision_on_disk_is_read_as_single(tmp_path: Path) -> None:
    predicted, actual = (x.half().numpy() for x in pair())
    opened = []
    for name, array in (("brain", predicted), ("image", actual)):
        np.save(tmp_path / f"{name}.npy", array)
        opened.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    single = [torch.from_numpy(a.astype(np.float32)) for a in (predicted, actual)]
    assert torch.equal(retrieval.ranks(*opened), retrieval.ranks(*single))


def test_selected_rows_are_the_rows_taken_out(tmp_path: Path) -> None:
    queries, gallery = (x.numpy() for x in pair())
    rows = np.array([7, 3, 40, 3])
    lazily = retrieval.Selected(gallery, rows)
    wanted = retrieval.similarity(queries, gallery[rows])
    got = [s for _, s in retrieval.score_rows(queries, lazily, memory=5_000)]
    torch.testing.assert_close(torch.cat(got), wanted, rtol=0, atol=5e-7)


def test_arrays_that_do_not_fit_are_refused() -> None:
    queries, gallery = (x.numpy() for x in pair())
    with pytest.raises(DataError, match="24 features per row but the gallery 21"):
        retrieval.ranks(queries, gallery.reshape(41, -1)[:, :21])
    with pytest.raises(DataError, match="floating point"):
        retrieval.ranks(queries, gallery.astype(np.int64))
    with pytest.raises(DataError, match="one query"):
        retrieval.ranks(queries[:0], gallery)


LEAN = """
import resource, sys
import numpy as np
from mindeye import retrieval
from mindeye.metrics.retrieval_rows import retrieval_rows
from mindeye.metrics.scoring import Scoring

brain, image = (np.load(p, mmap_mode="r") for p in sys.argv[1:])
retrieval.ranks(brain[:8], image[:8])  # what importing and warming up takes is not the question
status = dict(line.split(":") for line in open("/proc/self/status"))
limit = int(status["VmData"].split()[0]) * 1024 + (350 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # a read-only mapped file does not count
how = Scoring(candidates=10, draws=2, resamples=10, shuffles=10)
rows = retrieval_rows("m", brain, image, rng=np.random.default_rng(0), scoring=how, memory=1 << 27)
print(rows[1].row.value)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
def test_all_tokens_of_nsd_are_retrieved_without_holding_them(tmp_path: Path) -> None:
    """2 x 500 x 197,376 in half precision, 790 MB as single, within 350 MB."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / "brain.npy", tmp_path / "image.npy"]
    shape = (500, 257, 768)
    arrays = [np.lib.format.open_memmap(p, mode="w+", dtype=np.float16, shape=shape) for p in paths]
    for i in range(shape[0]):
        image = rng.standard_normal(shape[1:], dtype=np.float32)
        arrays[1][i] = image
        arrays[0][i] = image + 5 * rng.standard_normal(shape[1:], dtype=np.float32)
    for array in arrays:
        array.flush()
    done = subprocess.run(
        [sys.executable, "-c", LEAN, *map(str, paths)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
    assert float(done.stdout) == 1.0
