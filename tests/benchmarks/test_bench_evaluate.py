"""Both ways of scoring give the same numbers of the same pictures; nothing is timed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from benchmarks import evaluate_worker as worker
from benchmarks.evaluate import (
    OURS,
    PUBLISHED,
    SAME,
    EvaluateBench,
    bench_evaluate,
    table,
)
from benchmarks.evaluate_published import published_scores
from mindeye.errors import UsageError

LAYERS = ("alexnet2", "alexnet5", "efficientnet_b1")


@pytest.fixture(scope="module", autouse=True)
def _no_caches(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        patch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hf")))
        patch.delenv("MINDEYE_WEIGHTS", raising=False)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with AlexNet alone, in a real format."""
    from torchvision.models import alexnet

    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("weights")
    save_file(alexnet(weights=None).state_dict(), folder / "alexnet-owt-7be5be79.safetensors")
    return folder


@pytest.fixture(scope="module")
def content(weights: Path) -> dict[str, Any]:
    return bench_evaluate(
        EvaluateBench(
            pictures=5, size=64, weights=weights, repetitions=1, networks=LAYERS, threads=1
        )
    )


def test_both_ways_give_the_same_scores(content: dict[str, Any]) -> None:
    ours, published = content["ways"][OURS], content["ways"][PUBLISHED]
    assert list(ours["scores"]) == list(published["scores"])
    assert set(ours["scores"]) == {
        "PixCorr", "SSIM", "two_way_alexnet2", "two_way_alexnet5", "distance_efficientnet_b1",
    }  # fmt: skip
    assert ours["same_scores"]
    assert ours["largest_difference"] <= SAME
    assert 0.01 < ours["scores"]["distance_efficientnet_b1"] < 1.5  # of random weights, but scaled


def test_networks_of_random_weights_are_told(content: dict[str, Any]) -> None:
    assert content["random_weights"] == ["efficientnet_b1"]
    text = table(content)
    assert "random weights, for timing only" in text
    assert "efficientnet_b1" in text


def test_time_and_memory_of_each_way_stand_beside_each_other(content: dict[str, Any]) -> None:
    for way in content["ways"].values():
        assert 0 < way["forward_seconds"] < way["seconds"]
        assert way["seconds"] == pytest.approx(way["forward_seconds"] + way["other_seconds"])
        assert way["peak_gib"] >= way["before_gib"] > 0
    ways = content["ways"]
    expected = ways[PUBLISHED]["seconds"] / ways[OURS]["seconds"]
    assert ways[OURS]["speed_up"] == pytest.approx(expected)


def test_alexnet_passes_once_in_ours_and_twice_in_the_published_way(weights: Path) -> None:
    images, seen = worker.make_pictures(3, 64, 0)
    networks, random = worker.load(LAYERS[:2], weights, 0)
    assert random == []
    passes: list[int] = []
    networks["alexnet2"].module.register_forward_hook(lambda *_: passes.append(1))
    worker.our_scores(images, seen, networks, worker.Clock())
    assert len(passes) == 2  # reconstructions and pictures
    published_scores(images, seen, networks, worker.Clock())
    assert len(passes) == 6


def test_impossible_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 pictures"):
        EvaluateBench(pictures=1)
    with pytest.raises(UsageError, match="vgg"):
        EvaluateBench(networks=("vgg",))
    with pytest.raises(UsageError, match="no folder"):
        EvaluateBench(weights=tmp_path / "nowhere")
