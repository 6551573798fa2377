"""Arrays in memory to a subject in memory, by the same way that files go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.images import as_picture, read_picture
from mindeye.data.splits import SPLITS, check_disjoint
from mindeye.data.subject import Subject
from mindeye.data.tables import read_table
from mindeye.data.trials import as_trials, read_trials
from mindeye.datasets.arrays import (
    find_stimuli,
    numbered_pictures,
    open_betas,
    recording_of,
)
from mindeye.datasets.recording import ReadPictures
from mindeye.errors import ConfigError, DataError
from mindeye.preparation.config import PrepareConfig
from mindeye.preparation.prepare import prepare

GIVEN = "given"
"""Name of a test set whose ids were given."""
NAMES = ("subject", "source", "licence")


def prepare_arrays(
    betas: Any,
    stimuli: Any,
    trials: Any,
    *,
    ids: Sequence[Any] | None,
    splits: Mapping[str, Sequence[Any]] | None,
    test: str | Sequence[Any],
    voxels: pd.DataFrame | str | Path | None,
    seed: int,
    **choices: Any,
) -> Subject:
    """Prepare arrays as `mindeye.Subject.from_arrays` describes."""
    names: dict[str, Any] = {name: str(choices.pop(name)) for name in NAMES if name in choices}
    known = [f.name for f in fields(PrepareConfig)]
    unknown = next((name for name in choices if name not in known), None)
    if unknown is not None:
        raise ConfigError(f"no choice {unknown!r}; there are {', '.join([*known, *NAMES])}")
    table = read_trials(trials) if isinstance(trials, str | Path) else as_trials(trials)
    if splits is not None:
        table["split"] = _split_column(table, splits)
    recording = recording_of(
        open_betas(Path(betas)) if isinstance(betas, str | Path) else np.asarray(betas),
        table,
        _finder(stimuli, ids),
        voxels=read_table(Path(voxels)) if isinstance(voxels, str | Path) else voxels,
        **names,
    )
    if not isinstance(test, str):
        given = tuple(str(s) for s in test)
        shown = set(recording.stimuli["stimulus_id"])
        if foreign := [s for s in given if s not in shown]:
            raise DataError(f"test lists stimulus {foreign[0]!r}, which has no trial")
        recording, test = replace(recording, test_sets={GIVEN: given}), GIVEN
    config = PrepareConfig(test=test, seed=seed, **choices)
    with TemporaryDirectory(prefix="mindeye-") as folder:
        subject = prepare(recording, Path(folder) / "subject", config, preview=False).in_memory()
    # The key speaks of a preparation that could go on in its folder.
    preparation = {k: v for k, v in subject.info["preparation"].items() if k != "key"}
    return replace(subject, info={**subject.info, "preparation": preparation})


def _split_column(trials: pd.DataFrame, splits: Mapping[str, Sequence[Any]]) -> pd.Series[Any]:
    """Return the split of every trial."""
    named = {name: [str(s) for s in members] for name, members in splits.items()}
    if foreign := [name for name in named if name not in SPLITS]:
        raise DataError(f"splits has {foreign[0]!r}; it may hold {SPLITS}")
    check_disjoint(named)
    of = {s: name for name, members in named.items() for s in members}
    column = trials["stimulus_id"].astype(str).str.strip().map(of)
    if column.isna().any():
        missing = trials["stimulus_id"][column.isna()].iloc[0]
        raise DataError(f"stimulus {missing!r} has trials but is in none of the splits")
    return column


def _finder(stimuli: Any, ids: Sequence[Any] | None) -> Callable[[list[str]], ReadPictures]:
    """Return a function from the stimulus ids to the reader of their pictures."""
    if isinstance(stimuli, str | Path):
        return partial(find_stimuli, Path(stimuli))
    if isinstance(stimuli, Mapping):
        return partial(_by_id, {str(key): value for key, value in stimuli.items()})
    if ids is None:
        pictures = np.asarray(stimuli) if len(stimuli) else np.empty(0, dtype=np.uint8)
        return lambda wanted: numbered_pictures(pictures, wanted, "stimuli")
    named = [str(i) for i in ids]
    if len(named) != len(stimuli):
        raise DataError(f"{len(stimuli)} stimuli, but {len(named)} ids; give one each")
    if twice := [i for i, times in Counter(named).items() if times > 1]:
        raise DataError(f"stimulus {twice[0]!r} is in ids twice")
    return partial(_by_id, dict(zip(named, stimuli, strict=True)))


def _by_id(pictures: Mapping[str, Any], ids: list[str]) -> ReadPictures:
    missing = [s for s in ids if s not in pictures]
    if missing:
        raise DataError(f"no image for stimulus {missing[0]!r} in stimuli ({len(missing)} missing)")

    def read(wanted: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
        for stimulus_id in wanted:
            value = pictures[stimulus_id]
            if isinstance(value, str | Path):
                yield read_picture(value)
            else:
                yield as_picture(value, f"the picture of stimulus {stimulus_id!r}")

    return read
