"""The bench of drawing compares the same candidates of the same seeds; nothing is timed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import benchmarks.reconstruct as bench
from benchmarks.reconstruct import (
    OURS,
    PUBLISHED,
    SAME,
    SAME_PICTURES,
    SINGLE,
    WAYS,
    ReconstructBench,
    bench_reconstruct,
    table,
)
from mindeye.errors import UsageError

SMALL = ReconstructBench(brains=3, candidates=2, batch_size=4, steps=2)


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return bench_reconstruct(SMALL)


def test_batched_pictures_are_the_ones_drawn_one_at_a_time(content: dict[str, Any]) -> None:
    for name in SAME_PICTURES:
        assert content["ways"][name]["largest_difference"] <= SAME


def test_a_way_that_draws_other_seeds_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = bench._draw

    def other(way: Any, generator: Any, encoder: Any, inputs: Any, *rest: Any) -> torch.Tensor:
        if way.name == OURS:
            inputs = bench.Inputs(
                inputs.tokens, inputs.start, inputs.brain, [s + 1 for s in inputs.seeds]
            )
        return draw(way, generator, encoder, inputs, *rest)

    monkeypatch.setattr(bench, "_draw", other)
    assert bench_reconstruct(SMALL)["ways"][OURS]["largest_difference"] > 0.05


def test_speeds_are_ratios_of_all_blocks(content: dict[str, Any]) -> None:
    ways = content["ways"]
    total = {name: sum(way["seconds_of_blocks"]) for name, way in ways.items()}
    for name, way in ways.items():
        assert len(way["seconds_of_blocks"]) == 2  # 3 brains, 2 a block
        assert way["milliseconds_a_picture"] == pytest.approx(1000 * total[name] / 6)
        assert way["speed_against_one_at_a_time"] == pytest.approx(total[SINGLE] / total[name])
        assert way["speed_against_published"] == pytest.approx(total[PUBLISHED] / total[name])
        assert 0 < way["network_share"] < 1
    assert all(way.name in table(content) for way in WAYS)


def test_embeddings_of_a_file_are_taken_and_too_few_are_refused(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).standard_normal((6, 65, 64)).astype(np.float32)
    np.save(tmp_path / "e.npy", tokens)
    given = {"brains": 3, "candidates": 2, "embeddings": tmp_path / "e.npy"}
    encoder = bench.load_encoder("zoo", device=torch.device("cpu"))
    inputs = bench._inputs(ReconstructBench(**given), encoder, (32, 8, 8))
    unit = tokens / np.linalg.norm(tokens[:, :1], axis=-1, keepdims=True)
    np.testing.assert_allclose(inputs.tokens.numpy(), unit, rtol=1e-5)
    with pytest.raises(UsageError, match="has 6 embeddings"):
        bench._inputs(ReconstructBench(**{**given, "brains": 4}), encoder, (32, 8, 8))
    with pytest.raises(UsageError, match="start at 1"):
        ReconstructBench(candidates=0)
