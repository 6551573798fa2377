"""Download the networks that metrics look through: sizes and licences first, then the files."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mindeye.errors import CheckpointError, DataError, MindEyeError, UsageError
from mindeye.fetching.bucket import RemoteFile, TransferError
from mindeye.fetching.metric_files import CLIP, METRIC_FILES, MetricFile, check_digest
from mindeye.fetching.transfer import Transfer, kept_bytes
from mindeye.fetching.web import WebFiles
from mindeye.progress import bytes_bar, track
from mindeye.weights.fetch import FetchModelsConfig, fetch_models

Tell = Callable[[str], None]

UNCHECKED = ".unchecked"
"""Suffix of a file that came whole but whose hash has not been looked at."""


@dataclass(frozen=True)
class FetchMetricsConfig:
    """What `mindeye fetch metrics` is asked for.

    Parameters
    ----------
    out
        Folder for the files; name it to evaluations by --weights DIR or MINDEYE_WEIGHTS.
    dry_run
        Only list files, sizes and licences, without any connection.
    no_clip
        Leave CLIP ViT-L/14 (1.7 GB) out.
    mirror
        Folder of a web server that has the files under their names; empty for where they are
        published.
    endpoint
        Address of a mirror of the Hugging Face hub, for CLIP.
    attempts
        Tries in a row that bring nothing before a file is given up.
    timeout
        Seconds without a byte after which a connection counts as cut.
    """

    out: Path
    dry_run: bool = False
    no_clip: bool = False
    mirror: str = ""
    endpoint: str = ""
    attempts: int = 5
    timeout: int = 60

    def __post_init__(self) -> None:
        parts = urlsplit(self.mirror)
        if self.mirror and (parts.scheme not in ("http", "https") or not parts.netloc):
            raise UsageError(
                f"--mirror {self.mirror!r} is no address of a server; write https://HOST/FOLDER"
            )
        for name in ("attempts", "timeout"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} {getattr(self, name)}: at least 1 is needed")
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"--out {self.out} is no folder; name one")

    def url(self, file: MetricFile) -> str:
        """Where a file is asked for."""
        return f"{self.mirror.rstrip('/')}/{file.name}" if self.mirror else file.url

    def clip(self) -> FetchModelsConfig:
        """How CLIP is fetched."""
        # The hub's client answers or fails at once; its files have limits of their own.
        return FetchModelsConfig(
            self.out, self.dry_run, endpoint=self.endpoint, timeout=min(self.timeout, 10)
        )


def fetch_metrics(
    config: FetchMetricsConfig, *, tell: Tell, wait: Callable[[float], None] = time.sleep
) -> list[Path]:
    """List the networks' files with sizes and licences, then download what is missing.

    Parameters
    ----------
    config
        Where to, and what not.
    tell
        Gets each line of the list and of the result.
    wait
        Sleeps for so many seconds between tries.

    Returns
    -------
    list of Path
        Files and folder that are there now; none in a dry run.

    Raises
    ------
    CheckpointError
        If what came, or lies there already, is not the published file.
    TransferError, HubError
        If there is no connection or it keeps breaking off; the same command goes on.
    DataError, MindEyeError
        If a file is gone or cannot be written, or the disk is full.
    """
    for file in METRIC_FILES.values():
        tell(f"  about {_megabytes(file.about)}  {file.use}")
        tell(f"                {config.url(file)}")
        tell(f"                licence: {file.licence}")
    if config.dry_run:
        if not config.no_clip:
            fetch_models([CLIP], config.clip(), tell=tell)
        else:
            tell("nothing was downloaded")
        return []
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        found = _download(config, tell, wait)
        if not config.no_clip:
            found += fetch_models([CLIP], config.clip(), tell=tell)
    except OSError as error:
        raise DataError(f"cannot use --out {config.out}: {error}") from error
    tell(
        f"use them with --weights {config.out} (evaluate) or MINDEYE_WEIGHTS={config.out} (any run)"
    )
    return found


def _download(config: FetchMetricsConfig, tell: Tell, wait: Callable[[float], None]) -> list[Path]:
    """Check what is here, then bring the rest, one file after the other."""
    missing = []
    for file in track(METRIC_FILES.values(), "check"):
        if (config.out / file.name).is_file():
            check_digest(config.out / file.name)
            tell(f"{file.name} is here already")
        else:
            missing.append(file)
    source = WebFiles({file.name: config.url(file) for file in missing}, config.timeout)
    announced = {file.name: _announced(source, file) for file in missing}
    parts = {name: config.out / (name + UNCHECKED) for name in announced}
    kept = sum(kept_bytes(remote, parts[name]) for name, remote in announced.items())
    total = sum(remote.size for remote in announced.values())
    _check_space(config.out, total - kept)
    with bytes_bar("fetch", total=total, done=kept) as bar:
        transfer = Transfer(source, attempts=config.attempts, bar=bar, wait=wait)
        for name, remote in announced.items():
            transfer.fetch(remote, parts[name])
            _keep(parts[name], config.out / name)
            tell(f"{name}: {_megabytes(remote.size).strip()}, {_checked(METRIC_FILES[name])}")
    return [config.out / name for name in METRIC_FILES]


def _announced(source: WebFiles, file: MetricFile) -> RemoteFile:
    """Ask for a file's size and mark."""
    try:
        return source.head(file.name)
    except TransferError as error:
        raise TransferError(f"{error}; nothing is lost, run the same command again") from error


def _keep(part: Path, target: Path) -> None:
    """Give a file its name once its hash is right; delete it otherwise."""
    try:
        check_digest(part, target.name)
    except CheckpointError as error:
        part.unlink()
        raise CheckpointError(
            f"{target.name} came whole but is not the published file, it was deleted: {error}"
        ) from error
    os.replace(part, target)


def _checked(file: MetricFile) -> str:
    if file.digest:
        return f"SHA-256 begins with {file.digest} as its name says"
    return "size as announced; no hash of it is published"


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise MindEyeError(
            f"the disk of {folder} has {_megabytes(free).strip()} free but "
            f"{_megabytes(needed).strip()} are to come; free some or choose another --out"
        )


def _megabytes(number: int) -> str:
    """Write bytes in powers of 1000, as disks are sold."""
    return f"{number / 1e6:>7,.1f} MB"
