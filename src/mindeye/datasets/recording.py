"""The one schema that every source is read into before it is prepared.

A reader opens files, checks that they belong together and says what is in them; it reads no betas
and no pictures until asked, one session at a time. Scaling, splits, guards and writing are the
same for all sources and live in `mindeye.preparation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.trials import COLUMNS
from mindeye.errors import DataError

ReadBetas = Callable[[int], NDArray[np.float32]]
ReadPictures = Callable[[Sequence[str]], Iterable[NDArray[np.uint8]]]


@dataclass(frozen=True)
class Recording:
    """One subject as its source has it: facts at once, betas and pictures when asked.

    Parameters
    ----------
    subject
        Name of the subject, like "subj01".
    trials
        One row a trial in the order of the experiment, as `mindeye.data.trials.complete_trials`
        returns it (session, run, trial, stimulus_id, repeat); a column `split` (train, val, test)
        is taken as it is, a boolean column `one_back` or others of the source's own are kept.
    stimuli
        One row a picture, in the order they are to be stored: `stimulus_id` (text) and whatever
        else is known of it (caption, coco_id, shared ...).
    voxels
        V rows, in the order of the betas' second axis; where known `x`, `y`, `z` (from 0, in the
        source's grid), `roi`, `ncsnr` ...
    read_betas
        Session number to (trials of that session in the order of `trials`, V) float32, in the
        source's own unit. Called once a session; holds one session in memory.
    read_pictures
        Stimulus ids, in the order of `stimuli`, to as many (H, W, 3) uint8 pictures in the source's
        own size, lazily.
    inputs
        Files and folders that are read. Their size and time tell whether an interrupted
        preparation can go on.
    info
        What goes into `subject.json` as it is: source, licence, space, units, simulated ...
    scaled
        Empty for betas as a GLM gives them; else how the source has scaled them, in words.
    saturation
        Absolute beta at which the source's storage saturates (int16 / 300: 109.2), if it can.
    test_sets
        Named choices of test stimuli that the source defines ("shared1000": ids); the first is
        its default. Empty if it defines none.

    Raises
    ------
    DataError
        If the tables do not fit together.
    """

    subject: str
    trials: pd.DataFrame
    stimuli: pd.DataFrame
    voxels: pd.DataFrame
    read_betas: ReadBetas
    read_pictures: ReadPictures
    inputs: tuple[Path, ...]
    info: Mapping[str, Any]
    scaled: str = ""
    saturation: float | None = None
    test_sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [c for c in COLUMNS if c not in self.trials.columns]
        if missing:
            raise DataError(f"the trial table of {self.subject} lacks the columns {missing}")
        if not len(self.trials):
            raise DataError(f"{self.subject} has no trials")
        if not len(self.voxels):
            raise DataError(f"{self.subject} has no voxels left; choose another ROI or mask")
        known = self.stimuli["stimulus_id"]
        if known.duplicated().any():
            twice = known[known.duplicated()].iloc[0]
            raise DataError(f"stimulus {twice!r} of {self.subject} is listed twice")
        unknown = sorted(set(self.trials["stimulus_id"]) - set(known))
        if unknown:
            raise DataError(
                f"stimulus {unknown[0]!r} of {self.subject} has trials but no picture "
                f"({len(unknown)} such)"
            )

    @property
    def sessions(self) -> list[int]:
        """Session numbers, in the order of the trials."""
        return [int(s) for s in self.trials["session"].drop_duplicates()]

    def rows_of_session(self, session: int) -> NDArray[np.int64]:
        """Rows of the trial table that belong to a session."""
        return np.flatnonzero((self.trials["session"] == session).to_numpy()).astype(np.int64)
