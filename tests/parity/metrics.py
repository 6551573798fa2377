"""Checks of the metrics: identification, pixels, retrieval."""

from __future__ import annotations

import re

import numpy as np

from mindeye.metrics.identification import (
    distance_from_scores,
    similarity_table,
    two_way_from_scores,
)
from mindeye.metrics.pixels import pixcorr, resize_images, ssim
from mindeye.retrieval import ranks, similarity, top_k_accuracy
from parity.compare import EXACT, Comparison
from parity.fixtures import Entry

PERCENT_CORRECT = re.compile(r"percent_correct_(fwd|bwd)_top(\d+)")


def check_two_way(entry: Entry, comparison: Comparison) -> None:
    for case in entry.config["cases"]:
        tag, arrays = case["tag"], entry.under(case["tag"])
        table = similarity_table(arrays["pred"], arrays["real"])
        shares = np.diagonal(two_way_from_scores(table))
        others = int(arrays["two_way_denominator"])
        comparison.equal("denominator", len(arrays["real"]) - 1, others)
        counts = np.asarray(shares) * others
        comparison.close(f"{tag}/count", counts, arrays["two_way_count"], EXACT)
        comparison.close(f"{tag}/two_way", np.mean(shares), arrays["two_way"], EXACT)
        distances = np.diagonal(distance_from_scores(table))
        expected = arrays["correlation_distance_each"]
        comparison.close(f"{tag}/distances", distances, expected, EXACT)
        mean = arrays["correlation_distance"]
        comparison.close(f"{tag}/distance", np.mean(distances), mean, EXACT)


def check_images(entry: Entry, comparison: Comparison) -> None:
    seen, reconstructed = (
        entry.arrays[f"in/{name}_u8"].float() / 255 for name in ("images", "recons")
    )
    middle, size = entry.config.get("mid_size"), entry.config["resize"]
    cases = {"out": None}
    if middle is not None:
        cases = {f"out/antialias_{flag}": flag for flag in (False, True)}
    for tag, antialias in cases.items():
        pair = [reconstructed, seen]
        if antialias is not None:
            pair = [resize_images(images, middle, antialias=antialias) for images in pair]
        for name, metric in (("pixcorr", pixcorr), ("ssim", ssim)):
            each = metric(*pair, size=size)
            expected = entry.arrays[f"{tag}/{name}_each"]
            comparison.close(f"{tag}/{name}_each", each, expected, EXACT)
            mean = entry.arrays[f"{tag}/{name}"]
            comparison.close(f"{tag}/{name}", np.mean(each), mean, EXACT)
    comparison.covers({name for name in entry.arrays if name.startswith("out/")})


def check_retrieval(entry: Entry, comparison: Comparison) -> None:
    """The original's forward asks, for each image, for its brain sample; backward the reverse."""
    for case in entry.config["cases"]:
        tag, arrays = case["tag"], entry.under(case["tag"])
        image, brain = arrays["image_emb"].flatten(1), arrays["brain_emb"].flatten(1)
        pairs = {"fwd": (image, brain), "bwd": (brain, image)}
        for name, pair in pairs.items():
            expected = arrays[f"{name}_sim"]
            comparison.close(f"{tag}/{name}_sim", similarity(*pair), expected, EXACT)
        found = [PERCENT_CORRECT.fullmatch(name) for name in arrays]
        matches = [match for match in found if match]
        assert matches, f"{tag} holds no percent correct"
        for match in matches:
            accuracy = top_k_accuracy(ranks(*pairs[match.group(1)]), int(match.group(2)))
            comparison.close(f"{tag}/{match.group()}", accuracy, arrays[match.group()], EXACT)
        for key, direction in (
            ("image_found_for_each_brain", "bwd"),
            ("brain_found_for_each_image", "fwd"),
        ):
            accuracy = top_k_accuracy(ranks(*pairs[direction]), 1)
            comparison.close(f"{tag}/{key}", accuracy, case[key], EXACT)
