"""NSD's trial order: which of the 73,000 pictures was shown in which trial.

The file `nsd_expdesign.mat` (NSD Data Manual, "Experiments") holds three arrays that matter here,
all counting from 1:

``masterordering`` (1, 30000)
    Position, in a subject's own list of 10,000 pictures, of the picture of every trial; the same
    for all subjects. Every picture has up to three trials.
``subjectim`` (8, 10000)
    The 73k number of every picture of each subject's list. Its first 1,000 are the shared ones.
``sharedix`` (1, 1000)
    The 73k numbers of the shared pictures.

So trial t (from 0) of subject s (from 1) shows, from 0, `subjectim[s-1, masterordering[t]-1] - 1`.
Not checked against the real file here; the invariants above are checked whenever it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.trials import complete_trials
from mindeye.datasets.file_formats import load_mat
from mindeye.datasets.nsd.layout import SESSIONS_HELD, SUBJECTS, require_file
from mindeye.errors import DataError

Ints = NDArray[np.int64]

KEYS = ("masterordering", "subjectim", "sharedix")
MOST_REPEATS = 3
TRIALS = 750
RUN_LENGTHS = (63, 62) * 6
"""Stimulus trials of the twelve runs of a session: 63 in odd ones, 62 in even ones (Allen et al.
2022, Methods, "NSD experiment"; they add up to the 750 trials of a session)."""
PUBLIC_SESSIONS = 37
"""Sessions that were public when the decoders of 2023 were published: Takagi & Nishimoto (2023)
and Scotti et al. (2023) count 24,980 training and 2,770 test trials, 27,750 = 37 x 750."""
LEAST_SESSIONS = min(SESSIONS_HELD)


@dataclass(frozen=True)
class Design:
    """The trial order, counted from 0.

    Parameters
    ----------
    order
        (trials of the experiment,) position in the subject's list of pictures, from 0.
    images
        (8, pictures of a subject) 73k index from 0.
    shared
        Number of shared pictures, which come first in every subject's list.
    """

    order: Ints
    images: Ints
    shared: int

    def shown(self, subject: int) -> Ints:
        """Return the 73k index (from 0) of every trial of a subject (from 1)."""
        return np.asarray(self.images[subject - 1][self.order])


def read_design(path: Path) -> Design:
    """Read `nsd_expdesign.mat` and check what has to hold in it.

    Raises
    ------
    DataError
        If it is missing, unreadable, or breaks an invariant named in this module's docstring.
    """
    require_file(path, "trial order (nsd_expdesign.mat)")
    content = load_mat(path, KEYS)
    master, images, shared = (whole_numbers(content[k], k, path) for k in KEYS)
    if images.ndim != 2 or len(images) != SUBJECTS:
        raise DataError(f"subjectim of {path} has shape {images.shape}, not ({SUBJECTS}, pictures)")
    _check(path, master.ravel(), images, shared.ravel())
    return Design(order=master.ravel() - 1, images=images - 1, shared=shared.size)


def whole_numbers(array: NDArray[Any], key: str, path: Path) -> Ints:
    """Return numbers that count from 1 as int64; MATLAB may have saved them as doubles.

    Raises
    ------
    DataError
        If they are anything else, or larger than any picture's number.
    """
    if array.dtype.kind not in "iuf" or array.size == 0:
        raise DataError(f"{key} of {path} holds {array.dtype} of shape {array.shape}, not numbers")
    if not ((array >= 1) & (array % 1 == 0) & (array < 2**31)).all():
        raise DataError(f"{key} of {path} must hold whole numbers that count from 1")
    return array.astype(np.int64)


def _check(path: Path, master: Ints, images: Ints, shared: Ints) -> None:
    count = images.shape[1]
    if master.max() > count:
        raise DataError(
            f"masterordering of {path} names picture {master.max()} of a list of {count}; it holds "
            "positions in a subject's list, not 73k numbers"
        )
    most = int(np.bincount(master).max())
    if most > MOST_REPEATS:
        raise DataError(
            f"masterordering of {path} shows picture {int(np.bincount(master).argmax())} {most} "
            f"times; NSD shows each at most {MOST_REPEATS} times"
        )
    if shared.size > count or not (images[:, : shared.size] == shared).all():
        raise DataError(
            f"the first {shared.size} pictures of every subject in subjectim of {path} must be the "
            "shared ones of sharedix, in the same order"
        )
    for subject, row in enumerate(images, start=1):
        if len(np.unique(row)) != count:
            raise DataError(f"subjectim of {path} lists a picture twice for subject {subject}")


def session_trials(
    design: Design, subject: int, sessions: list[int], per_session: int
) -> pd.DataFrame:
    """Return one row for every trial of the sessions present.

    Parameters
    ----------
    design
        The trial order.
    subject
        Number of the subject, from 1.
    sessions
        Numbers of the sessions as in the file names, from 1, increasing; any may be missing.
    per_session
        Trials of every session. Session s always is trials (s-1) x per_session to
        s x per_session - 1 of the order, whichever other sessions are there.

    Returns
    -------
    DataFrame
        `session` from 1 as in the file names, `run` 0 to 11 (0 throughout if sessions are not of
        750 trials), `trial` from 0 over the whole experiment, `stimulus_id` the 73k index from 0,
        `repeat` from 0 over the whole experiment, those in missing sessions counted.

    Raises
    ------
    DataError
        If the design has no trials for a session.
    """
    last = max(sessions)
    if last * per_session > len(design.order):
        raise DataError(
            f"session {last} of {per_session} trials each ends at trial {last * per_session}, but "
            f"the trial order has {len(design.order)}; design and betas are not of one experiment"
        )
    numbers = np.asarray(sessions, dtype=np.int64)
    trial = ((numbers[:, None] - 1) * per_session + np.arange(per_session)).ravel()
    run = np.zeros(per_session, dtype=np.int64)
    if per_session == TRIALS:
        run = np.repeat(np.arange(len(RUN_LENGTHS)), RUN_LENGTHS)
    repeat = pd.Series(design.order).groupby(design.order).cumcount().to_numpy()
    return complete_trials(
        pd.DataFrame(
            {
                "session": np.repeat(numbers, per_session),
                "run": np.tile(run, len(numbers)),
                "trial": trial,
                "stimulus_id": [str(i) for i in design.shown(subject)[trial]],
                "repeat": repeat[trial],
            }
        )
    )


def shared_test_sets(
    design: Design, subject: int, per_session: int, shown_ids: set[int]
) -> dict[str, tuple[str, ...]]:
    """Return the test sets that people take from the shared pictures, each by its definition.

    `shared1000`
        All shared pictures.
    `shared982`
        Shared pictures with at least one trial in the first 37 sessions, those that were public
        when the decoders of 2023 were published. Takagi & Nishimoto (2023) and MindEye count 2,770
        test trials for 982 pictures, fewer than 3 x 982, so they cannot have been "seen three
        times" by then, as is often said; with all 40 sessions they have been. The manual's counts
        of shared pictures shown at least once ("Technical notes": 907 after 30 sessions, 930 after
        32, 1,000 after 40) leave room for 982 after 37.
    `special515`
        Shared pictures with three trials in the first 30 sessions, which all eight subjects
        completed (NSD Data Manual, "Technical notes": 515 shown three times to every subject).

    That the definitions give 982 and 515 could not be checked here, for want of the real
    `nsd_expdesign.mat`; `info` of the recording has the counts.

    Parameters
    ----------
    design
        The trial order.
    subject
        Number of the subject, from 1.
    per_session
        Trials of a session.
    shown_ids
        73k indices that have a trial in the sessions present; others are left out.

    Returns
    -------
    dict
        Names in the order above to stimulus ids in increasing 73k order.
    """
    positions_of = {
        "shared1000": np.arange(design.shared),
        "shared982": _shown_at_least(design, PUBLIC_SESSIONS * per_session, 1),
        "special515": _shown_at_least(design, LEAST_SESSIONS * per_session, MOST_REPEATS),
    }
    sets = {}
    for name, positions in positions_of.items():
        ids = sorted(int(i) for i in design.images[subject - 1][positions])
        sets[name] = tuple(str(i) for i in ids if i in shown_ids)
    return sets


def shared_counts(design: Design, per_session: int) -> dict[str, int]:
    """Return how many pictures each definition of `shared_test_sets` gives in the whole design."""
    everything = set(design.images[0].tolist())
    return {n: len(ids) for n, ids in shared_test_sets(design, 1, per_session, everything).items()}


def _shown_at_least(design: Design, trials: int, times: int) -> Ints:
    """Return positions of shared pictures with so many trials among the first ones."""
    counts = np.bincount(design.order[:trials], minlength=design.images.shape[1])
    return np.flatnonzero(counts[: design.shared] >= times).astype(np.int64)
