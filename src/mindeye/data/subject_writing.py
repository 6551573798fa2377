"""Prepared subjects to disk: whole or not at all, with a record of every file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.preprocess import BetasRange, Scaler
from mindeye.data.subject import ESSENTIAL, FORMAT, Subject, load_subject
from mindeye.errors import DataError
from mindeye.files import provenance, sha256, write_array, write_json, write_text
from mindeye.progress import track


def write_subject(
    folder: str | Path,
    *,
    betas: NDArray[np.float32],
    trials: pd.DataFrame,
    pictures: NDArray[np.uint8],
    stimuli: pd.DataFrame,
    voxels: pd.DataFrame,
    info: Mapping[str, Any],
    more: Mapping[str, NDArray[Any]] | None = None,
) -> Subject:
    """Write a prepared subject that is in memory; it appears whole or not at all.

    Parameters
    ----------
    folder
        Folder to write; an earlier subject there is replaced.
    betas, trials, pictures, stimuli, voxels
        Contents of the subject; see `Subject`.
    info
        Facts for `subject.json`: source, space, units, licence ...
    more
        Further arrays by the name of their file, such as "truth/responses.npy" of a simulated
        subject.

    Raises
    ------
    DataError
        If the folder holds something else.
    """
    folder, more = Path(folder), more or {}
    draft = draft_of(folder)
    shutil.rmtree(draft, ignore_errors=True)
    write_array(draft / "betas.npy", np.ascontiguousarray(betas, dtype=np.float32))
    write_array(draft / "stimuli.npy", np.ascontiguousarray(pictures, dtype=np.uint8))
    for name, array in more.items():
        write_array(draft / name, array)
    found = BetasRange(betas.shape[1])
    if len(betas):
        found.add(betas)
    return commit_subject(
        draft,
        folder,
        trials=trials,
        stimuli=stimuli,
        voxels=voxels,
        info=info,
        more=list(more),
        betas_checked=found.sound,
    )


def draft_of(folder: Path) -> Path:
    """Return the folder beside `folder` in which a subject is put together.

    Raises
    ------
    DataError
        If `folder` holds something that is not a prepared subject.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; give another --out")
    if folder.exists() and any(folder.iterdir()) and not (folder / "subject.json").exists():
        raise DataError(f"{folder} is not empty and not a prepared subject; give another --out")
    return folder.with_name(f"{folder.name}.preparing")


def write_scaler(folder: Path, scaler: Scaler | None) -> None:
    """Write the scaler of a subject into its folder; None leaves none there."""
    shutil.rmtree(folder / "scaler", ignore_errors=True)
    if scaler is not None:
        write_array(folder / "scaler/groups.npy", scaler.groups)
        write_array(folder / "scaler/mean.npy", scaler.mean)
        write_array(folder / "scaler/deviation.npy", scaler.deviation)


def commit_subject(
    draft: Path,
    folder: Path,
    *,
    trials: pd.DataFrame,
    stimuli: pd.DataFrame,
    voxels: pd.DataFrame,
    info: Mapping[str, Any],
    more: Sequence[str] = (),
    scratch: Sequence[str] = (),
    known: Mapping[str, str] | None = None,
    betas_checked: bool = False,
) -> Subject:
    """Complete a draft that holds the arrays, and put it in the place of `folder`.

    Parameters
    ----------
    draft
        Holds `betas.npy`, `stimuli.npy` and the files named in `more`.
    folder
        Folder to write; an earlier subject there is replaced.
    trials, stimuli, voxels, info
        Tables and facts of the subject; see `write_subject`.
    more
        Further files of the draft that belong to the subject, like "truth/responses.npy".
    scratch
        Files and folders of the draft that do not; deleted last, so that a preparation killed
        before that still goes on.
    known
        SHA-256 of files that need not be read for it.
    betas_checked
        Whether all betas are known to be finite and no voxel is constant.
    """
    for name, table in (("trials", trials), ("stimuli", stimuli), ("voxels", voxels)):
        write_text(draft / f"{name}.csv", table.to_csv(index=False))
    names = [*ESSENTIAL, *more]
    known = known or {}
    sums = {n: known.get(n) or sha256(draft / n) for n in track(names, "checksums")}
    # The fingerprint speaks of content alone, not of when or where it was made.
    fingerprint = "".join(sums[n][:8] for n in names)
    content = {
        "format": FORMAT,
        **info,
        **provenance(),
        "fingerprint": fingerprint,
        "betas_checked": betas_checked,
        "sha256": sums,
    }
    write_json(draft / "subject.json", content)
    for name in scratch:
        shutil.rmtree(draft / name) if (draft / name).is_dir() else (draft / name).unlink()
    former = folder.with_name(f"{folder.name}.former")
    shutil.rmtree(former, ignore_errors=True)
    if folder.exists():
        folder.replace(former)
    draft.replace(folder)
    shutil.rmtree(former, ignore_errors=True)
    return load_subject(folder)
