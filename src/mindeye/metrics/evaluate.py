"""Score reconstructions in memory: one call, one table.

Axes: N images, C H W of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.data.images import resize, to_images
from mindeye.errors import DataError
from mindeye.metrics.features import (
    FeatureExtractor,
    Missing,
    available_extractors,
    encoder_network,
)
from mindeye.metrics.picture_rows import ReferenceImages, picture_rows
from mindeye.metrics.registry import BUILT_IN_IMAGES, metric
from mindeye.metrics.scoring import Scoring
from mindeye.targets.encoders import load_encoder

Images = Tensor | NDArray[Any]


def evaluate(
    drawn: Images,
    truth: Images,
    *,
    metrics: Sequence[str] | None = None,
    networks: Sequence[FeatureExtractor | str] | None = None,
    size: int | None = None,
    ids: Sequence[str] | None = None,
    system: str = "drawn",
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score reconstructions against the images that were shown.

    The rows are those of a run's table and of `mindeye evaluate`, made by the same functions.

    Parameters
    ----------
    drawn
        Reconstructions in the order of `truth`: pictures (N, H, W, 3) of bytes, or images
        (N, 3, H, W) of floats in [0, 1]; N at least 2.
    truth
        Images that were shown, in either form. Reconstructions of another size are resized to it.
    metrics
        Names of the metrics to return; all by default.
    networks
        Feature networks, each of which gives its metrics: objects, or names of encoders such as
        ``zoo``. By default those of the paper whose weights are on this machine; an empty sequence
        for none.
    size
        Side in pixels at which image metrics compare (425 in the paper); None compares at the size
        of `truth`.
    ids
        Stimulus ids of the images, by which `compare` pairs them; their numbers by default.
    system
        Name of what drew them, by which `compare` names them.
    resamples
        Bootstrap resamples of the intervals.
    seed
        Seed of resamples and of the shuffled pairs behind the floors.

    Returns
    -------
    DataFrame
        One row a metric: ``metric``, ``value``, the ends ``low`` and ``high`` of its 95 % interval
        over images, ``n``, ``chance`` (score of guessing), ``floor`` (score of the same
        reconstructions paired at random) and ``direction`` (whether higher or lower is better).
        ``attrs["missing"]`` names the metrics whose network is not on this machine, and the remedy;
        ``attrs["scores"]`` has every stimulus by itself, which is what `compare` reads.

    Raises
    ------
    DataError
        If the images have another shape, type or range, do not pair up, or a metric is not known.

    Examples
    --------
    >>> truth = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    >>> table = evaluate(255 - truth, truth, networks=(), size=None, resamples=100)
    >>> table[["metric", "value", "n", "direction"]].round(2).values.tolist()
    [['PixCorr', -1.0, 8, 'higher'], ['SSIM', -0.97, 8, 'higher']]
    """
    shown = _images(truth, "truth")
    made = resize(_images(drawn, "drawn"), (int(shown.shape[-2]), int(shown.shape[-1])))
    if len(made) != len(shown):
        raise DataError(f"drawn has {len(made)} images, truth has {len(shown)}; rows are pairs")
    if len(shown) < 2:
        raise DataError("evaluate needs 2 images or more: intervals and floors are over images")
    for name in metrics or ():
        metric(name)
    missing: list[Missing] = []
    extractors: Sequence[FeatureExtractor]
    if metrics is not None and set(metrics) <= set(BUILT_IN_IMAGES):
        networks = ()  # these are scored first: what is left out moves none of their numbers
    if networks is None:
        extractors, missing = available_extractors()
    else:
        extractors = [_network(one) if isinstance(one, str) else one for one in networks]
    scored = picture_rows(
        system,
        made,
        ReferenceImages(shown, extractors, size),
        # The stream of the first system of `mindeye evaluate`.
        rng=np.random.default_rng([seed, 1]),
        scoring=Scoring(resamples=resamples),
    )
    kept = [one for one in scored if metrics is None or one.row.metric in metrics]
    rows = [one.row for one in kept]
    absent = set(metrics or ()) - {row.metric for row in rows}
    if absent:
        computed = ", ".join(one.row.metric for one in scored)
        reasons = [f"{one.metric}: {one.why}; {one.how}" for one in missing]
        raise DataError(
            f"{', '.join(sorted(absent))} cannot be computed of these images; computed: {computed}"
            + "".join(f"; {reason}" for reason in reasons if reason.split(":")[0] in absent)
        )
    columns = ["metric", "value", "low", "high", "n", "chance", "floor"]
    table = pd.DataFrame([{c: getattr(row, c) for c in columns} for row in rows], columns=columns)
    table = table.astype({"chance": float, "floor": float})
    table["direction"] = [metric(row.metric).direction for row in rows]
    table.attrs["missing"] = [f"{one.metric}: {one.why}; {one.how}" for one in missing]
    names = [str(i) for i in (range(len(shown)) if ids is None else ids)]
    if len(names) != len(shown):
        raise DataError(f"{len(shown)} images, but {len(names)} ids; give one an image")
    table.attrs["scores"] = [
        {"system": system, "metric": row.metric, "stimulus_id": name, "value": float(value)}
        for row, values in kept
        if values is not None
        for name, value in zip(names, values, strict=True)
    ]
    return table


def _network(name: str) -> FeatureExtractor:
    """Return an encoder as a feature network, under its own name."""
    return encoder_network(load_encoder(name, device=torch.device("cpu")))


def _images(given: Images, name: str) -> Tensor:
    """Bring pictures of bytes and images of floats to images (N, 3, H, W) in [0, 1]."""
    values = given.detach().cpu() if isinstance(given, Tensor) else np.asarray(given)
    shape = tuple(values.shape)
    if values.ndim == 4 and shape[-1] == 3 and values.dtype in (np.uint8, torch.uint8):
        return to_images(np.asarray(values))
    kinds = (np.float16, np.float32, np.float64, torch.float16, torch.float32, torch.float64)
    if values.ndim != 4 or shape[1] != 3 or values.dtype not in kinds:
        raise DataError(
            f"{name} must be (N, H, W, 3) uint8 or (N, 3, H, W) float in [0, 1], got "
            f"{values.dtype} {shape}"
        )
    images = torch.as_tensor(values).float()
    if images.numel() and not (float(images.min()) >= 0 and float(images.max()) <= 1):
        raise DataError(
            f"{name} must lie in [0, 1], got {float(images.min()):.4g} to {float(images.max()):.4g}"
        )
    return images
