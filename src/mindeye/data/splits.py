"""Train, val and test, always by stimulus: no picture is ever on two sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from mindeye.errors import DataError, LeakageError

SPLITS = ("train", "val", "test")


def check_disjoint(splits: Mapping[str, Iterable[str]]) -> None:
    """Raise LeakageError if a stimulus is in two splits."""
    seen: dict[str, str] = {}
    for name, ids in splits.items():
        for stimulus_id in ids:
            if stimulus_id in seen:
                raise LeakageError(
                    f"stimulus {stimulus_id!r} is in both {seen[stimulus_id]} and {name}; a "
                    "stimulus may be in one split only, correct the column split"
                )
            seen[stimulus_id] = name


def hold_out(
    stimulus_ids: Sequence[str], share: float, rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Split stimuli at random into those kept and those held out (at least one each).

    Parameters
    ----------
    stimulus_ids
        Distinct stimuli.
    share
        Share to hold out, between 0 and 1.
    rng
        Source of randomness.
    """
    ids = sorted(stimulus_ids)
    if len(ids) < 2:
        raise DataError(f"cannot hold out a share of {len(ids)} stimuli; at least 2 are needed")
    count = min(max(1, round(share * len(ids))), len(ids) - 1)
    held = set(rng.choice(len(ids), size=count, replace=False).tolist())
    kept_ids = [s for i, s in enumerate(ids) if i not in held]
    return kept_ids, [s for i, s in enumerate(ids) if i in held]


def splits_from_trials(
    trials: pd.DataFrame,
    *,
    test_share: float,
    val_share: float,
    rng: np.random.Generator,
) -> dict[str, list[str]]:
    """Return train, val and test stimuli, from the column `split` where there is one.

    A missing test or val split is drawn at random by stimulus: test from all, val from train.

    Raises
    ------
    LeakageError
        If a stimulus has trials in two splits.
    DataError
        If the column names an unknown split or a split ends up empty.
    """
    if "split" in trials.columns:
        unknown = sorted(set(trials["split"].astype(str)) - set(SPLITS))
        if unknown:
            raise DataError(
                f"column split of the trial table has {unknown[0]!r}; it may hold {SPLITS}"
            )
        pairs = trials[["split", "stimulus_id"]].drop_duplicates()
        splits = {s: sorted(pairs.loc[pairs["split"] == s, "stimulus_id"]) for s in SPLITS}
    else:
        splits = {"train": sorted(set(trials["stimulus_id"])), "val": [], "test": []}
    check_disjoint(splits)
    if not splits["test"]:
        splits["train"], splits["test"] = hold_out(splits["train"], test_share, rng)
    if not splits["val"]:
        splits["train"], splits["val"] = hold_out(splits["train"], val_share, rng)
    if not splits["train"]:
        raise DataError("no training stimulus; the column split holds only val and test")
    return splits
