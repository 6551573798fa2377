"""Which files of the Natural Scenes Dataset a preparation reads, and about how large they are.

Sources. Names and layout of the betas: NSD Data Manual, "Functional data (NSD)" (int16, chunks of
one voxel by 750 trials); grids: "Technical notes", data sizes; ROIs: "ROIs"; design and pictures:
"Experiments"; the two extra sessions: "Functional data (nsdsynthetic)" and "(nsdimagery)", whose
file names were compared with published code that reads them. None of this was checked against the
real bucket here, so whatever a preparation can do without is optional: skipped with a note where
the bucket does not have it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mindeye.datasets.nsd.layout import GRIDS
from mindeye.fetching.config import FetchConfig

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

SMALL = 100_000
"""Bytes; a guess for compressed masks, too small to matter in the sum."""


@dataclass(frozen=True)
class Wanted:
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


def wanted_files(config: FetchConfig) -> list[Wanted]:
    """Return what to download, small files first so that mistakes show early."""
    subject = config.subject_name
    design = "nsddata/experiments/nsd"
    rois = f"nsddata/ppdata/{subject}/func1pt8mm/roi"
    betas = f"{_betas_root(config)}/{config.betas}"
    files = [
        Wanted(f"{design}/nsd_expdesign.mat", 1_000_000),
        Wanted(f"{design}/nsd_stim_info_merged.csv", 16_000_000, required=False),
        Wanted(f"{rois}/nsdgeneral.nii.gz", SMALL),
        *(Wanted(f"{rois}/{name}.nii.gz", SMALL, required=False) for name in OPTIONAL_ROIS),
        Wanted(f"{betas}/ncsnr.nii.gz", 2_000_000, required=False),
    ]
    if config.synthetic:
        files += _synthetic(config)
    if config.imagery:
        files += _imagery(config)
    size = betas_bytes(config, "core")
    files += [
        Wanted(f"{betas}/betas_session{number:02d}.{_suffix(config)}", size)
        for number in config.session_numbers
    ]
    if not config.no_stimuli:
        files.append(Wanted("nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", PICTURE_BYTES))
    return files


def betas_bytes(config: FetchConfig, experiment: str) -> int:
    """Estimate the bytes of one session's betas.

    Parameters
    ----------
    config
        Says whose grid and which format.
    experiment
        `core`, `synthetic` or `imagery`.

    Returns
    -------
    int
        For HDF5 X * Y * Z * (trials * 2 + index) bytes; for `.nii.gz` a share of it.
    """
    x, y, z = GRIDS[config.subject - 1]
    size = x * y * z * (TRIALS[experiment] * 2 + CHUNK_BYTES)
    return size if config.file_format == "hdf5" else round(size * NIFTI_SHARE)


def _betas_root(config: FetchConfig) -> str:
    return f"nsddata_betas/ppdata/{config.subject_name}/func1pt8mm"


def _suffix(config: FetchConfig) -> str:
    return "hdf5" if config.file_format == "hdf5" else "nii.gz"


def _extra_betas(config: FetchConfig, experiment: str) -> Wanted:
    """Betas of an extra session: the folder's name repeats the version after its own prefix."""
    folder = f"{_betas_root(config)}/nsd{experiment}{config.betas}"
    name = f"betas_nsd{experiment}.{_suffix(config)}"
    return Wanted(f"{folder}/{name}", betas_bytes(config, experiment))


def _synthetic(config: FetchConfig) -> list[Wanted]:
    """NSD-synthetic: 220 grey pictures for all, 64 coloured ones for each subject."""
    pictures = "nsddata_stimuli/stimuli/nsdsynthetic"
    design = "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat"
    colour = f"{pictures}/nsdsynthetic_colorstimuli_{config.subject_name}.hdf5"
    return [
        Wanted(design, SMALL),
        Wanted(f"{pictures}/nsdsynthetic_stimuli.hdf5", 214_000_000),
        Wanted(colour, 187_000_000, required=False),
        _extra_betas(config, "synthetic"),
    ]


def _imagery(config: FetchConfig) -> list[Wanted]:
    """NSD-imagery: design matrices and target pictures lie together under `experiments`."""
    behaviour = f"nsddata/bdata/nsdimagery/nsdimagery_{config.subject_name}_"
    files = [
        Wanted("nsddata/experiments/nsdimagery/", 9_000_000, required=False, listed=True),
        Wanted(behaviour, SMALL, required=False, listed=True),
        _extra_betas(config, "imagery"),
    ]
    if not config.no_stimuli:
        pictures = "nsddata_stimuli/stimuli/nsdimagery/"
        files.append(Wanted(pictures, 614_000_000, required=False, listed=True))
    return files
