"""A prepared subject on disk: what every source becomes and every stage reads.

::

    DIR/betas.npy       (N, V) float32, memory-mapped
        trials.csv      session, run, trial, stimulus_id, repeat; one row a beta
        stimuli.npy     (S, H, W, 3) uint8, memory-mapped
        stimuli.csv     stimulus_id, split and, where known, caption; one row a picture
        voxels.csv      one row a voxel: noise_ceiling, x, y, z, roi ... (optional columns)
        scaler/         groups, mean, deviation of the z-scoring, for trials measured later
        preview.png     what a person looks at first; not part of the fingerprint
        truth/          only for simulated subjects: what is needed for an ideal observer
        subject.json    source, space, units, licence, versions, SHA-256 of every file above
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.splits import SPLITS
from mindeye.data.trials import read_trials, trials_by_stimulus
from mindeye.errors import DataError
from mindeye.files import (
    open_array,
    provenance,
    read_json,
    sha256,
    write_array,
    write_json,
    write_text,
)
from mindeye.progress import track

FORMAT = 1


@dataclass(frozen=True)
class Subject:
    """A prepared subject, opened from disk.

    Parameters
    ----------
    path
        Its folder.
    info
        Content of `subject.json`.
    betas
        (N, V) float32, memory-mapped, read-only.
    trials
        One row a trial, in the order of the betas.
    stimuli
        One row a stimulus: `stimulus_id`, `split`, optionally `caption`.
    voxels
        One row a voxel.
    """

    path: Path
    info: dict[str, Any]
    betas: NDArray[np.float32]
    trials: pd.DataFrame
    stimuli: pd.DataFrame
    voxels: pd.DataFrame

    @cached_property
    def pictures(self) -> NDArray[np.uint8]:
        """All stimuli (S, H, W, 3), memory-mapped."""
        return _load_array(self.path / "stimuli.npy")

    @cached_property
    def splits(self) -> dict[str, list[str]]:
        """Stimulus ids of train, val and test."""
        table = self.stimuli
        return {s: table.loc[table["split"] == s, "stimulus_id"].tolist() for s in SPLITS}

    @cached_property
    def row_of_stimulus(self) -> dict[str, int]:
        """Row in `stimuli` and `pictures` of every stimulus id."""
        return {s: i for i, s in enumerate(self.stimuli["stimulus_id"])}

    @cached_property
    def rows_by_stimulus(self) -> dict[str, NDArray[np.int64]]:
        """Rows of the betas of every stimulus, in the order of repeats."""
        return trials_by_stimulus(self.trials)

    def stimulus(self, stimulus_id: str | int) -> NDArray[np.uint8]:
        """Return one picture (H, W, 3), 0..255.

        Raises
        ------
        DataError
            If there is no such stimulus.
        """
        row = self.row_of_stimulus.get(str(stimulus_id))
        if row is None:
            raise DataError(f"{self.path} has no stimulus {str(stimulus_id)!r}")
        return np.asarray(self.pictures[row])

    def pictures_of(self, stimulus_ids: Sequence[str]) -> NDArray[np.uint8]:
        """Return pictures (len, H, W, 3) in the order asked for."""
        return np.asarray(self.pictures[[self.row_of_stimulus[s] for s in stimulus_ids]])

    def mean_betas(self, stimulus_ids: Sequence[str]) -> NDArray[np.float32]:
        """Return betas averaged over the repeats of each stimulus (len, V)."""
        rows = self.rows_by_stimulus
        return np.stack([self.betas[rows[s]].mean(axis=0) for s in stimulus_ids])

    @property
    def fingerprint(self) -> str:
        """Short hash of the content, part of every stage's key."""
        return str(self.info["fingerprint"])


def _load_array(path: Path) -> NDArray[Any]:
    return open_array(path, "prepare the subject again")


def load_subject(folder: str | Path) -> Subject:
    """Open a prepared subject.

    Raises
    ------
    DataError
        If the folder is not a prepared subject or its parts do not fit together.
    """
    path = Path(folder)
    if not (path / "subject.json").is_file():
        raise DataError(
            f"{path} is not a prepared subject (no subject.json); make one with `mindeye prepare`"
        )
    info = read_json(path / "subject.json")
    if info.get("format") != FORMAT:
        raise DataError(
            f"{path} has format {info.get('format')!r}, this version reads {FORMAT}; prepare it "
            "again"
        )
    subject = Subject(
        path=path,
        info=info,
        betas=_load_array(path / "betas.npy"),
        trials=read_trials(path / "trials.csv"),
        stimuli=pd.read_csv(path / "stimuli.csv", dtype={"stimulus_id": str, "split": str}),
        voxels=pd.read_csv(path / "voxels.csv"),
    )
    trials, voxels = subject.betas.shape
    if len(subject.trials) != trials or len(subject.voxels) != voxels:
        raise DataError(
            f"{path}: betas are {trials} trials x {voxels} voxels, but trials.csv has "
            f"{len(subject.trials)} rows and voxels.csv {len(subject.voxels)}; prepare it again"
        )
    return subject


def write_subject(
    folder: Path,
    *,
    betas: NDArray[np.float32],
    trials: pd.DataFrame,
    pictures: NDArray[np.uint8],
    stimuli: pd.DataFrame,
    voxels: pd.DataFrame,
    info: Mapping[str, Any],
    truth: Mapping[str, NDArray[Any]] | None = None,
) -> Subject:
    """Write a prepared subject that is in memory; it appears whole or not at all.

    Parameters
    ----------
    folder
        Where to; an earlier subject of the same folder is replaced.
    betas, trials, pictures, stimuli, voxels
        As in `Subject`.
    info
        Facts for `subject.json`: source, space, units, licence ...
    truth
        Arrays of the `truth` folder (simulated subjects).

    Raises
    ------
    DataError
        If the folder holds something else.
    """
    draft = draft_of(folder)
    shutil.rmtree(draft, ignore_errors=True)
    write_array(draft / "betas.npy", np.ascontiguousarray(betas, dtype=np.float32))
    write_array(draft / "stimuli.npy", np.ascontiguousarray(pictures, dtype=np.uint8))
    for name, array in (truth or {}).items():
        write_array(draft / "truth" / f"{name}.npy", array)
    return seal_subject(
        draft,
        folder,
        trials=trials,
        stimuli=stimuli,
        voxels=voxels,
        info=info,
        more=[f"truth/{name}.npy" for name in truth or {}],
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


def seal_subject(
    draft: Path,
    folder: Path,
    *,
    trials: pd.DataFrame,
    stimuli: pd.DataFrame,
    voxels: pd.DataFrame,
    info: Mapping[str, Any],
    more: Sequence[str] = (),
    scratch: Sequence[str] = (),
) -> Subject:
    """Complete a draft that holds the arrays, and put it in the place of `folder`.

    Parameters
    ----------
    draft
        Holds `betas.npy`, `stimuli.npy` and the files named in `more`.
    folder
        Where to; an earlier subject is replaced.
    trials, stimuli, voxels, info
        As in `write_subject`.
    more
        Further files of the draft that belong to the subject, like "truth/responses.npy".
    scratch
        Files and folders of the draft that do not; deleted last, so that a preparation killed
        before that still goes on.
    """
    for name, table in (("trials", trials), ("stimuli", stimuli), ("voxels", voxels)):
        write_text(draft / f"{name}.csv", table.to_csv(index=False))
    names = ["betas.npy", "stimuli.npy", "trials.csv", "stimuli.csv", "voxels.csv", *more]
    sums = {name: sha256(draft / name) for name in track(names, "checksums")}
    # The fingerprint speaks of content alone, not of when or where it was made.
    fingerprint = "".join(sums[n][:8] for n in names)
    content = {"format": FORMAT, **info, **provenance(), "fingerprint": fingerprint, "sha256": sums}
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
