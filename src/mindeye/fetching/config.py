"""What `mindeye fetch nsd` is asked for, checked before anything else happens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from mindeye.errors import UsageError

BetasVersion = Literal["betas_assumehrf", "betas_fithrf", "betas_fithrf_GLMdenoise_RR"]

SESSIONS_HELD = (40, 40, 32, 30, 40, 32, 40, 30)
"""Core sessions of subj01 to subj08 (NSD Data Manual, "Technical notes", final numbers)."""


@dataclass(frozen=True)
class FetchConfig:
    """What to download from the Natural Scenes Dataset, and where to.

    Parameters
    ----------
    subject
        Number of the subject, 1 to 8.
    root
        Folder that gets NSD's own tree (`nsddata`, `nsddata_betas`, `nsddata_stimuli`).
    sessions
        Core sessions: `all`, or numbers and ranges as in `1-40` or `1,3-5`.
    betas
        Version of the single-trial betas.
    file_format
        `hdf5` (random access, uncompressed) or `nii` (`.nii.gz`, smaller).
    stimuli
        Also the 73,000 pictures shown, about 39.6 GB, the same file for all subjects.
    synthetic
        Also the NSD-synthetic session: betas, design and pictures.
    imagery
        Also the NSD-imagery session: betas, design, behaviour and pictures.
    dry_run
        Only list what would be downloaded, without any connection.
    i_accept_the_nsd_terms
        States that you have read and accepted NSD's terms and sent its data access form.
    endpoint
        Address of another S3 server that holds the bucket (a mirror); empty for Amazon's.
    attempts
        Tries in a row that bring nothing new before a file is given up.
    """

    subject: int
    root: Path
    sessions: str = "all"
    betas: BetasVersion = "betas_fithrf_GLMdenoise_RR"
    file_format: Literal["hdf5", "nii"] = "hdf5"
    stimuli: bool = True
    synthetic: bool = False
    imagery: bool = False
    dry_run: bool = False
    i_accept_the_nsd_terms: bool = False
    endpoint: str = ""
    attempts: int = 6

    def __post_init__(self) -> None:
        if self.subject not in range(1, len(SESSIONS_HELD) + 1):
            raise UsageError(
                f"--subject {self.subject}: NSD has subjects 1 to {len(SESSIONS_HELD)}"
            )
        if self.betas not in get_args(BetasVersion):
            known = ", ".join(get_args(BetasVersion))
            raise UsageError(f"--betas {self.betas} is not a version of NSD's betas; use {known}")
        if self.file_format not in ("hdf5", "nii"):
            raise UsageError(f"--file-format {self.file_format} is unknown; use hdf5 or nii")
        if self.attempts < 1:
            raise UsageError(f"--attempts {self.attempts}: at least 1 is needed")
        _check_endpoint(self.endpoint)
        _ = self.session_numbers

    @property
    def session_numbers(self) -> tuple[int, ...]:
        """Sessions asked for, from 1, in rising order, each once."""
        return parse_sessions(self.sessions, SESSIONS_HELD[self.subject - 1])

    @property
    def subject_name(self) -> str:
        """The subject as NSD's folders name it, such as `subj01`."""
        return f"subj{self.subject:02d}"


def parse_sessions(text: str, held: int) -> tuple[int, ...]:
    """Read a choice of sessions such as `all`, `1-40` or `1,3-5`.

    Parameters
    ----------
    text
        The choice; numbers count from 1.
    held
        Sessions that the subject took part in.

    Returns
    -------
    tuple of int
        The sessions in rising order, each once.

    Raises
    ------
    UsageError
        If the text is malformed, empty, or asks for sessions that were never held.
    """
    if text.strip() == "all":
        return tuple(range(1, held + 1))
    chosen: set[int] = set()
    for part in text.split(","):
        # Few digits: a range of billions would be written out before it is refused.
        match = re.fullmatch(r"\s*([0-9]{1,4})\s*(?:-\s*([0-9]{1,4})\s*)?", part)
        if match is None:
            raise UsageError(f"--sessions {text!r}: write all, or numbers and ranges: 1,3-5")
        first, last = int(match[1]), int(match[2] or match[1])
        if first < 1 or last < first:
            raise UsageError(f"--sessions {text!r}: {part.strip()} is no range of sessions from 1")
        chosen.update(range(first, last + 1))
    if max(chosen) > held:
        raise UsageError(
            f"--sessions {text!r}: this subject took part in {held} sessions; "
            f"ask for 1-{held} or all"
        )
    return tuple(sorted(chosen))


def _check_endpoint(endpoint: str) -> None:
    """Refuse what is no address of a server."""
    if not endpoint:
        return
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(
            f"--endpoint {endpoint!r} is no address of a server; write https://HOST[:PORT], "
            "or leave it out for Amazon's"
        )
