"""The guards of a preparation: what they look at, what they refuse, what they leave on record.

Each returns a record for `subject.json` whose ``verdict`` is one line for people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.preprocess import ZScore
from mindeye.data.splits import SPLITS
from mindeye.data.subject import Subject
from mindeye.datasets.recording import Recording
from mindeye.errors import DataError
from mindeye.files import open_array
from mindeye.preparation.alignment import measure_alignment, require_aligned
from mindeye.preparation.choices import HoldOut
from mindeye.preparation.clusters import cluster_split
from mindeye.preparation.config import PrepareConfig
from mindeye.preparation.leaks import (
    check_leaks,
    copies_to_drop,
    duplicates_error,
    scaling_leak,
)
from mindeye.preparation.picture_features import (
    layout_features,
    principal_components,
    thumbnails,
)
from mindeye.preparation.voxel_checks import SessionFacts, judge
from mindeye.progress import track

Record = dict[str, Any]

LEFT_OUT = "left_out"
"""Split of a stimulus that is stored but used by nothing: a copy of a picture in another split."""

CLUSTER_COMPONENTS = 10
"""Held-out clusters are 1.22 x as far from training as random pictures with 10, 1.12 x with 20."""
LISTED_PAIRS = 100
"""Copies named in `subject.json`; the rest are counted."""
THUMBNAIL = 64


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
    """Judge voxels and doubled trials; return the voxels that stay (V,) and the record.

    Raises
    ------
    DataError
        If trials are copies of each other, or voxels are broken and to be refused.
    """
    judgement = judge(facts, config.bad_voxels, voxels=voxels)
    kept = np.flatnonzero(judgement.kept).astype(np.int64)
    verdict = f"{judgement.dropped} of {len(judgement.kept)}: "
    verdict += ", ".join(
        f"{getattr(judgement, name)} {name.replace('_', ' ')}"
        for name in ("constant", "not_finite", "saturated")
    )
    return kept, {"mode": config.bad_voxels, "dropped": judgement.dropped, "verdict": verdict}


def guard_scaling(
    betas: Path, sessions: NDArray[np.int64], training: NDArray[np.bool_], zscore: ZScore
) -> Record:
    """Verify on the scaled betas that training trials alone scaled them.

    Raises
    ------
    LeakageError
        If other trials were in the statistics.
    """
    error = scaling_leak(np.load(betas, mmap_mode="r"), sessions, training, zscore)
    if error is not None:
        raise error
    verdicts = {
        "session_all": "test trials are in the statistics, as published",
        "none": "not scaled here",
    }
    return {"verdict": verdicts.get(zscore, "fitted on training trials alone")}


def guard_alignment(
    betas: Path,
    trials: pd.DataFrame,
    pictures: NDArray[np.uint8],
    stimuli: pd.DataFrame,
    config: PrepareConfig,
) -> Record:
    """Test whether betas and pictures belong together.

    Raises
    ------
    DataError
        If the pairing looks shuffled or shifted.
    """
    if config.no_alignment_test:
        return {"verdict": "not made (--no-alignment-test)"}
    result = measure_alignment(
        np.load(betas, mmap_mode="r"),
        trials,
        pictures,
        stimuli,
        rng=np.random.default_rng(config.seed),
    )
    require_aligned(result)
    return result.to_dict()


def hold_out_clusters(recording: Recording, config: PrepareConfig) -> HoldOut:
    """Return a function that holds whole clusters of a recording's pictures out."""

    def hold_out(
        ids: Sequence[str], share: float, rng: np.random.Generator
    ) -> tuple[list[str], list[str]]:
        if config.cluster_embeddings:
            features = _embeddings(Path(config.cluster_embeddings), ids)
        else:
            known = recording.stimuli["stimulus_id"]
            ordered = known[known.isin(ids)].tolist()
            drawn = track(recording.read_pictures(ordered), "clusters", total=len(ordered))
            small = np.concatenate([thumbnails(p[None], side=THUMBNAIL) for p in drawn])
            by_layout = principal_components(layout_features(small), CLUSTER_COMPONENTS)
            row = {s: i for i, s in enumerate(ordered)}
            features = by_layout[[row[s] for s in ids]]
        train, test, _ = cluster_split(features, ids, share=share, rng=rng)
        return train, test

    return hold_out


def _embeddings(path: Path, ids: Sequence[str]) -> NDArray[np.floating]:
    table = open_array(path, "give one row of numbers a picture, in the order of the stimulus ids")
    bad = [s for s in ids if not s.isdecimal() or int(s) >= len(table)]
    if table.ndim != 2 or not np.issubdtype(table.dtype, np.floating) or bad:
        what = f"has no row {bad[0]!r}" if bad else f"has shape {table.shape}, type {table.dtype}"
        raise DataError(
            f"{path} {what}; cluster embeddings are numbers (pictures, width) whose row is the "
            "stimulus id"
        )
    rows = np.asarray(table[[int(s) for s in ids]], dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12))


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
    said = guard_scaling(
        subject.path / "betas.npy", subject.trials["session"].to_numpy(), training, zscore
    )
    found = f"{len(pairs)} pictures in two splits" if pairs else "no picture is in two splits"
    return [found, f"scaling: {said['verdict']}"]
