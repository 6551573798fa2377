"""Any recording to a prepared subject: the one door that all data go through."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.config.fingerprints import config_dict, config_hash
from mindeye.data.splits import SPLITS
from mindeye.data.subject import SCALER, Subject, load_subject
from mindeye.data.subject_writing import commit_subject, draft_of, write_scaler
from mindeye.datasets.recording import Recording
from mindeye.errors import DataError
from mindeye.files import open_array
from mindeye.preparation.choices import Choice, choose, counts
from mindeye.preparation.clusters import hold_out_clusters
from mindeye.preparation.config import PrepareConfig
from mindeye.preparation.draft import SCRATCH, Draft, recording_key
from mindeye.preparation.guards import (
    alignment_test,
    guard_alignment,
    guard_pictures,
    guard_scaling,
    guard_voxels,
    splits_of,
)
from mindeye.preparation.preview import GIVEN_CEILING, write_preview
from mindeye.preparation.reading import read_pictures, read_sessions
from mindeye.preparation.scaling import (
    UNITS,
    WrittenBetas,
    measure_voxels,
    resolve_zscore,
    write_betas,
)
from mindeye.preparation.scaling_leak import ScalingDesign


def prepare(
    recording: Recording,
    out: str | Path,
    config: PrepareConfig | None = None,
    *,
    preview: bool = True,
) -> Subject:
    """Write a prepared subject; an interrupted call goes on where it stopped.

    Splits by stimulus, pictures and betas to disk a session at a time, z-scoring on training
    trials, and the guards: leaks between splits, constant / not finite / saturated voxels,
    duplicated trials, alignment of betas and pictures, noise ceiling from repeats.

    Parameters
    ----------
    recording
        What a reader of `mindeye.datasets` returned.
    out
        Folder to write; it appears whole or not at all. Beside it stands ``OUT.preparing`` while
        there is something to go on with.
    config
        Splits, scaling, guards.
    preview
        Whether `preview.png` is drawn.

    Raises
    ------
    DataError
        If the data are malformed, a guard refuses them, or the folder holds something else.
    LeakageError
        If anything of the test stimuli would reach training.
    UsageError
        If a test set or session is not there.
    """
    config = config or PrepareConfig()
    folder = Path(out)
    draft_folder = draft_of(folder)
    choice = choose(recording, config, hold_out_clusters(recording, config))
    trials = recording.trials.iloc[choice.rows].reset_index(drop=True)
    key = recording_key(recording, trials, config.size)
    whole = config_hash(key, config)
    if _is_prepared(folder, whole):
        return load_subject(folder)
    draft = Draft(draft_folder, key)
    try:
        parts = _assemble(draft, recording, config, choice, trials)
    except DataError:
        # What was read stays, so that a file fetched again or another choice costs little.
        if draft.is_new:
            draft.discard()
        raise
    trials = trials.drop(columns="split", errors="ignore")
    info = {
        "subject": recording.subject,
        **recording.info,
        "units": parts.units,
        "preparation": {"key": whole, **parts.facts, "config": config_dict(config)},
    }
    if preview:
        betas = open_array(draft.betas, "prepare the subject again")
        write_preview(Subject(draft.folder, info, betas, trials, parts.stimuli, parts.voxels))
    return commit_subject(
        draft.folder,
        folder,
        trials=trials,
        stimuli=parts.stimuli,
        voxels=parts.voxels,
        info=info,
        more=parts.more,
        scratch=SCRATCH,
        known={"betas.npy": parts.written.sha256},
        betas_checked=parts.written.sound,
    )


@dataclass(frozen=True)
class _Parts:
    """What is known of a subject once its arrays are on disk."""

    stimuli: pd.DataFrame
    voxels: pd.DataFrame
    units: str
    facts: dict[str, Any]
    more: list[str]
    written: WrittenBetas


def _is_prepared(folder: Path, key: str) -> bool:
    if not (folder / "subject.json").exists():
        return False
    return bool(load_subject(folder).info.get("preparation", {}).get("key") == key)


def _assemble(
    draft: Draft,
    recording: Recording,
    config: PrepareConfig,
    choice: Choice,
    trials: pd.DataFrame,
) -> _Parts:
    stimuli = _stimulus_table(recording, choice)
    pictures = read_pictures(draft, recording, list(stimuli["stimulus_id"]), config.size)
    stimuli, leaks = guard_pictures(pictures, stimuli, config)
    raw, facts = read_sessions(draft, recording, trials, choice.rows)
    kept, voxel_facts = guard_voxels(facts, recording.voxels, config)
    zscore = resolve_zscore(recording, config, choice)
    training = trials["stimulus_id"].isin(splits_of(stimuli)["train"]).to_numpy()
    design = ScalingDesign(trials["session"].to_numpy(), training, zscore)
    test = alignment_test(trials, pictures, stimuli, len(kept), config)
    sample = None if test is None else test.sample
    statistics = measure_voxels(raw, kept, trials, design, sample)
    written = write_betas(raw, draft.betas, kept, statistics.scaler, design, sample)
    scaling = guard_scaling(written.moments, zscore)
    aligned = guard_alignment(test)
    write_scaler(draft.folder, statistics.scaler)
    voxels, ceiling = _voxel_table(recording, kept, statistics.ceiling)
    return _Parts(
        stimuli=stimuli,
        voxels=voxels,
        units=UNITS.get(zscore) or recording.scaled or str(recording.info.get("units", "as given")),
        facts={
            "zscore": zscore,
            "chosen": counts(choice, recording),
            "leaks": leaks,
            "broken voxels": voxel_facts,
            "scaling": scaling,
            "alignment": aligned,
            "noise ceiling": ceiling,
        },
        more=[] if statistics.scaler is None else list(SCALER),
        written=written,
    )


def _stimulus_table(recording: Recording, choice: Choice) -> pd.DataFrame:
    """Return the chosen stimuli in the recording's order, with their split."""
    split_of = {s: name for name in SPLITS for s in choice.splits[name]}
    chosen = recording.stimuli[recording.stimuli["stimulus_id"].isin(split_of)]
    chosen = chosen.reset_index(drop=True).drop(columns="split", errors="ignore")
    chosen.insert(1, "split", chosen["stimulus_id"].map(split_of))
    return chosen


def _voxel_table(
    recording: Recording, kept: NDArray[np.int64], ceiling: NDArray[np.float32] | None
) -> tuple[pd.DataFrame, str]:
    voxels = recording.voxels.iloc[kept].reset_index(drop=True)
    if ceiling is None:
        return voxels, "not known: fewer than two stimuli were repeated"
    middle, high = np.percentile(ceiling, [50, 90])
    verdict = f"median {middle:.3f}, 90th percentile {high:.3f} (one trial, from repeats)"
    if "noise_ceiling" in voxels:
        return voxels, f"{verdict}; {GIVEN_CEILING}"
    return voxels.assign(noise_ceiling=ceiling), verdict
