"""What is done already of a preparation: its folder, its journal, and when to start over."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from mindeye.datasets.recording import Recording
from mindeye.files import read_json, write_json


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


SCRATCH = ("facts", "raw.npy", "journal.json")
"""What of a draft does not belong to the subject."""


class Draft:
    """A subject under construction, that an interrupted preparation goes on with.

    Parameters
    ----------
    folder
        Beside the subject's own folder.
    key
        Of `recording_key`; what another key left behind is deleted.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self._journal = folder / "journal.json"
        self._content: dict[str, Any] = {"key": key, "pictures": 0, "sessions": []}
        try:
            found = read_json(self._journal)
        except (OSError, json.JSONDecodeError):
            found = None
        if isinstance(found, dict) and found.get("key") == key:
            self._content = found
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(self._journal, self._content)

    @property
    def betas(self) -> Path:
        """Raw betas of the kept trials."""
        return self.folder / "raw.npy"

    @property
    def pictures(self) -> Path:
        """The stimuli."""
        return self.folder / "stimuli.npy"

    def facts_path(self, session: int) -> Path:
        """Where the facts of one session's voxels are kept."""
        return self.folder / "facts" / f"session{session:02d}.npz"

    @property
    def pictures_done(self) -> int:
        """Number of pictures written."""
        return int(self._content["pictures"])

    @property
    def sessions_done(self) -> list[int]:
        """Sessions whose betas are written."""
        return list(self._content["sessions"])

    @property
    def is_new(self) -> bool:
        """Whether nothing was written yet that would be worth keeping."""
        return not self.pictures_done and not self.sessions_done

    def pictures_written(self, count: int) -> None:
        """Note that so many pictures are on disk."""
        self._content["pictures"] = count
        write_json(self._journal, self._content)

    def session_written(self, session: int) -> None:
        """Note that a session's betas and facts are on disk."""
        self._content["sessions"].append(session)
        write_json(self._journal, self._content)

    def discard(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
