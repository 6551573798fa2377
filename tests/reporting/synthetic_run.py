"""A synthetic run to show: blurred pictures take the place of reconstructions."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import synthetic_controls
import torch

from mindeye import retrieval
from mindeye.metrics.features import NETWORKS, FunctionExtractor
from mindeye.metrics.picture_rows import ReferenceImages, picture_rows
from mindeye.metrics.retrieval_rows import retrieval_rows, rows_from_scores
from mindeye.metrics.scoring import Scoring
from mindeye.metrics.table import Scored
from mindeye.reporting.data import ReportData, SubjectFacts

QUICK = Scoring(candidates=30, draws=10, resamples=200, shuffles=50, slow_shuffles=2)


def scenes(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Sky, ground and a shape; float (n, size, size, 3)."""
    y, x = np.mgrid[0:size, 0:size] / size
    out = np.empty((n, size, size, 3))
    for i in range(n):
        sky, ground, shape = rng.random((3, 3)) * 0.8 + 0.1
        horizon = rng.uniform(0.4, 0.8)
        image = np.where((y < horizon)[..., None], sky * (1 - 0.4 * y[..., None]), ground)
        for _ in range(rng.integers(1, 4)):
            cx, cy, r = rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.8), rng.uniform(0.08, 0.25)
            inside = (
                (x - cx) ** 2 + (y - cy) ** 2 < r**2
                if rng.random() < 0.5
                else (abs(x - cx) < r) & (abs(y - cy) < r)
            )
            shade = 1 - 0.5 * ((x - cx) + (y - cy))
            image = np.where(inside[..., None], shape * shade[..., None], image)
            shape = np.roll(shape, 1)
        out[i] = image
    return out.clip(0, 1)


def as_uint8(images: np.ndarray) -> np.ndarray:
    return (images.clip(0, 1) * 255).round().astype(np.uint8)


def blurred(images: np.ndarray, factor: int, noise: float, rng: np.random.Generator) -> np.ndarray:
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    small = torch.nn.functional.avg_pool2d(tensor, factor)
    small = small + noise * torch.from_numpy(rng.normal(size=small.shape))
    large = torch.nn.functional.interpolate(small, size=images.shape[1:3], mode="bicubic")
    return large.permute(0, 2, 3, 1).numpy().clip(0, 1)


def channels_first(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float()


def curves(seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    points = []
    for epoch in range(60):
        fall = np.exp(-epoch / 15)
        noise = rng.normal(0, 0.02, 5)
        values = {
            "high/train/contrastive": 3.2 * fall + 0.4 + noise[0],
            "high/val/contrastive": 2.6 * fall + 1.0 + 0.004 * epoch + noise[1],
            "high/train/prior": 0.5 * fall + 0.001 + abs(noise[2]) / 50,
            "high/val/prior": 0.5 * fall + 0.004 + abs(noise[2]) / 50,
            "high/val/brain_to_image_top1": 0.9 * (1 - fall) + noise[3],
            "low/train/l1": 0.5 * fall + 0.2 + noise[3],
            "low/val/l1": 0.5 * fall + 0.26 + noise[4],
        }
        points += [{"epoch": epoch, "name": k, "value": float(v)} for k, v in values.items()]
    return points


def rows_for(
    brain: torch.Tensor, image: torch.Tensor, systems: dict[str, np.ndarray], seen: np.ndarray
) -> list[Scored]:
    rng = np.random.default_rng(1)
    noise = torch.Generator().manual_seed(1)
    ideal = rows_from_scores(
        "ideal_observer",
        retrieval.similarity(image + 0.9 * torch.randn(image.shape, generator=noise), image),
        rng=rng,
        scoring=QUICK,
    )
    ceiling = {one.row.metric: one.row.value for one in ideal}
    rows = []
    for name, extra in (("mindeye", 0.0), ("mindeye_backbone", 1.0), ("ridge", 2.0)):
        worse = brain + extra * torch.randn(brain.shape, generator=noise)
        rows += retrieval_rows(name, worse, image, rng=rng, scoring=QUICK, ceiling=ceiling)
    order = torch.randperm(len(image), generator=noise)
    for name, shown in (
        ("random_training", image[order]),
        ("nearest_training_true", image + 2.0 * torch.randn(image.shape, generator=noise)),
        ("nearest_training_predicted", image + 3.0 * torch.randn(image.shape, generator=noise)),
        ("noise_ceiling", image + 1.1 * torch.randn(image.shape, generator=noise)),
    ):
        rows += retrieval_rows(name, shown, image, rng=rng, scoring=QUICK)
    rows += ideal
    encoder = FunctionExtractor("zoo_clip", lambda x: torch.nn.functional.avg_pool2d(x, 4))
    shown = ReferenceImages(channels_first(seen), [encoder], size=None)
    ceilings: dict[str, float] = {}
    for name, images in reversed(systems.items()):  # the ceiling first
        found = picture_rows(
            name,
            channels_first(images),
            shown,
            rng=rng,
            scoring=QUICK,
            ceilings=ceilings,
            k={"both": 4, "low": None}.get(name, 1),
        )
        if name == "ceiling_generator":
            ceilings = {one.row.metric: one.row.value for one in found}
        rows += found
    return synthetic_controls.with_references(rows)


@functools.cache
def coloured(n: int = 30, size: int = 64) -> ReportData:
    """A simulated subject with coloured scenes and all systems; made once for all tests."""
    rng = np.random.default_rng(0)
    seen = scenes(n, size, rng)
    systems = {
        "low": blurred(seen, 8, 0.12, rng),
        "high": scenes(n, size, np.random.default_rng(2)) * 0.3 + 0.7 * blurred(seen, 2, 0.1, rng),
        "both": blurred(seen, 4, 0.06, rng),
        "ceiling_generator": blurred(seen, 2, 0.02, rng),
    }
    image = torch.randn(n, 24, generator=torch.Generator().manual_seed(0))
    brain = image + 1.5 * torch.randn(n, 24, generator=torch.Generator().manual_seed(1))
    references = {
        "mean_picture": np.broadcast_to(seen.mean(axis=0), seen.shape).copy(),
        "random_training": scenes(n, size, np.random.default_rng(5)),
        "nearest_training_true": blurred(seen, 16, 0.1, rng),
        "nearest_training_predicted": blurred(seen, 16, 0.3, rng),
    }
    training = torch.randn(3 * n, 24, generator=torch.Generator().manual_seed(3))
    scored = rows_for(brain, image, references | systems, seen)
    scored += synthetic_controls.collapse_rows(image, training)
    points, findings = synthetic_controls.controls(scored, image, training, QUICK)
    fields: dict[str, Any] = {
        "title": "Reading pictures from a simulated visual cortex",
        "subject": SubjectFacts(
            "sim01", "mindeye simulation, procedural scenes", True, 1200, 900, 2700, 10, "CC0"
        ),
        "seen": as_uint8(seen),
        "ranks": retrieval.ranks(brain, image).numpy(),
        "pictures": {name: as_uint8(images) for name, images in systems.items()},
        "retrieved": retrieval.top_matches(brain, image, 8)[0].numpy(),
        "rows": [one.row for one in scored],
        "points": points,
        "findings": findings,
        "missing": [
            {"metric": f"{x.comparison}_{x.name}", "why": f"{x.weights} is not here", "how": x.how}
            for x in NETWORKS.values()
        ],
        "curves": curves(),
        "configuration": {
            "high": {"hidden": 512, "blocks": 2, "epochs": 60, "mixco": {"temperature": 0.006}},
            "low": {"epochs": 40, "latent_channels": 4},
            "evaluate": {"nway": 30, "draws": 10},
        },
        "versions": {"mindeye": "0.1.0", "torch": "2.15.0", "numpy": "2.4.6"},
        "timings": {"prepare": 1.2, "embed": 14.0, "train high": 201.0, "train low": 95.0},
        "seeds": {"simulation": 0, "training": 1, "evaluation": 2},
    }
    return ReportData(**fields)


def digits() -> ReportData:
    """Ten grey 28 x 28 test pictures, no low-level system, real source, a problem to report."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:28, 0:28]
    seen = np.stack(
        [
            255 * ((abs(np.hypot(x - 14, y - 14) - 5 - i % 4) < 2) | (abs(x - 8 - i) < 1.2))
            for i in range(10)
        ]
    ).astype(np.uint8)
    high = (seen * 0.6 + rng.integers(0, 90, seen.shape)).clip(0, 255).astype(np.uint8)
    image = torch.randn(10, 8, generator=torch.Generator().manual_seed(0))
    brain = image + 2.0 * torch.randn(10, 8, generator=torch.Generator().manual_seed(1))
    return ReportData(
        title="Handwritten digits from V1 to V3",
        subject=SubjectFacts(
            "s1",
            "Handwritten digits in fMRI (van Gerven 2010)",
            False,
            3092,
            100,
            100,
            1,
            "see the data set's page",
        ),
        seen=seen,
        ranks=retrieval.ranks(brain, image).numpy(),
        pictures={"high": high},
        retrieved=retrieval.top_matches(brain, image, 8)[0].numpy(),
        rows=[one.row for one in retrieval_rows("mindeye", brain, image, rng=rng, scoring=QUICK)],
        problems=["Only 10 test pictures: every interval is wide.", "<b>Escaping</b> & such."],
    )
