"""Words of the page: what metrics and systems are called, how numbers are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scale = Literal["share", "correlation", "distance", "number"]

SYSTEMS = {
    "seen": "Seen",
    "mindeye": "MindEye",
    "mindeye_backbone": "Backbone only",
    "ridge": "Ridge",
    "ridge_centred": "Ridge, centred",
    "ideal_observer": "Ideal observer",
    "low": "Low level",
    "high": "High level",
    "both": "Both",
    "ceiling_generator": "Generator ceiling",
    "nearest_training": "Nearest training picture",
    "random_training": "Random training picture",
}
"""Labels of systems; others are shown under their own name."""

MAIN_SYSTEMS = ("mindeye", "both")
"""Systems that the run is about; drawn in the accent colour."""

NETWORKS = {
    "alexnet2": "AlexNet, layer 2",
    "alexnet5": "AlexNet, layer 5",
    "inception_v3": "Inception v3",
    "clip_vit_l14": "CLIP ViT-L/14",
    "efficientnet_b1": "EfficientNet-B1",
    "swav": "SwAV",
}
"""Titles of the paper's feature networks; others keep their own name."""

_DIRECTIONS = {"brain_to_image": "Brain → image", "image_to_brain": "Image → brain"}
_KINDS = {
    "top1": "top\u00a01 within a pool",
    "full_top1": "top\u00a01 of all",
    "full_top5": "top\u00a05 of all",
    "median_rank": "median rank",
}


@dataclass(frozen=True)
class MetricName:
    """Title, scale and group of a metric."""

    title: str
    scale: Scale
    group: Literal["retrieval", "pictures", "other"]
    lower_is_better: bool = False


def metric_name(metric: str, note: str = "") -> MetricName:
    """Describe a metric by its name; the note of its row gives the size of the pool."""
    for direction, words in _DIRECTIONS.items():
        if metric.startswith(direction + "_"):
            kind = metric[len(direction) + 1 :]
            if kind == "median_rank":
                return MetricName(f"{words}, median rank", "number", "other", True)
            title = _KINDS.get(kind, kind.replace("_", " "))
            if kind == "top1" and note.split(" ")[0].isdigit():
                title = f"top\u00a01 of {note.split(' ')[0]}"
            return MetricName(f"{words}, {title}", "share", "retrieval")
    for prefix, words in (("two_way_", "Two-way"), ("distance_", "Distance")):
        if metric.startswith(prefix):
            network = metric.removeprefix(prefix)
            title = f"{words}, {NETWORKS.get(network, network.replace('_', ' '))}"
            if prefix == "two_way_":
                return MetricName(title, "share", "pictures")
            return MetricName(title, "distance", "pictures", True)
    if metric in ("PixCorr", "SSIM"):
        return MetricName(metric, "correlation", "pictures")
    return MetricName(metric.replace("_", " ").capitalize(), "number", "other")


def system_name(system: str) -> str:
    """Label of a system."""
    return SYSTEMS.get(system, system.replace("_", " ").capitalize())


def system_order(system: str) -> int:
    """Place of a system in lists: as in `SYSTEMS`, unknown ones last."""
    known = list(SYSTEMS)
    return known.index(system) if system in known else len(known)


def number(value: float | None, scale: Scale, *, unit: bool = True) -> str:
    """Write a value on its scale; None becomes a dash."""
    if value is None:
        return "–"
    if scale == "share":
        return f"{100 * value:.1f}".replace("-", "−") + ("%" if unit else "")
    digits = 3 if scale != "number" else 0 if value == int(value) else 1
    return f"{value:,.{digits}f}".replace("-", "−")


def duration(seconds: float) -> str:
    """Write seconds as a person would: 0.4 s, 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
