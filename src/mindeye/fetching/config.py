"""What `mindeye fetch nsd` is asked for, checked before anything else happens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from mindeye.datasets.nsd.layout import SESSIONS_HELD, Betas
from mindeye.datasets.numbers import parse_numbers
from mindeye.errors import UsageError


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
    no_stimuli
        Without the 73,000 pictures shown, about 39.6 GB, the same file for all subjects.
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
    betas: Betas = "betas_fithrf_GLMdenoise_RR"
    file_format: Literal["hdf5", "nii"] = "hdf5"
    no_stimuli: bool = False
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
        if self.betas not in get_args(Betas):
            known = ", ".join(get_args(Betas))
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
        held = range(1, SESSIONS_HELD[self.subject - 1] + 1)
        return tuple(parse_numbers(self.sessions, held, what="session"))

    @property
    def subject_name(self) -> str:
        """The subject as NSD's folders name it, such as `subj01`."""
        return f"subj{self.subject:02d}"


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
