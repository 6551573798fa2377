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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.arrays import blocks, release_pages
from mindeye.data.preprocess import Scaler
from mindeye.data.splits import SPLITS
from mindeye.data.tables import read_table
from mindeye.data.trials import read_trials, trials_by_stimulus
from mindeye.errors import DataError
from mindeye.files import (
    open_array,
    read_json,
)

FORMAT = 1

ESSENTIAL = ("betas.npy", "stimuli.npy", "trials.csv", "stimuli.csv", "voxels.csv")
"""Files that every subject has, in the order of its fingerprint."""

SCALER = ("scaler/groups.npy", "scaler/mean.npy", "scaler/deviation.npy")
"""Files of the scaler of a subject that was z-scored here."""


@dataclass(frozen=True)
class Subject:
    """A prepared subject, on disk (`Subject.load`) or in memory (`Subject.from_arrays`).

    Parameters
    ----------
    path
        Folder of the subject; of one in memory, the name that messages give it.
    info
        Content of `subject.json`.
    betas
        Betas of all trials as prepared, (N, V) float32; memory-mapped and read-only on disk.
    trials
        Table of the trials, one row a trial, in the order of the betas.
    stimuli
        Table of the stimuli, one row each: `stimulus_id`, `split`, optionally `caption`.
    voxels
        Table of the voxels, one row each.
    arrays
        Arrays of a subject in memory, by the name of the file that would hold them; empty for one
        on disk.
    """

    path: Path
    info: dict[str, Any]
    betas: NDArray[np.float32]
    trials: pd.DataFrame
    stimuli: pd.DataFrame
    voxels: pd.DataFrame
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, folder: str | Path) -> Subject:
        """Open a prepared subject; see `load_subject`."""
        return load_subject(folder)

    @classmethod
    def from_arrays(
        cls,
        betas: NDArray[np.floating] | str | Path,
        stimuli: Mapping[Any, Any] | Sequence[Any] | NDArray[np.uint8] | str | Path,
        trials: pd.DataFrame | Sequence[Any] | NDArray[Any] | str | Path,
        *,
        ids: Sequence[Any] | None = None,
        splits: Mapping[str, Sequence[Any]] | None = None,
        test: str | Sequence[Any] = "auto",
        voxels: pd.DataFrame | str | Path | None = None,
        seed: int = 0,
        **choices: Any,
    ) -> Subject:
        """Prepare arrays in memory as ``mindeye prepare arrays`` prepares files.

        Splits, scaling and guards are the same, and so is every bit of the result. The subject is
        held in memory; `write` puts it into a folder.

        Parameters
        ----------
        betas
            Single-trial GLM amplitudes in any unit, (N, V), or the path of such an .npy file.
        stimuli
            Picture of every stimulus: a dict from id to picture, an array (S, H, W, 3) or
            (S, H, W) of uint8 or a list of pictures in the order of `ids`, or the path of a folder
            of images named by id. A picture is a uint8 array, a Pillow image, or a path.
        trials
            Table with a column `stimulus_id`, one row a beta, optionally session, run, repeat and
            split; or the stimulus ids alone, one a trial; or the path of a CSV.
        ids
            Stimulus ids in the order of an array or list of `stimuli`; its row numbers by default.
        splits
            Stimulus ids of ``train``, ``val`` and ``test``; what is left out of ``val`` or
            ``test`` is drawn at random.
        test
            Test stimuli, as in `PrepareConfig`, or their ids.
        voxels
            What is known of the voxels, one row each: x, y, z, roi, noise_ceiling ...
        seed
            Seed of drawn splits and of the alignment self-test.
        **choices
            Any other field of `PrepareConfig`, such as ``zscore="none"``; `subject`, `source` and
            `licence` name the data in reports.

        Raises
        ------
        MindEyeError
            What the command line refuses, with the same message.

        Examples
        --------
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> pictures = rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
        >>> betas, trials = rng.normal(size=(24, 5)), np.tile(np.arange(12), 2)
        >>> subject = Subject.from_arrays(betas, pictures, trials, test=[3, 7])
        >>> subject.betas_of("test").shape, subject.splits["test"]
        ((2, 5), ['3', '7'])
        """
        # The one import of a higher room: preparing needs readers and guards, and people look for
        # the way from arrays to a subject here.
        from mindeye.preparation.from_arrays import prepare_arrays

        return prepare_arrays(
            betas,
            stimuli,
            trials,
            ids=ids,
            splits=splits,
            test=test,
            voxels=voxels,
            seed=seed,
            **choices,
        )

    def write(self, folder: str | Path) -> Subject:
        """Write the subject into a folder and return it opened from there.

        Raises
        ------
        DataError
            If the folder holds something else.
        """
        # Imported here because writing opens what was written.
        from mindeye.data.subject_writing import write_subject

        more = [name for name in self.info.get("sha256", {}) if name not in ESSENTIAL]
        return write_subject(
            Path(folder),
            betas=self.betas,
            trials=self.trials,
            pictures=self.pictures,
            stimuli=self.stimuli,
            voxels=self.voxels,
            info=self.info,
            more={name: self.array(name) for name in more},
        )

    def in_memory(self) -> Subject:
        """Return the same subject, held in memory, which no longer needs its folder."""
        names = [n for n in self.info["sha256"] if n.endswith(".npy") and n != "betas.npy"]
        return replace(
            self,
            path=Path(f"{self.info['subject']} in memory"),
            betas=np.array(self.betas),
            arrays={name: np.array(self.array(name)) for name in names},
        )

    def array(self, name: str) -> NDArray[Any]:
        """Return an array of the subject by its file's name, such as "truth/responses.npy".

        Raises
        ------
        DataError
            If there is no such array.
        """
        known = self.arrays.get(name)
        return open_array(self.path / name, "prepare the subject again") if known is None else known

    def has(self, name: str) -> bool:
        """Return whether the subject has an array of that name."""
        return name in self.arrays or (self.path / name).is_file()

    @cached_property
    def pictures(self) -> NDArray[np.uint8]:
        """All stimuli (S, H, W, 3), memory-mapped on disk."""
        return self.array("stimuli.npy")

    @cached_property
    def scaler(self) -> Scaler | None:
        """What z-scored the betas, for trials measured later; None if they came scaled."""
        if not self.has(SCALER[0]):
            return None
        groups, mean, deviation = (np.asarray(self.array(name)) for name in SCALER)
        return Scaler(groups, mean, deviation)

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

    def ids_of(self, stimuli: str | Sequence[Any]) -> list[str]:
        """Return the stimulus ids of a split by its name, or ids as text.

        Raises
        ------
        DataError
            If there is no such split or no such stimulus.
        """
        if isinstance(stimuli, str):
            if stimuli not in self.splits:
                raise DataError(f"{self.path} has no split {stimuli!r}; it has {', '.join(SPLITS)}")
            return self.splits[stimuli]
        ids = [str(s) for s in stimuli]
        unknown = next((s for s in ids if s not in self.row_of_stimulus), None)
        if unknown is not None:
            raise DataError(f"{self.path} has no stimulus {unknown!r}")
        return ids

    def pictures_of(self, stimuli: str | Sequence[Any]) -> NDArray[np.uint8]:
        """Return pictures (S, H, W, 3) of a split or of stimulus ids, in that order."""
        return np.asarray(self.pictures[[self.row_of_stimulus[s] for s in self.ids_of(stimuli)]])

    def mean_picture(self, stimuli: str | Sequence[Any]) -> NDArray[np.float64]:
        """Return the mean (H, W, 3) of the pictures of a split or of stimulus ids, in 0..255."""
        ids = self.ids_of(stimuli)
        total = np.zeros(self.pictures.shape[1:], dtype=np.int64)
        for where in blocks(len(ids), 8 * total.size):
            total += self.pictures_of(ids[where]).sum(axis=0, dtype=np.int64)
            release_pages(self.pictures)
        return total / len(ids)

    def betas_of(self, stimuli: str | Sequence[Any]) -> NDArray[np.float32]:
        """Return betas (S, V) averaged over repeats, of a split or of stimulus ids, in that order.

        Raises
        ------
        DataError
            If there is no such split or stimulus, or a stimulus has no trial.
        """
        ids, rows = self.ids_of(stimuli), self.rows_by_stimulus
        unseen = next((s for s in ids if s not in rows), None)
        if unseen is not None:
            raise DataError(f"stimulus {unseen!r} of {self.path} has no trial")
        means = [self.betas[rows[s]].mean(axis=0) for s in ids]
        return np.stack(means) if means else np.empty((0, self.betas.shape[1]), dtype=np.float32)

    @property
    def fingerprint(self) -> str:
        """Short hash of the content, part of every stage's key."""
        return str(self.info["fingerprint"])


def load_subject(folder: str | Path) -> Subject:
    """Open a prepared subject.

    Parameters
    ----------
    folder
        Folder of the subject, as `mindeye prepare` writes it.

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
        betas=open_array(path / "betas.npy", "prepare the subject again"),
        trials=read_trials(path / "trials.csv"),
        stimuli=read_table(path / "stimuli.csv", dtype=str, keep_default_na=False),
        voxels=read_table(path / "voxels.csv"),
    )
    trials, voxels = subject.betas.shape
    if len(subject.trials) != trials or len(subject.voxels) != voxels:
        raise DataError(
            f"{path}: betas are {trials} trials x {voxels} voxels, but trials.csv has "
            f"{len(subject.trials)} rows and voxels.csv {len(subject.voxels)}; prepare it again"
        )
    return subject
