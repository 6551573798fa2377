"""Pictures and raw betas from a recording to its draft, a picture or a session at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.arrays import ArrayWriter, array_writer, blocks, column_blocks, release_pages
from mindeye.data.images import check_picture, resized
from mindeye.datasets.recording import Recording
from mindeye.errors import DataError
from mindeye.files import open_array
from mindeye.preparation.draft import Draft
from mindeye.preparation.voxel_checks import SessionFacts, session_facts
from mindeye.progress import track

ADVICE = "prepare the subject again"
Rows = NDArray[np.int64]


def read_pictures(
    draft: Draft, recording: Recording, ids: Sequence[str], size: int
) -> NDArray[np.uint8]:
    """Write the pictures of some stimuli to the draft, from where an earlier call stopped.

    Parameters
    ----------
    draft
        Draft to write to.
    recording
        Recording to read from.
    ids
        Stimulus ids, in the order of the recording.
    size
        Side that pictures are resized to; 0 for as they are.

    Returns
    -------
    array
        Pictures (S, H, W, 3), memory-mapped.

    Raises
    ------
    DataError
        If pictures differ in size and `size` is 0, or the source has fewer than asked for.
    """
    if not draft.pictures.exists():
        with array_writer(draft.pictures, len(ids), np.uint8, key=draft.key) as stored:
            _write_pictures(stored, recording, ids, size)
    return open_array(draft.pictures, ADVICE)


def _write_pictures(
    stored: ArrayWriter, recording: Recording, ids: Sequence[str], size: int
) -> None:
    left, done = ids[stored.done :], stored.done
    pictures = track(recording.read_pictures(left), "pictures", total=len(ids), done=done)
    for stimulus_id, picture in zip(left, pictures, strict=False):
        check_picture(picture, f"the picture of stimulus {stimulus_id!r}")
        row, shape = resized(picture, size), stored.shape
        if stored.done and row.shape != shape:
            raise DataError(
                f"the picture of stimulus {stimulus_id!r} is {row.shape[1]} x {row.shape[0]}, the "
                f"first one is {shape[1]} x {shape[0]}; give --size to bring all to one"
            )
        stored.append(row[None])
    if stored.done != len(ids):
        raise DataError(f"{recording.subject} has {stored.done} pictures for {len(ids)} stimuli")


@dataclass(frozen=True)
class RawBetas:
    """Betas of the kept trials as the source has them, on disk session by session.

    Parameters
    ----------
    array
        Betas (N, all voxels) float32, memory-mapped.
    places
        Row of every trial in the array (N,); None where trials are in the order of sessions.
    """

    array: NDArray[np.float32]
    places: Rows | None

    def columns(self, voxels: Rows) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield all trials of some voxels, a block of voxels at a time; see `column_blocks`."""
        for where, block in column_blocks(self.array, voxels, "statistics"):
            yield where, block if self.places is None else block[self.places]

    def rows(self, voxels: Rows) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield some voxels of all trials, a block of trials at a time."""
        trials, width = self.array.shape
        for where in track(blocks(trials, 4 * width), "scale"):
            block = self.array[where if self.places is None else self.places[where]]
            yield where, block[:, voxels]
            release_pages(self.array)


def read_sessions(
    draft: Draft, recording: Recording, trials: pd.DataFrame, rows: Rows
) -> tuple[RawBetas, list[SessionFacts]]:
    """Write the raw betas of the kept trials, session by session, and note what they are like.

    Parameters
    ----------
    draft
        Draft to write to; sessions it has already are not read again.
    recording
        Recording to read from.
    trials
        Table of the kept trials, N rows.
    rows
        Their rows in the recording's trial table, (N,).

    Raises
    ------
    DataError
        If the betas of a session do not fit its trials and voxels.
    """
    session_of = trials["session"].to_numpy()
    targets = {int(s): np.flatnonzero(session_of == s) for s in pd.unique(session_of)}
    facts: dict[int, SessionFacts] = {}
    if not draft.raw.exists():
        with array_writer(draft.raw, len(trials), np.float32, key=draft.key) as raw:
            ends = np.cumsum([len(members) for members in targets.values()]).tolist()
            left = [s for s, end in zip(targets, ends, strict=True) if end > raw.done]
            done = len(targets) - len(left)
            for session in track(left, "sessions", total=len(targets), done=done):
                betas = _betas_of(recording, session)
                # Of all its trials, also those the budget leaves out: few may agree by chance.
                facts[session] = session_facts(
                    betas, session=session, saturation=recording.saturation
                )
                facts[session].save(draft.facts(session))
                own = recording.rows_of_session(session)
                raw.append(betas[np.searchsorted(own, rows[targets[session]])])
                raw.keep()
    order = np.concatenate(list(targets.values()))
    in_order = bool((np.diff(order) > 0).all())
    found = [facts.get(s) or SessionFacts.load(draft.facts(s)) for s in targets]
    raw_betas = RawBetas(open_array(draft.raw, ADVICE), None if in_order else np.argsort(order))
    return raw_betas, found


def _betas_of(recording: Recording, session: int) -> NDArray[np.float32]:
    betas = recording.read_betas(session)
    shape = (len(recording.rows_of_session(session)), len(recording.voxels))
    if betas.shape != shape:
        raise DataError(
            f"session {session} of {recording.subject} has betas of shape {betas.shape}, its "
            f"trial table and voxels say {shape}"
        )
    return betas
