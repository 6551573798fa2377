"""The stage that predicts the test stimuli again, from less: fewer trials, other voxels.

Nothing is trained: the trained high-level pipeline sees other betas. What it says is scored by the
controls (`mindeye.controls`).

::

    RUN/conditions/trials.json                        stimulus_ids (S,), trials: 1, 2, 3
                   trials_1.npy ...                   (S, K, D) contrastive tokens
                   regions.json                       a record a region: its number, label, voxels
                   regions/000_only.npy               all voxels but the region's at the mean
                           000_without.npy            the region's voxels at the mean
                           000_random_only.npy        the same for as many random voxels
                           000_random_without.npy

Regions are of all test stimuli, betas averaged over repeats, in the order of `predict`. An array
is float32 up to 64 MB and float16 above that: 388 MB at the paper's size (982 x 257 x 768), which
with all 8 regions that are looked at makes 13.6 GB. `evaluate.controls=false` leaves all of it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mindeye.arrays import array_writer
from mindeye.errors import DataError
from mindeye.files import open_array, read_json, write_json
from mindeye.models.pipelines import HighLevel
from mindeye.progress import track
from mindeye.runs.regions import MOST_REGIONS, Region, random_set, regions_of
from mindeye.runs.workspace import Workspace

MOST_TRIALS = 3
"""Longest curve over trials; NSD shows a picture three times (Allen et al. 2022)."""

SINGLE_PRECISION_BYTES = 64 * 2**20
"""Predictions up to this size stay float32, so that those from all trials equal `predict`'s."""

BLOCK = 256
"""Stimuli predicted at once, as in the stage `predict`."""

TRIALS_OF_MEAN = 2048
"""Trials read at once for the training mean."""

RANDOM_VOXELS = 7001
"""Names the stream of random numbers that draws random voxels."""

FORMS = ("only", "without", "random_only", "random_without")


class RegionPredictions(NamedTuple):
    """What the decoder says with a region alone and without it.

    Attributes
    ----------
    label
        Label of the region, as the subject's file has it: escape it where it is shown.
    voxels
        Number of voxels in the region, and in the random set.
    only, without
        (S, K, D) from the region's voxels, and from all others.
    random_only, random_without
        The same for a random set of as many voxels.
    """

    label: str
    voxels: int
    only: NDArray[np.floating]
    without: NDArray[np.floating]
    random_only: NDArray[np.floating]
    random_without: NDArray[np.floating]


def conditions(work: Workspace) -> None:
    """Predict contrastive tokens from 1, 2 and 3 trials, and with and without every region."""
    if not (work.config.high_enabled and work.config.evaluate.controls):
        return
    model = work.decoder.model_
    _predict_trials(work, model)
    _predict_regions(work, model)


def trial_stimuli(work: Workspace) -> tuple[list[str], list[int]]:
    """Return the test stimuli of the curve over trials, and its numbers of trials.

    All points are of the same stimuli, those that were shown most often (three times or more count
    alike), so that only the number of trials differs between them. No numbers where no test
    stimulus was shown twice.
    """
    shown = {s: len(work.subject.rows_by_stimulus[s]) for s in work.test_ids}
    most = min(max(shown.values()), MOST_TRIALS)
    ids = [s for s in work.test_ids if shown[s] >= most]
    return (ids, list(range(1, most + 1))) if most > 1 else ([], [])


def _predict_trials(work: Workspace, model: HighLevel) -> None:
    folder = work.folder / "conditions"
    ids, numbers = trial_stimuli(work)
    rows = work.subject.rows_by_stimulus
    for count in track(numbers, "trials"):
        betas = np.stack([work.subject.betas[rows[s][:count]].mean(axis=0) for s in ids])
        _write(work, model, torch.from_numpy(betas), folder / f"trials_{count}.npy")
    write_json(folder / "trials.json", {"stimulus_ids": ids, "trials": numbers})


def _predict_regions(work: Workspace, model: HighLevel) -> None:
    folder, regions = work.folder / "conditions", regions_of(work.subject.voxels)
    betas = torch.from_numpy(work.test_betas)
    mean = torch.from_numpy(training_mean(work)) if regions else torch.empty(0)
    looked_at = list(enumerate(regions[:MOST_REGIONS]))
    jobs = [(n, *form) for n, region in looked_at for form in _forms(work, n, region)]
    for number, form, voxels in track(jobs, "regions"):
        part = torch.where(torch.from_numpy(voxels), betas, mean)
        _write(work, model, part, folder / "regions" / f"{number:03d}_{form}.npy")
    records = [_record(region) | {"number": number} for number, region in looked_at]
    left_out = [_record(region) for region in regions[MOST_REGIONS:]]
    content = {"stimulus_ids": work.test_ids, "regions": records, "left_out": left_out}
    write_json(folder / "regions.json", content)


def _record(region: Region) -> dict[str, Any]:
    return {"label": region.label, "voxels": int(region.inside.sum())}


def _forms(work: Workspace, number: int, region: Region) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield the name of every form and the voxels (V,) that keep their betas in it."""
    rng = np.random.default_rng([work.config.seed, RANDOM_VOXELS, number])
    random = random_set(int(region.inside.sum()), len(region.inside), rng)
    yield from zip(FORMS, (region.inside, ~region.inside, random, ~random), strict=True)


def training_mean(work: Workspace) -> NDArray[np.float32]:
    """Return the mean beta (V,) over all trials of training stimuli; 0 where they are z-scored."""
    subject = work.subject
    rows = np.sort(np.concatenate([subject.rows_by_stimulus[s] for s in subject.splits["train"]]))
    total = np.zeros(subject.betas.shape[1], dtype=np.float64)
    for first in track(range(0, len(rows), TRIALS_OF_MEAN), "mean betas"):
        total += subject.betas[rows[first : first + TRIALS_OF_MEAN]].sum(axis=0, dtype=np.float64)
    return (total / len(rows)).astype(np.float32)


@torch.inference_mode()
def _write(work: Workspace, model: HighLevel, betas: Tensor, path: Path) -> None:
    """Predict contrastive tokens of betas (S, V) a block at a time, and write them."""
    shape = (len(betas), work.sizes.tokens, work.sizes.width)
    kind = np.float32 if prod(shape) * 4 <= SINGLE_PRECISION_BYTES else np.float16
    with array_writer(path, len(betas), kind) as array:
        for block in torch.split(betas, BLOCK):
            tokens = model(block.to(work.device)).contrastive.float().cpu().numpy()
            with np.errstate(over="ignore"):
                values = tokens.astype(kind, copy=False)
            if not np.isfinite(values).all():
                raise DataError(
                    f"{path}: a predicted token is not finite or too large for {kind.__name__}; "
                    "evaluate.controls=false leaves the controls out"
                )
            array.append(values)


def trial_predictions(work: Workspace) -> tuple[list[str], dict[int, NDArray[np.floating]]]:
    """Return the stimuli of the curve over trials and predictions (S, K, D) by number of trials.

    Memory-mapped. Both are empty where the run has no such predictions.
    """
    folder = work.folder / "conditions"
    if not (folder / "trials.json").is_file():
        return [], {}
    content = read_json(folder / "trials.json")
    return content["stimulus_ids"], {
        count: _opened(folder, f"trials_{count}") for count in content["trials"]
    }


def region_predictions(work: Workspace) -> Iterator[RegionPredictions]:
    """Yield predictions of all test stimuli by region, memory-mapped, the largest region first."""
    folder = work.folder / "conditions"
    if not (folder / "regions.json").is_file():
        return
    for record in read_json(folder / "regions.json")["regions"]:
        number = int(record["number"])
        parts = [_opened(folder, f"regions/{number:03d}_{form}") for form in FORMS]
        yield RegionPredictions(record["label"], record["voxels"], *parts)


def _opened(folder: Path, name: str) -> NDArray[np.floating]:
    return open_array(folder / f"{name}.npy", f"delete {folder} and run that stage again")
