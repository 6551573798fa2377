"""What the alignment self-test looks at: some pictures, some voxels, in bounded memory."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from mindeye.preparation.encoding_score import unit_columns
from mindeye.preparation.picture_features import thumbnails
from mindeye.progress import track

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

READ_ROWS = 256
READ_VOXELS = 100


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
        As in `measure_alignment`.
    most
        Stimuli to draw, at most.
    rng
        Draws them.
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


def choose_voxels(
    betas: NDArray[np.floating],
    groups: list[Rows],
    members: Rows,
    most: int,
    rng: np.random.Generator,
) -> Rows:
    """Return the voxels whose repeats agree best; pictures play no part in the choice."""
    count = betas.shape[1]
    if count <= most:
        return np.arange(count)
    by_picture = pd.Series(members[members >= 0], index=np.flatnonzero(members >= 0))
    trials = [group.index.to_numpy()[:3] for _, group in by_picture.groupby(by_picture)]
    repeated = [rows for rows in trials if len(rows) > 1]
    if len(repeated) < 20:
        return np.sort(rng.choice(count, size=most, replace=False))
    chosen = [repeated[i] for i in rng.permutation(len(repeated))[:400]]
    mean, group_of = np.empty((len(groups), count), np.float32), np.empty(len(members), np.int64)
    for index, rows in enumerate(groups):
        group_of[rows] = index
        some = np.sort(rng.permutation(rows)[:60])
        mean[index] = np.nan_to_num(betas[some]).mean(axis=0)
    within, total = np.zeros(count), np.zeros(count)
    for rows in chosen:
        values = np.nan_to_num(betas[rows]) - mean[group_of[rows]]
        within += values.var(axis=0, ddof=1)
        total += (values**2).mean(axis=0)
    reliability = 1 - within / np.where(total > 0, total, np.inf)
    reliability[total == 0] = -1
    return np.sort(np.argsort(-reliability, kind="stable")[:most])


def read_scaled(betas: NDArray[np.floating], groups: list[Rows], voxels: Rows) -> Floats:
    """Read some voxels, a block of trials at a time, and z-score them within sessions."""
    values = np.empty((len(betas), len(voxels)), dtype=np.float32)
    starts = range(0, len(betas), READ_ROWS)
    for start in track(starts, "alignment", shown=betas.size > 50_000_000):
        block = np.asarray(betas[start : start + READ_ROWS])
        values[start : start + READ_ROWS] = np.nan_to_num(block[:, voxels])
    for rows in groups:
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
