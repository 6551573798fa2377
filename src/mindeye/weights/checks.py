"""What downloads check before they begin, and sizes as people read them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from mindeye.errors import DataError, UsageError


def check_space(needed: Mapping[Path, int], advice: str) -> None:
    """Refuse files that do not fit, disk by disk since folders of a tree may be links to others.

    Parameters
    ----------
    needed
        Number of bytes that are still to come, by the file they go to.
    advice
        What the user can do about it, for the message.

    Raises
    ------
    DataError
        If a disk has less space free than is to come.
    """
    disks: dict[int, tuple[Path, int]] = {}
    for target, size in needed.items():
        folder = next(parent for parent in target.absolute().parents if parent.is_dir())
        device = folder.stat().st_dev
        disks[device] = (folder, disks.get(device, (folder, 0))[1] + size)
    for folder, size in disks.values():
        free = shutil.disk_usage(folder).free
        if size > free:
            raise DataError(
                f"the disk of {folder} has {bytes_text(free)} free but {bytes_text(size)} are to "
                f"come, {bytes_text(size - free)} too little; free some or {advice}"
            )


def check_address(flag: str, address: str, default: str) -> None:
    """Refuse what is no address of a web server; an empty one stands for the default."""
    parts = urlsplit(address)
    if address and (parts.scheme not in ("http", "https") or not parts.netloc):
        raise UsageError(
            f"{flag} {address!r} is no address of a server; write https://HOST, or leave it out "
            f"for {default}"
        )


def check_root(flag: str, folder: Path) -> None:
    """Refuse a file where a folder for downloads is expected."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{flag} {folder} is no folder; name one")


def bytes_text(number: int) -> str:
    """Write a number of bytes as people read it, in powers of 1000 as disks are sold.

    Examples
    --------
    >>> bytes_text(39_566_000_000)
    '39.6 GB'
    """
    size = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.2f} TB"
