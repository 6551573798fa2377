"""One way of scoring reconstructions in a process of its own, so that its peak memory is its own.

Started by `benchmarks.evaluate`; prints one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.evaluate_published import published_scores
from benchmarks.train_worker import peak_gib
from mindeye.metrics import identification, pixels
from mindeye.metrics.features import (
    LayerExtractor,
    LoadedNetwork,
    extract_all,
    find_weights,
    load_network,
)
from mindeye.metrics.networks import NETWORKS


class Clock:
    """Seconds by part, and those within forward passes."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self.forward = 0.0
        self._since = 0.0

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part."""
        start = time.perf_counter()
        yield
        self.parts[name] = self.parts.get(name, 0.0) + time.perf_counter() - start

    def watch(self, module: nn.Module) -> None:
        """Count a module's forward passes."""

        def begin(*_: Any) -> None:
            self._since = time.perf_counter()

        def end(*_: Any) -> None:
            self.forward += time.perf_counter() - self._since

        module.register_forward_pre_hook(begin)
        module.register_forward_hook(end)


def make_pictures(count: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return reconstructions and pictures (N, 3, size, size): blobs, half of them shared."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, count, 3, 16, 16, generator=rng)
    seen, other = (
        torch.nn.functional.interpolate(one, size=(size, size), mode="bilinear") for one in coarse
    )
    return 0.5 * seen + 0.5 * other, seen


def load(
    names: Sequence[str], weights: Path | None, seed: int
) -> tuple[dict[str, LoadedNetwork], list[str]]:
    """Return the networks by layer, and the layers whose weights are random."""
    found: dict[str, LoadedNetwork] = {}
    random: list[str] = []
    by_weights: dict[str, LoadedNetwork] = {}
    for name in names:
        file = NETWORKS[name].weights
        path = find_weights(name, weights)
        if file not in by_weights:
            torch.manual_seed(seed)
            by_weights[file] = load_network(name, path)
            if path is None:
                _scale(by_weights[file], name, seed)
        if path is None:
            random.append(name)
        found[name] = by_weights[file]
    return found, random


def _scale(network: LoadedNetwork, name: str, seed: int) -> None:
    """Fit the batch norms of random weights to a few pictures.

    Without it features of a random EfficientNet are of size 1e-14, which single-precision loops
    over pictures (the published way) take for zero.
    """
    norms = [m for m in network.module.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    network.extract(make_pictures(4, 64, seed)[0], [name])
    for norm in norms:
        norm.eval()


def our_scores(
    images: Tensor, seen: Tensor, networks: dict[str, LoadedNetwork], clock: Clock
) -> dict[str, float]:
    """Return the eight numbers, as `picture_rows` makes them."""
    scores = {}
    with clock.part("PixCorr"):
        scores["PixCorr"] = float(pixels.pixcorr(images, seen).mean())
    with clock.part("SSIM"):
        scores["SSIM"] = float(pixels.ssim(images, seen).mean())
    extractors = [LayerExtractor(n, NETWORKS[n].comparison, one) for n, one in networks.items()]
    with clock.part("features"):
        actual = {one.name: found for one, found in extract_all(extractors, seen)}
        predicted = {one.name: found for one, found in extract_all(extractors, images)}
    for one in extractors:
        with clock.part("correlations"):
            table = identification.similarity_table(predicted[one.name], actual[one.name])
            if one.comparison == "two_way":
                values = np.diagonal(identification.two_way_from_scores(table))
            else:
                values = 1.0 - np.diagonal(table)
            scores[NETWORKS[one.name].metric] = float(values.mean())
    return scores


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Score the pictures of a job by its way."""
    images, seen = make_pictures(job["pictures"], job["size"], job["seed"])
    weights = None if job["weights"] is None else Path(job["weights"])
    networks, random = load(job["networks"], weights, job["seed"])
    clock = Clock()
    for one in {id(network): network for network in networks.values()}.values():
        clock.watch(one.module)
        if job["way"] != "ours":  # the script leaves networks as they are built
            one.module.to(memory_format=torch.contiguous_format)
    # Kernels are chosen and caches filled by pictures that are not counted.
    for one in networks.values():
        with torch.no_grad():
            one.module(torch.rand(1, 3, one.layers[0].size, one.layers[0].size))
    clock.forward = 0.0
    before = peak_gib(torch.device("cpu"))
    score = our_scores if job["way"] == "ours" else published_scores
    start = time.perf_counter()
    scores = score(images, seen, networks, clock)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "forward_seconds": clock.forward,
        "parts": clock.parts,
        "scores": scores,
        "peak_gib": peak_gib(torch.device("cpu")),
        "before_gib": before,
        "random": random,
    }


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    print(json.dumps(run(job)))
