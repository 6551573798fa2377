"""Number for number: the published implementation's recorded results against ours.

Driven by the manifest of a golden folder (environment variable MINDEYE_GOLDEN, else
`../shared/golden/public` beside the repository). Each entry is dispatched on its `kind`; sizes,
cases and hyperparameters come from the file, and its name means nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest
import torch

from parity import diffusion, losses, metrics, models, table
from parity.compare import Comparison
from parity.fixtures import ENVIRONMENT, Entry, golden_folder, read_entry, read_manifest

CHECKS: dict[str, Callable[[Entry, Comparison], None]] = {
    "backbone": models.check_backbone,
    "prior_network": models.check_prior_network,
    "rel_pos_buckets": models.check_position_buckets,
    "lowlevel": models.check_lowlevel,
    "full_size_mindeye": models.check_full_mindeye,
    "full_size_voxel2clip": models.check_full_backbone,
    "full_size_lowlevel": models.check_full_lowlevel,
    "noise_schedules": diffusion.check_schedules,
    "p_losses": diffusion.check_prior_loss,
    "forward_drop": diffusion.check_forward_drop,
    "sample_ddpm": diffusion.check_ddpm,
    "sample_ddim": diffusion.check_ddim,
    "mixco": losses.check_mixco,
    "mixco_nce": losses.check_bimixco,
    "soft_losses": losses.check_soft,
    "loss_misc": losses.check_misc,
    "two_way": metrics.check_two_way,
    "image_metrics": metrics.check_images,
    "retrieval_metrics": metrics.check_retrieval,
}

FOLDER = golden_folder()
FILES = read_manifest(FOLDER)
WITH_GRADIENT = {"mixco_nce", "soft_losses"}


def absence(folder_exists: bool, environment: dict[str, str]) -> str | None:
    """Why a missing golden folder may be skipped; None if its absence is a failure."""
    if folder_exists or environment.get(ENVIRONMENT) or environment.get("CI") == "true":
        return None
    return "no golden folder beside the repository; its numbers were not compared"


def test_golden_folder_holds_entries() -> None:
    reason = absence(FOLDER.is_dir(), dict(os.environ))
    if reason is not None:
        pytest.skip(reason)
    assert FOLDER.is_dir(), f"{FOLDER} is missing"
    assert FILES, f"{FOLDER} has no manifest, or one without files"


@pytest.mark.parametrize("name", FILES)
def test_matches_published(name: str) -> None:
    kind = FILES[name]["kind"]
    assert kind in CHECKS, f"{name} is of unknown kind {kind}; known: {', '.join(CHECKS)}"
    comparison = Comparison()
    with torch.set_grad_enabled(kind in WITH_GRADIENT):
        CHECKS[kind](read_entry(FOLDER, name, FILES), comparison)
    assert comparison.compared, f"{name}: nothing was compared"
    table.RESULTS[kind].append(comparison)


def test_missing_folder_fails_where_it_was_promised() -> None:
    assert absence(False, {}) is not None
    assert absence(False, {"CI": "true"}) is None
    assert absence(False, {ENVIRONMENT: "somewhere"}) is None
    assert absence(True, {}) is None


def test_comparison_fails_on_a_wrong_number_and_on_an_unread_one() -> None:
    comparison = Comparison()
    with pytest.raises(AssertionError, match="out/x"):
        comparison.close("out/x", torch.tensor([1.0]), torch.tensor([1.001]))
    with pytest.raises(AssertionError, match="never compared: out/y"):
        comparison.covers({"out/x", "out/y"})


def test_manifest_of_an_empty_folder_is_empty(tmp_path) -> None:
    assert read_manifest(tmp_path) == {}
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {}}))
    assert read_manifest(tmp_path) == {}
