"""Words of the page: what metrics and systems are called, how numbers are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scale = Literal["share", "correlation", "distance", "number"]
Group = Literal["retrieval", "more_retrieval", "pictures", "more_pictures", "other"]

SYSTEMS = {
    "seen": "Seen",
    "mindeye": "MindEye",
    "mindeye_backbone": "Backbone only",
    "low": "Low level",
    "high": "High level",
    "both": "Both",
    "both_unblended": "Both, not blended",
    "ridge": "Ridge",
    "ridge_centred": "Ridge, centred",
    "ridge_latents": "Ridge, latents",
    "ridge_restored": "Ridge, restored",
    "knn": "Neighbours",
    "knn_centred": "Neighbours, centred",
    "mean_picture": "Mean training picture",
    "random_training": "Random training picture",
    "nearest_training": "Nearest training picture",
    "nearest_training_true": "Training picture nearest to seen",
    "nearest_training_predicted": "Training picture nearest to decoded",
    "ceiling_generator": "Generator ceiling",
    "ceiling_both": "Ceiling of both",
    "ceiling_vae": "Autoencoder ceiling",
    "noise_ceiling": "Noise ceiling",
    "ideal_observer": "Ideal observer",
}
"""Labels of systems; others are shown under their own name."""

MAIN_SYSTEMS = ("mindeye", "both")
"""Systems that the run is about; drawn in the accent colour."""

HEADLINE_SYSTEMS = ("mindeye", "both", "high")
"""Systems whose warnings stand under the headline."""


@dataclass(frozen=True)
class Reference:
    """What else would score: the letter of its mark, its label, and which end it bounds."""

    letter: str
    label: str
    short: str
    is_floor: bool


REFERENCES = {
    "random_training": Reference("R", "random training picture", "random", True),
    "mean_picture": Reference("M", "mean of the training pictures", "mean", True),
    "nearest_training_predicted": Reference(
        "D", "lookup: training picture nearest to what was decoded", "nearest to decoded", True
    ),
    "nearest_training_true": Reference(
        "S", "training picture nearest to the one seen", "nearest to seen", True
    ),
    "generator_from_truth": Reference(
        "G", "generator fed with the true embedding", "generator from truth", False
    ),
    "noise_ceiling": Reference(
        "N", "noise ceiling: half of the trials looks up the other half", "noise ceiling", False
    ),
    "ideal_observer": Reference(
        "I", "ideal observer: knows how the brain was simulated", "ideal observer", False
    ),
}
"""What else would score, floors first. Drawn as letters beside the systems, not among them."""

REFERENCE_OF = {name: name for name in REFERENCES} | {"ceiling_generator": "generator_from_truth"}
"""Systems of the table that are references of the others."""

STAND_INS = (*REFERENCE_OF, "ceiling_both", "ceiling_vae")
"""Systems that decode nothing: references and ceilings."""

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
    "full_top10": "top\u00a010 of all",
    "two_way": "two-way",
    "median_rank": "median rank",
}
_BY_NETWORK = {
    "two_way_among_reconstructions_": "Two-way among reconstructions",
    "two_way_": "Two-way",
    "distance_": "Distance",
}


@dataclass(frozen=True)
class MetricName:
    """Title, scale and group of a metric; panels of ``more_...`` are folded."""

    title: str
    scale: Scale
    group: Group
    lower_is_better: bool = False


_SINGLE = {
    "PixCorr": MetricName("PixCorr", "correlation", "pictures"),
    "SSIM": MetricName("SSIM", "correlation", "pictures"),
    "similarity": MetricName("Similarity to the nearest", "correlation", "other"),
    "effective_rank": MetricName("Dimensions that predictions use", "number", "other"),
    "out_of_span": MetricName("Outside what training spans", "share", "other"),
}


def metric_name(metric: str, note: str = "") -> MetricName:
    """Describe a metric by its name; the note of its row gives the size of the pool."""
    for direction, words in _DIRECTIONS.items():
        if metric.startswith(direction + "_"):
            return _retrieval_name(words, metric[len(direction) + 1 :], note)
    for prefix, words in _BY_NETWORK.items():  # the longest prefix first
        if metric.startswith(prefix):
            network = metric.removeprefix(prefix)
            title = f"{words}, {NETWORKS.get(network, network.replace('_', ' '))}"
            if prefix == "distance_":
                return MetricName(title, "distance", "pictures", True)
            return MetricName(
                title, "share", "pictures" if prefix == "two_way_" else "more_pictures"
            )
    known = _SINGLE.get(metric)
    return known or MetricName(metric.replace("_", " ").capitalize(), "number", "other")


def _retrieval_name(words: str, kind: str, note: str) -> MetricName:
    title = f"{words}, {_KINDS.get(kind, kind.replace('_', ' '))}"
    if kind.endswith("rank"):
        return MetricName(title, "number", "other", True)
    if kind == "top1" and note.split(" ")[0].isdigit():
        title = f"{words}, top\u00a01 of {note.split(' ')[0]}"
    group: Group = "more_retrieval" if kind in ("full_top5", "full_top10") else "retrieval"
    return MetricName(title, "share", group)


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
