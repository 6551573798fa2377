"""Checks of MixCo, the contrastive losses, and how repeats are chosen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mindeye.data.repeats import mean_repeats, pick_repeat, weigh_repeats
from mindeye.losses.contrastive import (
    bimixco_loss,
    cosine_between,
    soft_clip_loss,
    soft_contrastive_loss,
)
from mindeye.losses.mixco import MixCo, apply_mixco
from mindeye.retrieval import ranks_from_scores, similarity, top_k_accuracy
from parity.compare import EXACT, GRADIENT, Comparison
from parity.fixtures import Entry


def check_mixco(entry: Entry, comparison: Comparison) -> None:
    for case in entry.config["cases"]:
        arrays = entry.under(case["tag"])
        selected = arrays["select"]
        weight = torch.where(selected, arrays["betas_drawn"], 1.0)
        comparison.equal("betas", weight, arrays["betas"])
        mix = MixCo(arrays["perm"], weight, selected)
        for before, after in (("voxels_in", "voxels_out"), ("clip_target_in", "clip_target_out")):
            mixed = apply_mixco(arrays[before], mix)
            comparison.close(f"{case['tag']}/{after}", mixed, arrays[after], EXACT)


def _mix(arrays: dict[str, Tensor]) -> MixCo | None:
    if not arrays:
        return None
    return MixCo(arrays["perm"], arrays["betas"], arrays["select"])


def _check_loss(
    entry: Entry, comparison: Comparison, tag: str, loss: Tensor, prediction: Tensor
) -> None:
    (gradient,) = torch.autograd.grad(loss, prediction)
    expected = entry.under(tag)
    comparison.close(f"{tag}/loss", loss, expected["loss"], EXACT)
    comparison.close(f"{tag}/grad_preds", gradient, expected["grad_preds"], GRADIENT)


def check_bimixco(entry: Entry, comparison: Comparison) -> None:
    for case in entry.config["cases"]:
        prediction = entry.arrays["in/preds"].clone().requires_grad_()
        loss = bimixco_loss(
            prediction,
            entry.arrays["in/targs"],
            _mix(entry.under(f"in/{case['mix']}")),
            temperature=case["temp"],
            bidirectional=case["bidirectional"],
            as_published=True,
        )
        _check_loss(entry, comparison, case["tag"], loss, prediction)
    comparison.covers({name for name in entry.arrays if name.startswith("out/")})


def check_soft(entry: Entry, comparison: Comparison) -> None:
    target = entry.arrays["in/targs"]
    for case in entry.config["cases"]:
        prediction = entry.arrays["in/preds"].clone().requires_grad_()
        if case["fn"] == "soft_clip_loss":
            loss = soft_clip_loss(prediction, target, temperature=case["temp"])
        elif case["fn"] == "soft_cont_loss":
            augmented = entry.arrays["in/targs_aug"]
            loss = soft_contrastive_loss(prediction, target, augmented, temperature=case["temp"])
        else:
            raise AssertionError(f"unknown loss {case['fn']}")
        _check_loss(entry, comparison, case["tag"], loss, prediction)
    comparison.covers({name for name in entry.arrays if name.startswith("out/")})


def _centred(rows: Tensor) -> Tensor:
    return rows - rows.mean(dim=1, keepdim=True)


def check_misc(entry: Entry, comparison: Comparison) -> None:
    arrays = entry.arrays
    for steps in entry.config["cosine_anneal_steps"]:
        expected = arrays[f"cosine_anneal/{steps}"]
        start, end, last = float(expected[0]), float(expected[-1]), max(steps - 1, 1)
        annealed = torch.tensor([cosine_between(start, end, i / last) for i in range(steps)])
        comparison.close(f"cosine_anneal/{steps}", annealed, expected, EXACT)

    a, b = arrays["in/a"], arrays["in/b"]
    similarities = {  # the original's first one is transposed
        "batchwise_cosine_similarity": similarity(b, a),
        "pairwise_cosine_similarity": similarity(a, b),
        "batchwise_pearson_correlation": similarity(_centred(a), _centred(b)),
    }
    if "in/c" in arrays:
        similarities["batchwise_cosine_similarity_ac"] = similarity(arrays["in/c"], a)
    for name, value in similarities.items():
        comparison.close(f"out/{name}", value, arrays[f"out/{name}"], EXACT)

    scores = arrays["out/batchwise_cosine_similarity"]
    for k in entry.config["topk_k"]:
        for name, matrix in (("topk", scores), ("topk_T", scores.T)):
            accuracy = top_k_accuracy(ranks_from_scores(matrix), k)
            comparison.close(f"out/{name}/{k}", accuracy, arrays[f"out/{name}/{k}"], EXACT)
    _check_repeats(entry.under("voxel_select"), comparison)
    comparison.covers({name for name in arrays if name.startswith("out/")})


def _check_repeats(arrays: dict[str, Any], comparison: Comparison) -> None:
    betas = arrays["in"]
    chosen = {
        "single": pick_repeat(betas, arrays["single/index"]),
        "combine": weigh_repeats(betas, arrays["combine/weights"]),
        "mean": mean_repeats(betas),
    }
    for mode, value in chosen.items():
        comparison.close(f"voxel_select/{mode}", value, arrays[f"{mode}/out"], EXACT)
