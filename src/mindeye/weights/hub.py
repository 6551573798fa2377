"""What the Hugging Face hub is asked, and its failures by name.

Files are listed by one question with a limit on waiting and then downloaded one by one: the
client's `snapshot_download` (2.4) lists without any limit, so that a server which accepts and says
nothing would hold it for ever, and takes an unreachable hub for a finished download.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mindeye.errors import CheckpointError, MindEyeError
from mindeye.files import naming_full_disk, sha256
from mindeye.weights.table import Model, Weights, pickle_of

SHARD = r"-\d{5}-of-\d{5}\.safetensors"
"""What follows the stem in the name of one of several safetensors files."""


class HubError(MindEyeError):
    """The hub cannot be reached, or refuses or lacks what it is asked for."""


class HubFile(NamedTuple):
    """A file of a model: path in its folder, bytes, and SHA-256 where the hub knows one."""

    path: str
    size: int
    digest: str


class Listing(NamedTuple):
    """A model's revision on the hub: commit, licence on the card, and files by path."""

    commit: str
    licence: str
    files: dict[str, HubFile]


@dataclass(frozen=True)
class Hub:
    """A hub and how long one waits for its answers.

    Parameters
    ----------
    endpoint
        Address of a mirror, which gets no token of the user's; "" for the environment's
        HF_ENDPOINT, else huggingface.co.
    timeout
        Seconds without an answer after which a question is given up.
    """

    endpoint: str
    timeout: int

    @property
    def _access(self) -> dict[str, Any]:
        """Address and token; the user's token is for the hub of the environment alone."""
        from huggingface_hub import constants

        named = self.endpoint.rstrip("/") not in ("", constants.ENDPOINT)
        return {"endpoint": self.endpoint or None, "token": False if named else None}

    def listing(self, model: Model, revision: str) -> Listing:
        """Return what a revision holds.

        Raises
        ------
        HubError
            If there is no connection, no such model or revision, or no permission.
        """
        from huggingface_hub import HfApi

        with self._naming(model, revision):
            info = HfApi(**self._access).model_info(
                model.id, revision=revision, timeout=self.timeout, files_metadata=True
            )
        card: Any = info.card_data or {}
        found = {
            s.rfilename: HubFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else "")
            for s in info.siblings or []
        }
        return Listing(str(info.sha), str(card.get("license") or ""), found)

    def check_access(self, model: Model, commit: str, file: HubFile) -> None:
        """Ask for a file's facts: gated models list their files to all, but hand out none.

        Raises
        ------
        HubError
            If the file may not be had.
        """
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        with self._naming(model, commit):
            endpoint, token = self._access.values()
            url = hf_hub_url(model.id, file.path, revision=commit, endpoint=endpoint)
            get_hf_file_metadata(url, timeout=self.timeout, token=token)

    def download(self, model: Model, commit: str, file: HubFile, folder: Path) -> Path:
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
            self.check_access(model, commit, file)
        with self._naming(model, commit), naming_full_disk(target):
            hf_hub_download(
                model.id, file.path, revision=commit, local_dir=folder,
                etag_timeout=self.timeout, **self._access,
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
    def _naming(self, model: Model, revision: str) -> Iterator[None]:
        """Turn what the hub's client raises into one named line."""
        from huggingface_hub import constants, errors

        # The client's own HTTP library, which has changed its name between versions.
        transport = errors.HfHubHTTPError.__bases__[0]
        address = self.endpoint or str(constants.ENDPOINT)
        try:
            yield
        except (transport, OSError, ValueError) as error:
            raise HubError(_message(model.id, revision, address, self.timeout, error)) from error


def _message(name: str, revision: str, address: str, timeout: int, error: BaseException) -> str:
    """Return the line for an error of the hub's client."""
    from huggingface_hub import errors

    page = f"{address}/{name}"
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
    response = getattr(error, "response", None)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so nothing is downloaded; unset it for this command"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{name} is gated: accept its terms at {page}, then log in with `hf auth login` or set "
            "HF_TOKEN"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{name} has no revision {revision!r} at {address}; see {page}/commits/main"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{name} is not at {address}: deleted, renamed or private; a mirror can be named by "
            "--endpoint, a folder of your own by its path in the preset"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return f"{name} lacks a file at {revision} ({first}); see {page}"
    if response is not None:
        return f"{address} answered {response.status_code} for {name}; try again later"
    if "timeout" in type(error).__name__.lower():
        return f"{address} did not answer within {timeout} s; try again later"
    return (
        f"no connection to {address} for {name} ({first}); what is complete stays, run the same "
        "command again"
    )


def chosen_files(
    wanted: Weights, found: dict[str, HubFile], *, allow_pickles: bool
) -> list[HubFile]:
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
