"""Broken voxels and doubled trials, from raw betas one session at a time.

What a session is like is kept in `SessionFacts`, small enough to be written beside a preparation
that may be interrupted; `check_voxels` decides once all are known. Seen are voxels that never
change within a session, hold NaN or infinity, or sit at the limit of their storage, and trials
that are copies of others bit by bit. Not seen are voxels that are only noisy, and copies that were
scaled, averaged or rounded on the way.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.errors import DataError
from mindeye.files import atomic_path

Flags = NDArray[np.bool_]

SATURATED_SHARE = 0.01
SATURATED_TRIALS = 2
"""A voxel is saturated in a session if more than 1 % of its trials, and at least two, are at the
limit: one clipped trial is an outlier, which scaling survives, not a broken voxel."""
KINDS = {
    "constant": "never changes",
    "not_finite": "holds NaN or infinite betas",
    "saturated": "is at the limit of its storage in more than 1 % of the trials",
}
"""Faults of a voxel in a session, and what is said of it."""
FEWEST_VOXELS = 8
"""Below this many voxels, betas stored as integers may agree by chance: copies are not sought."""
DIGEST_BYTES = 16
ROWS = 256


@dataclass(frozen=True)
class SessionFacts:
    """What is wrong with the raw betas of one session.

    Parameters
    ----------
    session
        Number of the session.
    constant, not_finite, saturated
        Whether a voxel has that fault in this session, (V,).
    digests
        Hash of each trial's betas over all voxels, (n, 16), in the order of the trials.
    """

    session: int
    constant: Flags
    not_finite: Flags
    saturated: Flags
    digests: NDArray[np.uint8]

    def save(self, path: Path) -> None:
        """Write the facts to an .npz file; it appears whole or not at all."""
        with atomic_path(path) as part, part.open("wb") as file:
            np.savez_compressed(file, **vars(self))

    @classmethod
    def load(cls, path: Path) -> SessionFacts:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            If the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
            return cls(**{**content, "session": int(content["session"])})
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path} is missing or damaged ({error}); delete the unfinished preparation beside "
                "the output folder and start again"
            ) from error


def session_facts(
    betas: NDArray[np.floating], *, session: int, saturation: float | None = None
) -> SessionFacts:
    """Look at the raw betas of one session.

    Parameters
    ----------
    betas
        Betas (n, V) in the source's unit; may be memory-mapped, is read in blocks of trials.
    session
        Number of the session.
    saturation
        Absolute beta from which a value counts as clipped (int16 / 300: 109.2), if the storage
        has such a limit.

    Raises
    ------
    DataError
        If the betas are no table of numbers.
    """
    if betas.ndim != 2 or not len(betas) or not np.issubdtype(betas.dtype, np.floating):
        raise DataError(
            f"betas of session {session} have shape {betas.shape} and type {betas.dtype}; they "
            "must be floating point of shape (trials, voxels)"
        )
    voxels = betas.shape[1]
    first = np.asarray(betas[0])
    constant, not_finite = np.ones(voxels, dtype=bool), np.zeros(voxels, dtype=bool)
    clipped = np.zeros(voxels, dtype=np.int64)
    digests = np.empty((len(betas), DIGEST_BYTES), dtype=np.uint8)
    for start in range(0, len(betas), ROWS):
        block = np.ascontiguousarray(betas[start : start + ROWS])
        constant &= (block == first).all(axis=0)
        not_finite |= ~np.isfinite(block).all(axis=0)
        if saturation is not None:
            clipped += (np.abs(block) >= saturation).sum(axis=0)
        for place, row in enumerate(block, start):
            digest = hashlib.blake2b(row, digest_size=DIGEST_BYTES).digest()
            digests[place] = np.frombuffer(digest, dtype=np.uint8)
    # One trial says nothing about change.
    constant &= len(betas) > 1
    saturated = clipped >= max(SATURATED_TRIALS, SATURATED_SHARE * len(betas) + 1e-9)
    return SessionFacts(session, constant & ~not_finite, not_finite, saturated, digests)


@dataclass(frozen=True)
class CheckedVoxels:
    """Which voxels stay.

    Parameters
    ----------
    kept
        Whether a voxel has no fault in any session, (V,).
    counts
        Number of voxels with a fault in at least one session, by kind; one may have several.
    """

    kept: Flags
    counts: dict[str, int]

    @property
    def dropped(self) -> int:
        """Number of voxels that do not stay."""
        return int((~self.kept).sum())


def check_voxels(
    facts: Sequence[SessionFacts],
    mode: Literal["refuse", "drop"],
    *,
    voxels: pd.DataFrame | None = None,
) -> CheckedVoxels:
    """Decide which voxels stay, by what all sessions are like.

    Parameters
    ----------
    facts
        Facts of every session.
    mode
        ``refuse`` stops at any broken voxel, ``drop`` leaves them out of all sessions.
    voxels
        Table of the voxels, V rows; `x`, `y`, `z`, where there, go into the message.

    Raises
    ------
    DataError
        If two trials are copies, a voxel is broken and `mode` is ``refuse``, more than half of
        the voxels are broken, or sessions differ in their number of voxels.
    """
    if not facts:
        raise DataError("no session to check voxels by; the trial table is empty")
    widths = {len(f.constant) for f in facts}
    if len(widths) > 1:
        raise DataError(f"sessions differ in their number of voxels: {sorted(widths)}")
    kinds = {name: np.stack([getattr(f, name) for f in facts]) for name in KINDS}
    bad = np.any([flags.any(axis=0) for flags in kinds.values()], axis=0)
    if bad.sum() * 2 > len(bad):
        raise DataError(
            f"{int(bad.sum())} of {len(bad)} voxels are broken: {_first(facts, kinds, voxels)}; "
            "check the mask, the file and its axis order"
        )
    if bad.any() and mode == "refuse":
        raise DataError(
            f"{_first(facts, kinds, voxels)}; use --bad-voxels drop to leave such voxels out"
        )
    copy = duplicated_trials(facts)
    if copy is not None:
        (s1, t1), (s2, t2), count = copy
        raise DataError(
            f"trial {t2} of session {s2} has the same betas in every voxel as trial {t1} of "
            f"session {s1} ({count} such trials, counted from 0 within the session); a file was "
            "copied or read twice, fetch it again"
        )
    return CheckedVoxels(~bad, _counts(kinds))


def _counts(kinds: dict[str, Flags]) -> dict[str, int]:
    return {name: int(flags.any(axis=0).sum()) for name, flags in kinds.items()}


def _first(
    facts: Sequence[SessionFacts], kinds: dict[str, Flags], voxels: pd.DataFrame | None
) -> str:
    """Say which voxel is broken first, in which session and how, and how many are by kind."""
    name = next(n for n in ("not_finite", "constant", "saturated") if kinds[n].any())
    session, voxel = (int(i) for i in np.argwhere(kinds[name])[0])
    place = ""
    if voxels is not None and {"x", "y", "z"} <= set(voxels.columns):
        place = " at ({}, {}, {})".format(*voxels[["x", "y", "z"]].iloc[voxel].tolist())
    counts = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in _counts(kinds).items())
    return (
        f"voxel {voxel}{place} {KINDS[name]} in session {facts[session].session} (voxels: {counts})"
    )


def duplicated_trials(
    facts: Sequence[SessionFacts],
) -> tuple[tuple[int, int], tuple[int, int], int] | None:
    """Return the first two trials that are copies, as (session, trial), and how many copies are.

    Trials count from 0 within their session. None if there is no copy, or too few voxels to tell.
    """
    if not facts or len(facts[0].constant) < FEWEST_VOXELS:
        return None
    seen: dict[bytes, tuple[int, int]] = {}
    first: tuple[tuple[int, int], tuple[int, int]] | None = None
    count = 0
    for session in facts:
        for trial, digest in enumerate(session.digests):
            here = (session.session, trial)
            there = seen.setdefault(digest.tobytes(), here)
            if there != here:
                count += 1
                first = first or (there, here)
    return None if first is None else (*first, count)
