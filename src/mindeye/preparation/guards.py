"""The guards of a preparation: what they look at, what they refuse, what they leave on record.

Each returns a record for `subject.json` whose ``verdict`` is one line for people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.preprocess import ZScore
from mindeye.data.splits import SPLITS
from mindeye.data.subject import Subject
from mindeye.preparation.alignment import AlignmentTest, require_aligned
from mindeye.preparation.config import PrepareConfig
from mindeye.preparation.leaks import check_leaks, copies_to_drop, duplicates_error
from mindeye.preparation.scaling_leak import TrainingMoments, scaling_leak
from mindeye.preparation.voxel_checks import SessionFacts, check_voxels

Record = dict[str, Any]

LEFT_OUT = "left_out"
"""Split of a stimulus that is stored but used by nothing: a copy of a picture in another split."""

LISTED_PAIRS = 100
"""Copies named in `subject.json`; the rest are counted."""


def guard_pictures(
    pictures: NDArray[np.uint8], stimuli: pd.DataFrame, config: PrepareConfig
) -> tuple[pd.DataFrame, Record]:
    """Look for one picture in two splits; return the stimulus table, copies marked left out.

    Raises
    ------
    LeakageError
        If there is a copy and ``duplicates`` is ``refuse``.
    """
    pairs = check_leaks(pictures, list(stimuli["stimulus_id"]), splits_of(stimuli))
    record: Record = {
        "mode": config.duplicates,
        "count": len(pairs),
        "pairs": [asdict(pair) for pair in pairs[:LISTED_PAIRS]],
    }
    if not pairs:
        return stimuli, {**record, "verdict": "no picture is in two splits"}
    if config.duplicates == "refuse":
        raise duplicates_error(pairs)
    if config.duplicates == "allow":
        return stimuli, {**record, "verdict": f"{len(pairs)} pictures in two splits, allowed"}
    copies = copies_to_drop(pairs)
    split = stimuli["split"].mask(stimuli["stimulus_id"].isin(copies), LEFT_OUT)
    verdict = f"{len(copies)} copies of pictures of another split left out"
    return stimuli.assign(split=split), {**record, "verdict": verdict}


def splits_of(stimuli: pd.DataFrame) -> dict[str, list[str]]:
    """Return the stimulus ids of train, val and test."""
    return {s: stimuli.loc[stimuli["split"] == s, "stimulus_id"].tolist() for s in SPLITS}


def guard_voxels(
    facts: Sequence[SessionFacts], voxels: pd.DataFrame, config: PrepareConfig
) -> tuple[NDArray[np.int64], Record]:
    """Look for broken voxels and doubled trials; return the voxels that stay (V,) and the record.

    Raises
    ------
    DataError
        If trials are copies of each other, or voxels are broken and to be refused.
    """
    found = check_voxels(facts, config.bad_voxels, voxels=voxels)
    kept = np.flatnonzero(found.kept).astype(np.int64)
    counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in found.counts.items())
    verdict = f"{found.dropped} of {len(found.kept)}: {counts}"
    return kept, {"mode": config.bad_voxels, "dropped": found.dropped, "verdict": verdict}


def guard_scaling(moments: TrainingMoments, zscore: ZScore) -> Record:
    """Verify on the scaled betas that training trials alone scaled them.

    Raises
    ------
    LeakageError
        If other trials were in the statistics.
    """
    error = moments.leak()
    if error is not None:
        raise error
    return {"verdict": scaling_verdict(zscore)}


def scaling_verdict(zscore: ZScore) -> str:
    """Return what is true of betas that were found to be scaled as the record says."""
    verdicts = {
        "session_all": "test trials are in the statistics, as published",
        "none": "not scaled here",
    }
    return verdicts.get(zscore, "fitted on training trials alone")


def alignment_test(
    trials: pd.DataFrame,
    pictures: NDArray[np.uint8],
    stimuli: pd.DataFrame,
    voxels: int,
    config: PrepareConfig,
) -> AlignmentTest | None:
    """Return the test of whether betas and pictures belong together; None if it is not wanted."""
    if config.no_alignment_test:
        return None
    rng = np.random.default_rng(config.seed)
    return AlignmentTest(trials, pictures, stimuli, voxels, rng=rng)


def guard_alignment(test: AlignmentTest | None) -> Record:
    """Return what the alignment self-test says.

    Raises
    ------
    DataError
        If the pairing looks shuffled or shifted.
    """
    if test is None:
        return {"verdict": "not made (--no-alignment-test)"}
    result = test.result()
    require_aligned(result)
    return result.to_dict()


def recheck(subject: Subject) -> list[str]:
    """Look at a prepared subject for leaks once more; return what each guard says.

    Raises
    ------
    LeakageError
        If a picture is in two splits though the preparation did not allow it, or betas were scaled
        by other than training trials though it says so.
    """
    record = subject.info.get("preparation", {})
    allowed = record.get("config", {}).get("duplicates") == "allow"
    pairs = check_leaks(subject.pictures, list(subject.stimuli["stimulus_id"]), subject.splits)
    if pairs and not allowed:
        raise duplicates_error(pairs)
    training = subject.trials["stimulus_id"].isin(subject.splits["train"]).to_numpy()
    zscore: ZScore = record.get("zscore", "none")
    error = scaling_leak(subject.betas, subject.trials["session"].to_numpy(), training, zscore)
    if error is not None:
        raise error
    found = f"{len(pairs)} pictures in two splits" if pairs else "no picture is in two splits"
    return [found, f"scaling: {scaling_verdict(zscore)}"]
