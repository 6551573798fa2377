"""The folder in which a subject is put together, and when to start it over."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pandas as pd

from mindeye.datasets.recording import Recording
from mindeye.files import read_json, write_json

SCRATCH = ("facts", "raw.npy", "draft.json")
"""What of a draft does not belong to the subject."""


def recording_key(recording: Recording, trials: pd.DataFrame, size: int) -> str:
    """Hash what the raw arrays of a draft depend on: input files, tables, picture size.

    Scaling and guards are not in it: they are applied to the raw arrays, so that another choice of
    them does not read everything again.
    """
    digest = hashlib.sha256()
    for path in recording.inputs:
        facts = path.stat()
        # The change time too: a file fetched again may keep its size and its modification time.
        times = f"{facts.st_mtime_ns} {facts.st_ctime_ns}"
        digest.update(f"{path.resolve()} {facts.st_size} {times}\n".encode())
    for table in (trials, recording.stimuli, recording.voxels):
        digest.update(table.to_csv(index=False).encode())
    digest.update(f"{size} {recording.subject}".encode())
    return digest.hexdigest()[:16]


class Draft:
    """A subject under construction, which an interrupted preparation goes on with.

    Parameters
    ----------
    folder
        Folder beside the one of the subject.
    key
        Hash of `recording_key`; what was read under another key is deleted.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self.pictures = folder / "stimuli.npy"
        self.raw = folder / "raw.npy"
        self.betas = folder / "betas.npy"
        try:
            known = read_json(folder / "draft.json")
        except (OSError, ValueError):
            known = None
        if known != {"key": key}:
            self.discard()
            write_json(folder / "draft.json", {"key": key})

    def facts(self, session: int) -> Path:
        """Return where the facts of one session's voxels are kept."""
        return self.folder / "facts" / f"session{session:02d}.npz"

    @property
    def is_new(self) -> bool:
        """Whether nothing was read yet that would be worth keeping."""
        partial = self.pictures.with_name(f".{self.pictures.name}.partial.json")
        return not self.pictures.exists() and not partial.exists()

    def discard(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
