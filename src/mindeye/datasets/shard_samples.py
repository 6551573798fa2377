"""One sample of MedARC's shards: what it says of itself, its betas and its picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.data.images import read_picture
from mindeye.datasets.tar_index import Sample
from mindeye.errors import DataError

PICTURES_OF_NSD = 73_000


@dataclass(frozen=True)
class ShardSample:
    """What a sample says of itself; its betas and picture stay on disk.

    Parameters
    ----------
    sample
        Where it lies.
    split
        Folder it is in.
    picture
        Its `coco73k`.
    count
        Rows of the betas that are presentations.
    trial
        Its `trial`.
    """

    sample: Sample
    split: str
    picture: int
    count: int
    trial: int


def describe(sample: Sample, split: str, voxels: str) -> ShardSample:
    """Read a sample's small members and check that it is a sample of this layout.

    Parameters
    ----------
    sample
        Of a shard.
    split
        Folder that the shard is in.
    voxels
        Member that holds the betas.

    Raises
    ------
    DataError
        If a member is missing, of a wrong shape or type, or out of range.
    """
    shape, dtype = sample.header(voxels)
    if len(shape) != 2 or 0 in shape or dtype.kind != "f":
        raise DataError(
            f"{sample}: {voxels} has shape {shape} and type {dtype}; betas are floating "
            "numbers of shape (presentations, voxels)"
        )
    count = sample.number("num_uniques.npy")
    if not 1 <= count <= shape[0]:
        raise DataError(f"{sample}: num_uniques is {count}, but there are {shape[0]} rows of betas")
    picture, trial = sample.number("coco73k.npy"), sample.number("trial.npy")
    if not 0 <= picture < PICTURES_OF_NSD:
        raise DataError(f"{sample}: coco73k is {picture}; it runs from 0 to {PICTURES_OF_NSD - 1}")
    if trial < 0:
        raise DataError(f"{sample}: trial is {trial}; it counts from 0")
    _picture_name(sample)
    return ShardSample(sample, split, picture, count, trial)


def _picture_name(sample: Sample) -> str:
    # In this order, as in the published loader's rename(images="jpg;png").
    for name in ("jpg", "png"):
        if name in sample.members:
            return name
    raise DataError(f"{sample} has no picture; it has {sorted(sample.members)}, not jpg or png")


def presentations(sample: ShardSample) -> NDArray[np.int64]:
    """Return session, run and trial (rows, 3) of a sample that we exported."""
    shown = sample.sample.array("presentations.npy")
    if shown.ndim != 2 or shown.shape[1] != 3 or shown.dtype.kind != "i":
        raise DataError(f"{sample.sample}: presentations.npy is not of shape (rows, 3), int64")
    if len(shown) < sample.count or (shown[: sample.count] < 0).any():
        raise DataError(f"{sample.sample}: presentations.npy lacks rows that num_uniques counts")
    return shown.astype(np.int64)


def check_filled(sample: ShardSample, values: NDArray[np.floating[Any]]) -> None:
    """Raise DataError unless the rows beyond `num_uniques` repeat the others or their mean."""
    count = sample.count
    kept = values[:count]
    for row in range(1, count):
        if (kept[row] == kept[:row]).all(axis=1).any():
            raise DataError(
                f"{sample.sample}: num_uniques is {count}, but row {row} of the betas repeats an "
                "earlier one"
            )
    mean = kept.astype(np.float64).mean(axis=0)
    # Two units in the last place: the mean was taken in half precision.
    near = 2 * np.spacing(np.maximum(np.abs(mean), 1e-3).astype(values.dtype)).astype(np.float64)
    for row in range(count, len(values)):
        repeats = (values[row] == kept).all(axis=1).any()
        if not repeats and (np.abs(values[row] - mean) > near).any():
            raise DataError(
                f"{sample.sample}: num_uniques is {count}, but row {row} of the betas is neither "
                "one of these nor their mean; set trust_counts if it is to be left out"
            )


def decode_picture(sample: Sample) -> NDArray[np.uint8]:
    """Return a sample's picture (H, W, 3), 0..255; raises DataError if it is unreadable."""
    name = _picture_name(sample)
    file = io.BytesIO(sample.read(name))
    return read_picture(file, name=f"{sample}: {name}", formats=("JPEG", "PNG"))
