"""The eight metrics the way the authors' script computes them, written anew from what it does.

Reconstruction_Metrics of MedARC-AI/fMRI-reconstruction-NSD: pictures are prepared one by one and
stacked; every metric sends the whole set through its network at once (AlexNet for each of its two
layers); two-way identification takes numpy's correlation matrix of the stack of both sets and its
upper right quarter; PixCorr, SSIM and the distances loop over pictures. Ties are losses there.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import correlation
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torch import Tensor

from mindeye.metrics.features import LoadedNetwork
from mindeye.metrics.networks import NETWORKS
from mindeye.metrics.pixels import NSD_SIZE


class Parts(Protocol):
    """What times parts."""

    def part(self, name: str) -> AbstractContextManager[None]:
        """Time a part."""


def published_scores(
    images: Tensor, seen: Tensor, networks: dict[str, LoadedNetwork], clock: Parts
) -> dict[str, float]:
    """Return the eight numbers by metric."""
    scores = {}
    with torch.no_grad():
        with clock.part("PixCorr"):
            scores["PixCorr"] = _pixcorr(images, seen)
        with clock.part("SSIM"):
            scores["SSIM"] = _ssim(images, seen)
        for name, network in networks.items():
            with clock.part(name):
                pair = [_features(batch, name, network) for batch in (images, seen)]
                by_pairs = NETWORKS[name].comparison == "two_way"
                scores[NETWORKS[name].metric] = (_two_way if by_pairs else _distance)(*pair)
    return scores


def _resized(images: Tensor, size: int) -> Tensor:
    from torchvision.transforms.v2.functional import resize

    resized: Tensor = resize(images, [size, size], antialias=False)
    return resized


def _pixcorr(images: Tensor, seen: Tensor) -> float:
    a, b = (_resized(batch, NSD_SIZE).reshape(len(batch), -1) for batch in (images, seen))
    return float(np.mean([np.corrcoef(b[i], a[i])[0][1] for i in range(len(a))]))


def _ssim(images: Tensor, seen: Tensor) -> float:
    grey: list[Any] = [
        rgb2gray(_resized(batch, NSD_SIZE).permute(0, 2, 3, 1).numpy()) for batch in (images, seen)
    ]
    return float(
        np.mean(
            [
                structural_similarity(
                    a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                    data_range=1.0,
                )
                for a, b in zip(*grey, strict=True)
            ]
        )
    )  # fmt: skip


def _features(images: Tensor, name: str, network: LoadedNetwork) -> NDArray[np.float32]:
    """Prepare pictures one by one, then one pass of all of them."""
    layer = NETWORKS[name]
    mean, std = (torch.tensor(x)[:, None, None] for x in layer.statistics)
    stack = torch.stack([(_resized(one, layer.size) - mean) / std for one in images])
    found: NDArray[np.float32] = network.module(stack)[layer.layer].float().flatten(1).numpy()
    return found


def _two_way(predicted: NDArray[np.float32], actual: NDArray[np.float32]) -> float:
    n = len(actual)
    r = np.corrcoef(actual, predicted)[:n, n:]  # rows are pictures, columns reconstructions
    return float(np.mean(np.sum(r < np.diag(r), axis=0)) / (n - 1))


def _distance(predicted: NDArray[np.float32], actual: NDArray[np.float32]) -> float:
    return float(np.mean([correlation(a, p) for a, p in zip(actual, predicted, strict=True)]))
