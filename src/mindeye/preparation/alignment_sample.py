"""What the alignment self-test looks at: some pictures, some voxels, in bounded memory."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from mindeye.preparation.encoding_score import unit_columns
from mindeye.preparation.picture_features import thumbnails

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

READ_VOXELS = 100
FEWEST_REPEATED, MOST_REPEATED = 20, 400
"""Pictures with repeats that the choice of voxels needs, and that it looks at."""
TRIALS_OF_MEAN = 60
"""Trials of a session that give its mean, where voxels are chosen."""


def draw_pictures(
    trials: pd.DataFrame,
    pictures: NDArray[np.uint8],
    stimuli: pd.DataFrame,
    most: int,
    rng: np.random.Generator,
    *,
    merge: bool = True,
) -> tuple[NDArray[np.uint8], Rows]:
    """Draw stimuli that have trials.

    Parameters
    ----------
    trials, pictures, stimuli
        Tables and pictures of the recording; see `measure_alignment`.
    most
        Number of stimuli to draw, at most.
    rng
        Draws the stimuli.
    merge
        Whether stimuli with the same thumbnail become one.

    Returns
    -------
    tuple
        Thumbnails (U, side, side, 3) and, for each trial, which of them it shows (N,), -1 for
        those of stimuli that were not drawn.
    """
    position = pd.Series(np.arange(len(stimuli)), index=stimuli["stimulus_id"].to_numpy())
    row = trials["stimulus_id"].map(position).fillna(-1).to_numpy().astype(np.int64)
    used = np.unique(row[row >= 0])
    if len(used) > most:
        used = np.sort(rng.choice(used, size=most, replace=False))
    small = thumbnails(pictures, used)
    first = same = np.arange(len(small))
    if merge:
        known: dict[bytes, int] = {}
        same = np.array([known.setdefault(p.tobytes(), len(known)) for p in small], dtype=np.int64)
        first = np.unique(same, return_index=True)[1]
    member_of = np.full(len(stimuli) + 1, -1, dtype=np.int64)
    member_of[used] = same
    return small[first], member_of[row]


def session_groups(sessions: Rows) -> list[Rows]:
    """Return the rows of every session, those of sessions too short to scale by thrown together."""
    rows = [np.flatnonzero(sessions == s) for s in np.unique(sessions)]
    long = [r for r in rows if len(r) >= 10]
    short = [r for r in rows if len(r) < 10]
    return long + ([np.sort(np.concatenate(short))] if short else [])


class Sample:
    """Some voxels of all trials, z-scored within sessions.

    First the voxels are chosen, whose repeats agree best; pictures play no part in it. Then their
    betas are taken. Both are done with the betas a block at a time.

    Parameters
    ----------
    sessions
        Session of every trial, (N,).
    members
        Picture that each trial shows, (N,), -1 for those of none.
    voxels
        Number of voxels to choose from.
    most
        Number of voxels to choose, at most.
    rng
        Draws the trials that are compared, and the voxels where too few pictures repeat.
    """

    def __init__(
        self, sessions: Rows, members: Rows, voxels: int, most: int, rng: np.random.Generator
    ) -> None:
        self.sessions, self.members, self.most = sessions, members, most
        self.groups = session_groups(sessions)
        self.voxels: Rows | None = np.arange(voxels) if voxels <= most else None
        self.values = np.empty((0, 0), dtype=np.float32)
        self._repeats: list[Rows] = []
        self._some: list[Rows] = []
        if self.voxels is not None:
            return
        by_picture = pd.Series(members[members >= 0], index=np.flatnonzero(members >= 0))
        trials = [group.index.to_numpy()[:3] for _, group in by_picture.groupby(by_picture)]
        repeated = [rows for rows in trials if len(rows) > 1]
        if len(repeated) < FEWEST_REPEATED:
            self.voxels = np.sort(rng.choice(voxels, size=most, replace=False))
            return
        self._repeats = [repeated[i] for i in rng.permutation(len(repeated))[:MOST_REPEATED]]
        self._some = [np.sort(rng.permutation(rows)[:TRIALS_OF_MEAN]) for rows in self.groups]

    def reliability(self, betas: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return how well the repeats of a picture agree in each of some voxels (N, v)."""
        count = betas.shape[1]
        if self.voxels is not None:
            return np.zeros(count)
        mean = np.empty((len(self.groups), count), np.float32)
        group_of = np.empty(len(self.members), np.int64)
        for index, (rows, some) in enumerate(zip(self.groups, self._some, strict=True)):
            group_of[rows] = index
            mean[index] = np.nan_to_num(betas[some]).mean(axis=0)
        within, total = np.zeros(count), np.zeros(count)
        for rows in self._repeats:
            values = np.nan_to_num(betas[rows]) - mean[group_of[rows]]
            within += values.var(axis=0, ddof=1)
            total += (values**2).mean(axis=0)
        reliability = 1 - within / np.where(total > 0, total, np.inf)
        return np.asarray(np.where(total == 0, -1, reliability))

    def choose(self, reliability: NDArray[np.float64]) -> None:
        """Choose the voxels, given the reliability of all of them."""
        if self.voxels is None:
            self.voxels = np.sort(np.argsort(-reliability, kind="stable")[: self.most])

    def take(self, where: slice, betas: NDArray[np.floating]) -> None:
        """Take the chosen voxels of some trials (n, all voxels)."""
        if self.voxels is None:
            raise ValueError("choose the voxels first")
        if not self.values.size:
            self.values = np.empty((len(self.members), len(self.voxels)), dtype=np.float32)
        self.values[where] = np.nan_to_num(betas[:, self.voxels])

    def scaled(self) -> Floats:
        """Return what was taken, z-scored within sessions, (N, v)."""
        values = self.values
        for rows in self.groups:
            for first in range(0, values.shape[1], READ_VOXELS):
                columns = slice(first, first + READ_VOXELS)
                part = values[rows, columns].astype(np.float64)
                part -= part.mean(axis=0)
                deviation = part.std(axis=0)
                values[rows, columns] = part / np.where(deviation > 0, deviation, np.inf)
        return values


def mean_by_picture(values: Floats, members: Rows, source: Rows) -> Floats:
    """Average over the trials of every picture the betas of rows `source` (N,)."""
    kept = np.flatnonzero(members >= 0)
    sizes = np.bincount(members[kept])
    weights = (1 / sizes[members[kept]]).astype(np.float32)
    shape = (len(sizes), len(values))
    average = sparse.csr_matrix((weights, (members[kept], source[kept])), shape=shape)
    return unit_columns(np.asarray(average @ values))


def sources(sessions: Rows, lags: int) -> list[tuple[int, bool, Rows]]:
    """Return (lag, across sessions, betas row of every trial); ends wrap around."""
    rows = np.arange(len(sessions))
    shifts = [k for k in range(-lags, lags + 1) if k]
    found = [(k, True, np.roll(rows, -k)) for k in shifts]
    if len(np.unique(sessions)) == 1:
        return found
    for k in shifts:
        source = rows.copy()
        for session in np.unique(sessions):
            members = np.flatnonzero(sessions == session)
            source[members] = np.roll(members, -k)
        found.append((k, False, source))
    return found
