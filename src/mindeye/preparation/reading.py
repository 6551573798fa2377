"""Pictures and raw betas from a recording to its draft, a batch or a session at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.images import check_picture, resized
from mindeye.datasets.recording import Recording
from mindeye.errors import DataError
from mindeye.preparation.draft import Draft
from mindeye.preparation.rows import create_rows, write_rows
from mindeye.preparation.voxel_checks import SessionFacts, session_facts
from mindeye.progress import track

BATCH = 64
"""Pictures written at once."""


def read_pictures(draft: Draft, recording: Recording, ids: Sequence[str], size: int) -> None:
    """Write the wanted pictures to `stimuli.npy`, from where an earlier call stopped.

    Raises
    ------
    DataError
        If pictures differ in size and `size` is 0, or the source has fewer than asked for.
    """
    done = draft.pictures_done
    left = recording.read_pictures(ids[done:])
    pictures = track(_checked(left, ids[done:], size), "pictures", total=len(ids), done=done)
    while batch := list(islice(pictures, BATCH)):
        if not done:
            create_rows(draft.pictures, (len(ids), *batch[0].shape), np.uint8)
        shape = np.load(draft.pictures, mmap_mode="r").shape[1:]
        for i, picture in enumerate(batch):
            if picture.shape != shape:
                raise DataError(
                    f"the picture of stimulus {ids[done + i]!r} is {picture.shape[1]} x "
                    f"{picture.shape[0]}, the first one is {shape[1]} x {shape[0]}; give --size "
                    "to bring all to one"
                )
        write_rows(draft.pictures, np.arange(done, done + len(batch)), np.stack(batch))
        done += len(batch)
        draft.pictures_written(done)
    if done != len(ids):
        raise DataError(f"{recording.subject} has {done} pictures for {len(ids)} stimuli")


def _checked(
    pictures: Iterable[NDArray[np.uint8]],
    ids: Sequence[str],
    size: int,
) -> Iterator[NDArray[np.uint8]]:
    for stimulus_id, picture in zip(ids, pictures, strict=False):
        check_picture(picture, f"the picture of stimulus {stimulus_id!r}")
        yield resized(picture, size)


def read_sessions(
    draft: Draft, recording: Recording, trials: pd.DataFrame, rows: NDArray[np.int64]
) -> list[SessionFacts]:
    """Write the raw betas of the kept trials, session by session, and return what they are like.

    Parameters
    ----------
    draft
        Sessions it has already are not read again.
    recording
        The source.
    trials
        The kept trials (N rows), in the order of `raw.npy`.
    rows
        (N,) their rows in the recording's own trial table.
    """
    voxels = len(recording.voxels)
    if not draft.sessions_done:
        create_rows(draft.betas, (len(trials), voxels), np.float32)
    sessions = [int(s) for s in trials["session"].drop_duplicates()]
    left = [s for s in sessions if s not in draft.sessions_done]
    done = len(sessions) - len(left)
    for session in track(left, "sessions", total=len(sessions), done=done):
        own = recording.rows_of_session(session)
        betas = recording.read_betas(session)
        if betas.shape != (len(own), voxels):
            raise DataError(
                f"session {session} of {recording.subject} has betas of shape {betas.shape}, its "
                f"trial table and voxels say {(len(own), voxels)}"
            )
        target = np.flatnonzero((trials["session"] == session).to_numpy())
        chosen = betas[np.searchsorted(own, rows[target])]
        # Of all its trials, also those the budget leaves out: few trials may agree by chance.
        facts = session_facts(betas, session=session, saturation=recording.saturation)
        facts.save(draft.facts_path(session))
        write_rows(draft.betas, target, chosen)
        draft.session_written(session)
    return [SessionFacts.load(draft.facts_path(s)) for s in sessions]
