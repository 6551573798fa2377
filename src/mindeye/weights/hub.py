"""What the Hugging Face hub is asked, and its failures by name.

Uses one request for a model's list of files, with a limit on waiting, and then one file after the
other: the hub client's own download of whole snapshots lists files without any limit (2.4), so a
server that accepts and says nothing would hold it for ever.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mindeye.errors import CheckpointError, MindEyeError
from mindeye.files import naming_full_disk, sha256
from mindeye.weights.complete import SHARD
from mindeye.weights.table import Model, Weights, pickle_of


class HubError(MindEyeError):
    """The hub cannot be reached, or refuses or lacks what it is asked for."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a model on the hub.

    Parameters
    ----------
    path
        Relative to the model's folder.
    size
        Size of the file in bytes.
    digest
        SHA-256 of the file, where the hub knows one (it does for weights).
    """

    path: str
    size: int
    digest: str


@dataclass(frozen=True)
class Hub:
    """A hub and how long one waits for its answers.

    Parameters
    ----------
    endpoint
        Address; "" for the one of the environment's HF_ENDPOINT, else huggingface.co.
    timeout
        Seconds without an answer after which a question is given up.
    """

    endpoint: str
    timeout: int

    @property
    def address(self) -> str:
        """Where the hub is."""
        from huggingface_hub import constants

        return self.endpoint or str(constants.ENDPOINT)

    def files(self, model: Model, revision: str) -> tuple[str, str, dict[str, RemoteFile]]:
        """Return the commit, the card's licence and the files by path of a revision.

        Raises
        ------
        HubError
            If there is no connection, no such model or revision, or no permission.
        """
        from huggingface_hub import HfApi

        with self._named(model, revision):
            api = HfApi(endpoint=self.endpoint or None)
            info = api.model_info(
                model.id, revision=revision, timeout=self.timeout, files_metadata=True
            )
        card: Any = info.card_data or {}
        found = {
            s.rfilename: RemoteFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else "")
            for s in info.siblings or []
        }
        return str(info.sha), str(card.get("license") or ""), found

    def knock(self, model: Model, commit: str, file: RemoteFile) -> None:
        """Ask for a file's facts: gated models list their files to all, but hand out none.

        Raises
        ------
        HubError
            If the file may not be had.
        """
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        with self._named(model, commit):
            url = hf_hub_url(model.id, file.path, revision=commit, endpoint=self.endpoint or None)
            get_hf_file_metadata(url, timeout=self.timeout)

    def download(self, model: Model, commit: str, file: RemoteFile, folder: Path) -> Path:
        """Download a file below a folder unless it is there already, and check it.

        Raises
        ------
        HubError
            If the connection fails for good; files that are complete stay.
        CheckpointError
            If what came is not what the hub announced.
        MindEyeError
            If the disk is full.
        """
        from huggingface_hub import hf_hub_download

        target = folder / file.path
        if not target.is_file():
            # The client below would repeat an unanswered question for minutes.
            self.knock(model, commit, file)
        with self._named(model, commit), naming_full_disk(target):
            hf_hub_download(
                model.id, file.path, revision=commit, local_dir=folder,
                endpoint=self.endpoint or None, etag_timeout=self.timeout,
            )  # fmt: skip
        size = target.stat().st_size
        if size != file.size or (file.digest and sha256(target) != file.digest):
            target.unlink()
            raise CheckpointError(
                f"{target} came with {size:,} bytes that are not the {file.size:,} the hub "
                "announced; it was deleted, run the same command again"
            )
        return target

    @contextlib.contextmanager
    def _named(self, model: Model, revision: str) -> Iterator[None]:
        """Turn what the hub's client raises into one named line."""
        from huggingface_hub import errors

        # The client's own HTTP library, which has changed its name between versions.
        transport = errors.HfHubHTTPError.__bases__[0]
        try:
            yield
        except (transport, OSError, ValueError) as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise
            raise HubError(self._said(model, revision, error)) from error

    def _said(self, model: Model, revision: str, error: BaseException) -> str:
        """Return the line for an error."""
        from huggingface_hub import errors

        name, page = model.id, f"{self.address}/{model.id}"
        cause = error.__cause__
        if isinstance(error, errors.LocalEntryNotFoundError) and cause is not None:
            error = cause
        if isinstance(error, errors.OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE is set, so nothing is downloaded; unset it for this command"
        if isinstance(error, errors.GatedRepoError):
            return (
                f"{name} is gated: accept its terms at {page}, then log in with `hf auth login` or "
                "set HF_TOKEN"
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return f"{name} has no revision {revision!r} at {self.address}; see {page}/commits/main"
        if isinstance(error, errors.RepositoryNotFoundError):
            return (
                f"{name} is not at {self.address}: deleted, renamed or private; a mirror can be "
                "named by --endpoint, a folder of your own by its path in the preset"
            )
        if isinstance(error, errors.EntryNotFoundError):
            return f"{name} lacks a file at {revision} ({_first_line(error)}); see {page}"
        response = getattr(error, "response", None)
        if response is not None:
            return f"{self.address} answered {response.status_code} for {name}; try again later"
        if "timeout" in type(error).__name__.lower():
            return f"{self.address} did not answer within {self.timeout} s; try again later"
        return (
            f"no connection to {self.address} for {name} ({_first_line(error)}); what is complete "
            "stays, run the same command again"
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__


def chosen_files(
    wanted: Weights, found: dict[str, RemoteFile], *, allow_pickles: bool
) -> list[RemoteFile]:
    """Return the files that make up one weights file: it, its shards, or its pickle.

    Raises
    ------
    CheckpointError
        If none of them is there, or a pickle alone and that is not allowed.
    """
    if wanted.path in found:
        return [found[wanted.path]]
    index = f"{wanted.path}.index.json"
    if index in found:
        stem = re.escape(wanted.path.removesuffix(".safetensors"))
        shards = [f for path, f in sorted(found.items()) if re.fullmatch(f"{stem}{SHARD}", path)]
        return [found[index], *shards]
    pickled = pickle_of(wanted.path)
    if pickled not in found:
        raise CheckpointError(
            f"the revision has neither {wanted.path} nor {pickled}; name another --revision"
        )
    if not allow_pickles:
        raise CheckpointError(
            f"{pickled} is there as a pickle alone, which can run code when it is loaded; "
            "--allow-pickles downloads it and rewrites it as safetensors, reading nothing but "
            "tensors from it"
        )
    return [found[pickled]]
