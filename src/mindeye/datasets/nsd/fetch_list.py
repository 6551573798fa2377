"""What `mindeye fetch nsd` is asked for, and which files that means, about how large.

Sources. Names and layout of the betas: NSD Data Manual, "Functional data (NSD)" (int16, chunks of
one voxel by 750 trials); grids: "Technical notes", data sizes; ROIs: "ROIs"; design and pictures:
"Experiments"; the two extra sessions: "Functional data (nsdsynthetic)" and "(nsdimagery)", whose
file names were compared with published code that reads them. None of this was checked against the
real bucket here, so whatever a preparation can do without is optional: skipped with a note where
the bucket does not have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mindeye.datasets.nsd.layout import GRIDS, SESSIONS_HELD, Betas
from mindeye.datasets.numbers import parse_numbers
from mindeye.errors import UsageError
from mindeye.weights.checks import check_address

TRIALS = {"core": 750, "synthetic": 744, "imagery": 720}
"""Betas in a session of each experiment (NSD Data Manual)."""

CHUNK_BYTES = 65
"""Bytes that HDF5 adds to every chunk (one voxel) for its index: the imagery betas of subj01 are
published with 1,052,494,008 bytes, which is 720 int16 and 65 bytes for each of 699,192 voxels."""

NIFTI_SHARE = 0.43
"""Size of a session as `.nii.gz`, a share of the HDF5 file: 467 MB for subj01 in a public list."""

PICTURE_BYTES = 73_000 * 425 * 425 * 3
"""Bytes of `imgBrick` in nsd_stimuli.hdf5, uint8 (S, H, W, 3)."""

OPTIONAL_ROIS = (
    "prf-visualrois", "prf-eccrois", "floc-faces", "floc-bodies", "floc-places", "floc-words",
    "streams", "corticalsulc", "Kastner2015", "HCP_MMP1",
)  # fmt: skip
"""Volumes in the subject's `roi` folder besides nsdgeneral (NSD Data Manual, "ROIs")."""

PICTURES = "nsddata_stimuli/stimuli"
"""Folder of all pictures shown."""

SMALL = 100_000
"""Bytes; a guess for compressed masks, too small to matter in the sum."""


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
        check_address("--endpoint", self.endpoint, "Amazon's")
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


@dataclass(frozen=True)
class FileRequest:
    """A file, or with `listed` every file whose key starts like this.

    Parameters
    ----------
    key
        Place in the bucket and below the root, with `/` between folders.
    about
        Bytes, estimated without asking the server.
    required
        Whether a preparation fails without it.
    listed
        Whether `key` is only how the keys begin, and the bucket is asked which there are.
    """

    key: str
    about: int
    required: bool = True
    listed: bool = False


def files_to_fetch(config: FetchConfig) -> list[FileRequest]:
    """Return what to download, small files first so that mistakes show early."""
    subject, version = config.subject_name, config.betas
    design = "nsddata/experiments/nsd"
    rois = f"nsddata/ppdata/{subject}/func1pt8mm/roi"
    betas = f"nsddata_betas/ppdata/{subject}/func1pt8mm"
    ending = "hdf5" if config.file_format == "hdf5" else "nii.gz"
    files = [
        FileRequest(f"{design}/nsd_expdesign.mat", 1_000_000),
        FileRequest(f"{design}/nsd_stim_info_merged.csv", 16_000_000, required=False),
        FileRequest(f"{rois}/nsdgeneral.nii.gz", SMALL),
        *(FileRequest(f"{rois}/{name}.nii.gz", SMALL, required=False) for name in OPTIONAL_ROIS),
        FileRequest(f"{betas}/{version}/ncsnr.nii.gz", 2_000_000, required=False),
    ]
    for extra, others in (("synthetic", _synthetic), ("imagery", _imagery)):
        if getattr(config, extra):
            # The folder's name repeats the version after a prefix of its own.
            name = f"nsd{extra}{version}/betas_nsd{extra}.{ending}"
            files += [*others(config), FileRequest(f"{betas}/{name}", _betas_bytes(config, extra))]
    size = _betas_bytes(config, "core")
    files += [
        FileRequest(f"{betas}/{version}/betas_session{number:02d}.{ending}", size)
        for number in config.session_numbers
    ]
    if not config.no_stimuli:
        files.append(FileRequest(f"{PICTURES}/nsd/nsd_stimuli.hdf5", PICTURE_BYTES))
    return files


def _betas_bytes(config: FetchConfig, experiment: str) -> int:
    """Estimate the bytes of a session: X * Y * Z * (trials * 2 + index), of `.nii.gz` a share."""
    x, y, z = GRIDS[config.subject - 1]
    size = x * y * z * (TRIALS[experiment] * 2 + CHUNK_BYTES)
    return size if config.file_format == "hdf5" else round(size * NIFTI_SHARE)


def _synthetic(config: FetchConfig) -> list[FileRequest]:
    """NSD-synthetic: 220 grey pictures for all, 64 coloured ones for each subject."""
    pictures = f"{PICTURES}/nsdsynthetic"
    colour = f"{pictures}/nsdsynthetic_colorstimuli_{config.subject_name}.hdf5"
    return [
        FileRequest("nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat", SMALL),
        FileRequest(f"{pictures}/nsdsynthetic_stimuli.hdf5", 214_000_000),
        FileRequest(colour, 187_000_000, required=False),
    ]


def _imagery(config: FetchConfig) -> list[FileRequest]:
    """NSD-imagery: design matrices and target pictures lie together under `experiments`."""
    behaviour = f"nsddata/bdata/nsdimagery/nsdimagery_{config.subject_name}_"
    sizes = {"nsddata/experiments/nsdimagery/": 9_000_000, behaviour: SMALL}
    if not config.no_stimuli:
        sizes[f"{PICTURES}/nsdimagery/"] = 614_000_000
    return [FileRequest(key, size, required=False, listed=True) for key, size in sizes.items()]
