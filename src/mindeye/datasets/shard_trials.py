"""Trials of MedARC's shards, and the order of NSD's trials that tells their sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.trials import complete_trials
from mindeye.datasets.shard_samples import PICTURES_OF_NSD, ShardSample
from mindeye.errors import DataError
from mindeye.files import NPY_ERRORS

TRIALS_A_SESSION = 750


def read_order(path: Path, subject: str) -> NDArray[np.int64]:
    """Read the pictures of all trials in the order of the experiment.

    Parameters
    ----------
    path
        MedARC's `COCO_73k_subj_indices.hdf5`, which has a dataset (trials,) of 73k indices from 0
        for every subject (it comes with MindEye2's files; dataset_creation.ipynb reads it), or an
        .npy of the same for this subject. Not checked against the published file here.
    subject
        Name of the dataset.

    Raises
    ------
    DataError
        If there is no such file or dataset, or it holds anything but 73k indices.
    """
    array: NDArray[Any]
    try:
        if path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
        else:
            with h5py.File(path, "r") as file:
                if not isinstance(file.get(subject), h5py.Dataset):
                    raise DataError(f"{path} has no dataset {subject!r}; it has {sorted(file)[:9]}")
                array = np.asarray(file[subject][()])
    except (*NPY_ERRORS, RuntimeError) as error:
        raise DataError(f"{path} is missing, cut off or of another format: {error}") from error
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise DataError(
            f"{path}: the order has shape {array.shape} and type {array.dtype}; it must be one "
            "73k index a trial"
        )
    order = array.astype(np.int64)
    if order.min() < 0 or order.max() >= PICTURES_OF_NSD:
        raise DataError(
            f"{path}: 73k indices run from {order.min()} to {order.max()}; from 0 to "
            f"{PICTURES_OF_NSD - 1} was expected"
        )
    return order


def places_by_picture(order: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Return the trials of every picture, from 0, in their order."""
    by_picture = np.argsort(order, kind="stable")
    pictures, starts = np.unique(order[by_picture], return_index=True)
    groups = np.split(by_picture, starts[1:])
    return {int(p): g.astype(np.int64) for p, g in zip(pictures, groups, strict=True)}


def trials_of(sample: ShardSample, places: dict[int, NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the trials (count,) that a sample's rows are.

    The rows are a picture's presentations in their order, beginning with `trial` (MedARC's script
    collects them by `np.where` over the order).

    Raises
    ------
    DataError
        If the order knows no such presentations: it is another subject's, or counts from 1.
    """
    known = places.get(sample.picture, np.empty(0, dtype=np.int64))
    start = int(np.searchsorted(known, sample.trial))
    if start >= len(known) or known[start] != sample.trial or start + sample.count > len(known):
        raise DataError(
            f"{sample.sample} shows picture {sample.picture} {sample.count} times from trial "
            f"{sample.trial} on; by the order of trials it was shown at {known.tolist()}. Is the "
            "order that of this subject?"
        )
    return known[start : start + sample.count]


def trial_table(
    samples: list[ShardSample], names: list[str], shown: list[NDArray[np.int64]] | None
) -> pd.DataFrame:
    """Return the trial table, with the sample and the row of the betas that each trial is.

    Parameters
    ----------
    samples
        All samples of a subject.
    names
        Stimulus id of each.
    shown
        Session, run and trial (rows, 3) of each one's rows; None if they are not known, which
        puts all into session 0.

    Raises
    ------
    DataError
        If the same presentation of a stimulus occurs twice.
    """
    counts = [s.count for s in samples]
    table = pd.DataFrame(
        {
            "sample": np.repeat(np.arange(len(samples)), counts),
            "row": np.concatenate([np.arange(n) for n in counts]),
            "stimulus_id": np.repeat(np.asarray(names, dtype=object), counts),
            "split": np.repeat(np.asarray([s.split for s in samples], dtype=object), counts),
            "first_trial": np.repeat([s.trial for s in samples], counts),
        }
    )
    if shown is None:
        _refuse_twice(table[table["row"] == 0], samples, ["stimulus_id", "first_trial"])
        return complete_trials(table)
    table = table.drop(columns="first_trial")
    keys = ["session", "run", "trial"]
    table[keys] = np.concatenate([s[:n] for s, n in zip(shown, counts, strict=True)])
    table = table.sort_values([*keys, "sample", "row"], kind="stable", ignore_index=True)
    _refuse_twice(table, samples, [*keys, "stimulus_id"])
    return complete_trials(table)


def _refuse_twice(table: pd.DataFrame, samples: list[ShardSample], keys: list[str]) -> None:
    twice = table.duplicated(keys)
    if twice.any():
        row = table[twice].iloc[0]
        first = table[(table[keys] == row[keys]).all(axis=1)].iloc[0]
        raise DataError(
            f"{samples[int(row['sample'])].sample} holds the same presentation as "
            f"{samples[int(first['sample'])].sample}: {', '.join(f'{k} {row[k]}' for k in keys)}"
        )
