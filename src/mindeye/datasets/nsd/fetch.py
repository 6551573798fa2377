"""Download what a preparation of NSD needs: listed first, after its terms were accepted.

The bucket is public: its files come by plain https. They come one after another, since one
connection fills an ordinary line, and everything lands under `root` in NSD's own tree, which the
readers expect.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from mindeye.datasets.nsd.fetch_list import FetchConfig, FileRequest, files_to_fetch
from mindeye.errors import DataError, UsageError
from mindeye.progress import track
from mindeye.weights.checks import bytes_text, check_root
from mindeye.weights.download import (
    AbsentError,
    RefusedError,
    RemoteFile,
    TransferError,
    announced,
    download_all,
    kept_bytes,
    opened,
)

BUCKET = "natural-scenes-dataset"
AMAZON = "https://s3.us-east-2.amazonaws.com"
"""Where NSD lies: the bucket is named in the NSD Data Manual, "How to get the data", its region
(us-east-2) in AWS's Registry of Open Data; both are read without an account."""

TERMS = "https://cvnlab.slite.page/p/IB6BSeW_7o/Terms-and-Conditions"
FORM = "https://forms.gle/xue2bCdM9LaFNMeb7"
"""NSD's terms and its data access form, as the repositories of its users link them."""

TIMEOUT = 60
"""Seconds without a byte after which a connection counts as cut."""

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
    skipped: tuple[str, ...] = ()
    bytes_wanted: int = 0
    bytes_transferred: int = 0


def fetch_nsd(
    config: FetchConfig, *, tell: Tell, wait: Callable[[float], None] = time.sleep
) -> FetchSummary:
    """List what is missing below the root, then download it.

    Parameters
    ----------
    config
        What to download, where to, and whether NSD's terms were accepted.
    tell
        Function that gets each line of the list and of the result.
    wait
        Function that sleeps for the given number of seconds between tries.

    Returns
    -------
    FetchSummary
        What was done; in a dry run, which makes no connection, what would be.

    Raises
    ------
    UsageError
        If the terms were not accepted or the root is no folder.
    TransferError
        If there is no connection or it keeps breaking off; the same command goes on.
    DataError
        If a file that is needed is not in the bucket, or the disk has not enough space.
    """
    check_root("--root", config.root)
    try:
        if config.dry_run:
            return _estimated(config, tell)
        if not config.i_accept_the_nsd_terms:
            _estimated(config, tell)
            raise UsageError(
                f"NSD may be downloaded after its terms were accepted: read {TERMS}, send the data "
                f"access form {FORM}, then say so with --i-accept-the-nsd-terms"
            )
        return _download(config, tell, wait)
    except OSError as error:
        raise DataError(f"cannot use --root {config.root}: {error}") from error


def _estimated(config: FetchConfig, tell: Tell) -> FetchSummary:
    """List what would be downloaded from what is known without a connection."""
    files = files_to_fetch(config)
    present = [w.key for w in files if not w.listed and target_of(config.root, w.key).is_file()]
    missing = [request for request in files if request.key not in present]
    rows = [(w.key + "*" * w.listed, f"about {bytes_text(w.about)}") for w in missing]
    _tell_list(config, rows, present, tell)
    total = sum(request.about for request in missing)
    tell(f"{_count(missing)}, about {bytes_text(total)}; nothing was downloaded")
    return FetchSummary(tuple(w.key for w in missing), tuple(present), bytes_wanted=total)


def _download(config: FetchConfig, tell: Tell, wait: Callable[[float], None]) -> FetchSummary:
    """Compare bucket and root, list what is missing, check the space and download."""
    missing: dict[str, RemoteFile] = {}
    present, skipped = [], []
    for request in track(files_to_fetch(config), "list"):
        files = _announced(config, request)
        if not files:
            skipped.append(request.key)
        for key, file in files.items():
            target = target_of(config.root, key)
            if target.is_file() and target.stat().st_size == file.size:
                present.append(key)
            else:
                missing[key] = file
    _tell_list(config, [(k, bytes_text(f.size)) for k, f in missing.items()], present, tell)
    for key in skipped:
        tell(f"  skipped, not in the bucket: {key}")
    total = sum(file.size for file in missing.values())
    targets = {target_of(config.root, key): file for key, file in missing.items()}
    done = sum(kept_bytes(file, target) for target, file in targets.items())
    tell(f"{_count(missing)}, {bytes_text(total)}, {bytes_text(done)} of it here from before")
    transferred = download_all(
        targets,
        attempts=config.attempts,
        timeout=TIMEOUT,
        wait=wait,
        advice="choose fewer --sessions or another --root",
    )
    tell(f"all complete and checked, {bytes_text(transferred)} transferred")
    return FetchSummary(tuple(missing), tuple(present), tuple(skipped), total, transferred)


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


def _announced(config: FetchConfig, request: FileRequest) -> dict[str, RemoteFile]:
    """Return the files behind one entry of the list by key, none where an optional one is gone."""
    bucket = f"{config.endpoint.rstrip('/') or AMAZON}/{BUCKET}"
    try:
        if request.listed:
            return _listed(bucket, request.key)
        return {request.key: announced(f"{bucket}/{quote(request.key)}", timeout=TIMEOUT)}
    except AbsentError as error:
        if request.required:
            raise AbsentError(
                f"{error}; maybe this version or format of betas does not exist for this subject "
                "(--betas, --file-format), or --endpoint holds only a part of NSD"
            ) from error
    except RefusedError as error:
        if request.required:
            raise RefusedError(
                f"{error}; NSD has held listed files back before (the last core sessions until "
                "August 2023, NSD Data Manual): leave them out with --sessions"
            ) from error
    except TransferError as error:
        raise TransferError(f"{error}; nothing is lost, run the same command again") from error
    return {}


def _listed(bucket: str, prefix: str) -> dict[str, RemoteFile]:
    """Return all files whose key begins with `prefix`, by S3's ListObjectsV2, page by page."""
    files: dict[str, RemoteFile] = {}
    token = ""
    while True:
        query = {"list-type": "2", "prefix": prefix}
        query |= {"continuation-token": token} if token else {}
        with opened(f"{bucket}?{urlencode(query)}", timeout=TIMEOUT) as answer:
            content = answer.read()
        try:
            page = ElementTree.fromstring(content)
            for entry in page.iterfind("{*}Contents"):
                key = entry.findtext("{*}Key", "")
                size, etag = int(entry.findtext("{*}Size", "")), entry.findtext("{*}ETag", "")
                files[key] = RemoteFile(f"{bucket}/{quote(key)}", size, etag)
        except (ElementTree.ParseError, ValueError) as error:
            raise DataError(f"{bucket} gives no list of its files ({error})") from error
        following = page.findtext("{*}NextContinuationToken", "")
        if not following or following == token:
            break
        token = following
    for key in files:
        if not key.startswith(prefix):
            raise DataError(f"the server lists {key!r} although {prefix!r} was asked for")
    # Keys that end in a slash only mark empty folders.
    return {key: file for key, file in files.items() if not key.endswith("/")}


def _tell_list(
    config: FetchConfig, rows: Sequence[tuple[str, str]], present: Sequence[str], tell: Tell
) -> None:
    sessions = len(config.session_numbers)
    tell(f"NSD, {config.subject_name}, {sessions} sessions of {config.betas} -> {config.root}")
    for key, size in [*rows, *((key, "here already") for key in present)]:
        tell(f"  {size:>15}  {key}")


def _count(files: Sized) -> str:
    number = len(files)
    return f"{number} file{'' if number == 1 else 's'} to download"
