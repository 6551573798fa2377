"""Download what a preparation of NSD needs: listed first, after its terms were accepted.

Files come one after another: one connection fills an ordinary line, and a cut costs one file's
last block. Everything lands under `root` in NSD's own tree, which the readers expect.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mindeye.errors import DataError, UsageError
from mindeye.fetching.bucket import (
    AbsentError,
    Bucket,
    RefusedError,
    RemoteFile,
    TransferError,
    open_bucket,
)
from mindeye.fetching.config import FetchConfig
from mindeye.fetching.nsd_files import Wanted, wanted_files
from mindeye.fetching.transfer import Transfer, kept_bytes
from mindeye.progress import bytes_bar, track

TERMS = "https://cvnlab.slite.page/p/IB6BSeW_7o/Terms-and-Conditions"
FORM = "https://forms.gle/xue2bCdM9LaFNMeb7"
"""NSD's terms and its data access form, as the repositories of its users link them."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class FetchSummary:
    """What a download did, or would do.

    Parameters
    ----------
    wanted
        Keys downloaded; in a dry run those that would be.
    present
        Keys left out because their files are here already.
    skipped
        Optional keys that the bucket does not have.
    bytes_wanted
        Bytes of `wanted`; an estimate in a dry run.
    bytes_transferred
        Bytes that came over the network; less than `bytes_wanted` after an interrupted call.
    """

    wanted: tuple[str, ...]
    present: tuple[str, ...]
    skipped: tuple[str, ...]
    bytes_wanted: int
    bytes_transferred: int


def fetch_nsd(
    config: FetchConfig, *, tell: Tell, wait: Callable[[float], None] = time.sleep
) -> FetchSummary:
    """List what is missing below the root, then download it.

    Parameters
    ----------
    config
        What to download, where to, and whether NSD's terms were accepted.
    tell
        Gets each line of the list and of the result.
    wait
        Sleeps for so many seconds between tries.

    Returns
    -------
    FetchSummary
        What was done; in a dry run, which makes no connection, what would be.

    Raises
    ------
    UsageError
        If the terms were not accepted or the root is no folder.
    MissingDependencyError
        If boto3 is not installed.
    TransferError
        If there is no connection or it keeps breaking off; the same command goes on.
    DataError
        If a file that is needed is not in the bucket, or the disk has not enough space.
    """
    try:
        if config.root.exists() and not config.root.is_dir():
            raise UsageError(f"--root {config.root} is no folder; name one")
        if config.dry_run:
            return _estimated(config, tell)
        if not config.i_accept_the_nsd_terms:
            _estimated(config, tell)
            raise UsageError(_terms())
        return _download(config, open_bucket(config.endpoint), tell, wait)
    except OSError as error:
        raise DataError(f"cannot use --root {config.root}: {error}") from error


def _download(
    config: FetchConfig, bucket: Bucket, tell: Tell, wait: Callable[[float], None]
) -> FetchSummary:
    """Compare bucket and root, list what is missing, check the space and download."""
    missing, present, skipped = _compared(config, bucket)
    _tell_list(config, [(f.key, _bytes(f.size)) for f in missing], present, tell)
    for key in skipped:
        tell(f"  skipped, not in the bucket: {key}")
    total = sum(file.size for file in missing)
    kept = sum(kept_bytes(file, target_of(config.root, file.key)) for file in missing)
    tell(f"{_count(missing)}, {_bytes(total)}, {_bytes(kept)} of it here from an earlier call")
    _check_space(config.root, missing)
    with bytes_bar("fetch", total=total, done=kept) as bar:
        transfer = Transfer(bucket, attempts=config.attempts, bar=bar, wait=wait)
        for file in missing:
            transfer.fetch(file, target_of(config.root, file.key))
    tell(f"all complete and checked, {_bytes(transfer.transferred)} transferred")
    keys = tuple(file.key for file in missing)
    return FetchSummary(keys, present, skipped, total, transfer.transferred)


def target_of(root: Path, key: str) -> Path:
    """Return where a key's file belongs below the root.

    Raises
    ------
    DataError
        If the key, which a server may have made up, does not stay below the root.
    """
    parts = PurePosixPath(key).parts
    # As text: the path's own parts have already lost what "a//b" and "a/./b" say.
    odd = [part for part in key.split("/") if part in ("", ".", "..")]
    if odd or not parts or "\\" in key or ":" in key or not key.isprintable():
        raise DataError(f"the bucket's key {key!r} does not name a file below the root; refused")
    return root.joinpath(*parts)


def _estimated(config: FetchConfig, tell: Tell) -> FetchSummary:
    """List what would be downloaded from what is known without a connection."""
    missing: list[Wanted] = []
    present = []
    for wanted in wanted_files(config):
        if not wanted.listed and target_of(config.root, wanted.key).is_file():
            present.append(wanted.key)
        else:
            missing.append(wanted)
    rows = [(w.key + "*" * w.listed, f"about {_bytes(w.about)}") for w in missing]
    _tell_list(config, rows, tuple(present), tell)
    total = sum(wanted.about for wanted in missing)
    tell(f"{_count(missing)}, about {_bytes(total)}; nothing was downloaded")
    keys = tuple(wanted.key for wanted in missing)
    return FetchSummary(keys, tuple(present), (), total, 0)


def _compared(
    config: FetchConfig, bucket: Bucket
) -> tuple[list[RemoteFile], tuple[str, ...], tuple[str, ...]]:
    """Ask the bucket for all files; return those to download, keys here, keys skipped."""
    missing, present, skipped = [], [], []
    for wanted in track(wanted_files(config), "list"):
        found = _announced(bucket, wanted)
        if not found:
            skipped.append(wanted.key)
        for file in found:
            target = target_of(config.root, file.key)
            if target.is_file() and target.stat().st_size == file.size:
                present.append(file.key)
            else:
                missing.append(file)
    return missing, tuple(present), tuple(skipped)


def _announced(bucket: Bucket, wanted: Wanted) -> list[RemoteFile]:
    """Return the files behind one entry of the list, none where an optional one is not there."""
    try:
        return bucket.listed(wanted.key) if wanted.listed else [bucket.head(wanted.key)]
    except AbsentError as error:
        if wanted.required:
            raise AbsentError(
                f"{error}; maybe this version or format of betas does not exist for this subject "
                "(--betas, --file-format), or --endpoint holds only a part of NSD"
            ) from error
    except RefusedError as error:
        if wanted.required:
            raise RefusedError(
                f"{error}; NSD has held listed files back before (the last core sessions until "
                "August 2023, NSD Data Manual): leave them out with --sessions"
            ) from error
    except TransferError as error:
        raise TransferError(f"{error}; nothing is lost, run the same command again") from error
    return []


def _check_space(root: Path, missing: Iterable[RemoteFile]) -> None:
    """Refuse what does not fit, disk by disk: parts of NSD's tree may be links to others."""
    needed: dict[int, int] = {}
    folders: dict[int, Path] = {}
    for file in missing:
        target = target_of(root, file.key)
        folder = next(parent for parent in target.absolute().parents if parent.is_dir())
        device = folder.stat().st_dev
        needed[device] = needed.get(device, 0) + file.size - kept_bytes(file, target)
        folders[device] = folder
    for device, size in needed.items():
        free = shutil.disk_usage(folders[device]).free
        if size > free:
            raise DataError(
                f"the disk of {folders[device]} has {_bytes(free)} free but {_bytes(size)} are "
                f"to come, {_bytes(size - free)} too little; free some, choose fewer --sessions "
                "or another --root"
            )


def _tell_list(
    config: FetchConfig, rows: list[tuple[str, str]], present: tuple[str, ...], tell: Tell
) -> None:
    sessions = len(config.session_numbers)
    tell(f"NSD, {config.subject_name}, {sessions} sessions of {config.betas} -> {config.root}")
    for key, size in rows:
        tell(f"  {size:>15}  {key}")
    for key in present:
        tell(f"  {'here already':>15}  {key}")


def _terms() -> str:
    return (
        f"NSD may be downloaded after its terms were accepted: read {TERMS}, send the data access "
        f"form {FORM}, then say so with --i-accept-the-nsd-terms"
    )


def _count(files: list[RemoteFile] | list[Wanted]) -> str:
    return f"{len(files)} file{'' if len(files) == 1 else 's'} to download"


def _bytes(number: int) -> str:
    """Write bytes as people read them, in powers of 1000 as disks are sold."""
    size = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.2f} TB"
