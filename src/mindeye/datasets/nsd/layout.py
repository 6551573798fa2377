"""Where the Natural Scenes Dataset keeps what, and what is asked of it.

Paths and file names are those of the NSD Data Manual (pages "Functional data (NSD)", "ROIs" and
"Experiments"). They were not checked against the real files here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mindeye.errors import ConfigError, DataError

Betas = Literal["betas_fithrf_GLMdenoise_RR", "betas_fithrf", "betas_assumehrf"]
FileFormat = Literal["auto", "hdf5", "nii"]

SUBJECTS = 8
SPACE = "func1pt8mm"
SESSIONS_HELD = (40, 40, 32, 30, 40, 32, 40, 30)
"""Sessions of each subject (NSD Data Manual, "Technical notes": final numbers)."""
GRIDS = (
    (81, 104, 83), (82, 106, 84), (81, 106, 82), (85, 99, 80),
    (79, 97, 78), (85, 113, 83), (78, 95, 81), (80, 103, 78),
)  # fmt: skip
"""Voxels along X, Y, Z at 1.8 mm (NSD Data Manual, "Technical notes": data sizes); for messages."""
BETA_SCALE = 300
"""Betas are stored as int16, percent signal change times 300 (NSD Data Manual, "Functional data
(NSD)", file format issues for betas)."""
SATURATION = (2**15 - 1) / BETA_SCALE
UNITS = f"percent signal change (int16 / {BETA_SCALE})"
LICENCE = "NSD terms and conditions of use (signed by everyone who downloads it)"
MARKER = "mindeye_miniature.json"
"""Lies at the root of a tree that was simulated, so that nobody takes it for data of a person."""
HINT = "get it with `mindeye fetch nsd`"

SESSION_NUMBER = r"(?!00)\d{2}"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_ROI = re.compile(rf"({_NAME.pattern})(?::(\d+(?:\+\d+)*))?")


@dataclass(frozen=True)
class VoxelsConfig:
    """Whose betas to read, and which voxels.

    Parameters
    ----------
    subject
        Number of the subject, 1 to 8.
    file_format
        `hdf5` or `nii` (.nii.gz) files of betas; `auto` takes what is there, HDF5 first.
    roi
        Regions, separated by commas, whose union is read: `nsdgeneral` is every voxel with a label
        above 0, `prf-visualrois:1+2` those labelled 1 or 2.
    mask
        A .nii or .nii.gz file on the subject's grid; only voxels above 0 in it are read.
    """

    subject: int = 1
    file_format: FileFormat = "auto"
    roi: str = "nsdgeneral"
    mask: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.subject <= SUBJECTS:
            raise ConfigError(f"subject={self.subject}: NSD has subjects 1 to {SUBJECTS}")
        refuse_unknown_choices(self)
        parse_rois(self.roi)


@dataclass(frozen=True)
class NsdConfig(VoxelsConfig):
    """What to read of a copy of the Natural Scenes Dataset, beside the fields of `VoxelsConfig`.

    Parameters
    ----------
    betas
        Version of the betas: `betas_fithrf_GLMdenoise_RR` (the NSD paper's b3), `betas_fithrf`
        (b2) or `betas_assumehrf` (b1).
    min_noise_ceiling
        Least single-trial noise ceiling of a voxel, as a share of variance from 0 to 1, from the
        file `ncsnr.nii.gz` beside the betas; 0 keeps all.
    """

    betas: Betas = "betas_fithrf_GLMdenoise_RR"
    min_noise_ceiling: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.min_noise_ceiling < 1:
            raise ConfigError(
                f"min_noise_ceiling={self.min_noise_ceiling}: a share of variance, 0 to below 1 "
                "(NSD's own figures are percentages)"
            )


def refuse_unknown_choices(config: Any) -> None:
    """Raise ConfigError if a field whose type lists its values (`Literal`) has another one."""
    for name, hint in get_type_hints(type(config)).items():
        known = get_args(hint)
        if get_origin(hint) is Literal and getattr(config, name) not in known:
            raise ConfigError(f"{name}={getattr(config, name)!r}: choose one of {known}")


def parse_rois(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """Read a choice of regions like ``nsdgeneral,prf-visualrois:1+2``.

    Returns
    -------
    list
        (name of the file, labels) of each region; no labels stand for all above 0.

    Raises
    ------
    ConfigError
        If it is empty or not of this form; names hold no path separators.
    """
    rois = []
    for part in text.split(","):
        match = _ROI.fullmatch(part.strip())
        if match is None or ".." in part:
            raise ConfigError(
                f"roi={text!r}: {part.strip()!r} is not a region; write names separated by commas, "
                "like nsdgeneral or prf-visualrois:1+2 for two of its labels"
            )
        labels = tuple(int(n) for n in match[2].split("+")) if match[2] else ()
        if 0 in labels:
            raise ConfigError(f"roi={text!r}: label 0 means no region; choose labels from 1")
        rois.append((match[1], labels))
    return rois


@dataclass(frozen=True)
class NsdPaths:
    """Paths of one subject's files.

    Parameters
    ----------
    root
        Folder that holds `nsddata`, `nsddata_betas` and `nsddata_stimuli`.
    subject
        Number of the subject, from 1.
    version
        Name of the folder of betas.
    """

    root: Path
    subject: int
    version: str = "betas_fithrf_GLMdenoise_RR"

    @property
    def betas(self) -> Path:
        """Folder of the betas."""
        return self.root / f"nsddata_betas/ppdata/subj{self.subject:02d}/{SPACE}/{self.version}"

    @property
    def ncsnr(self) -> Path:
        """Noise-ceiling signal-to-noise ratio (X, Y, Z)."""
        return self.betas / "ncsnr.nii.gz"

    @property
    def design(self) -> Path:
        """Order of the trials, the same file for all subjects."""
        return self.root / "nsddata/experiments/nsd/nsd_expdesign.mat"

    @property
    def stimuli(self) -> Path:
        """All pictures."""
        return self.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"

    def roi(self, name: str) -> Path:
        """File of a region (X, Y, Z)."""
        return self.root / f"nsddata/ppdata/subj{self.subject:02d}/{SPACE}/roi/{name}.nii.gz"

    def session(self, session: int, suffix: str) -> Path:
        """File of a session's betas; sessions count from 1, `suffix` is hdf5 or nii.gz."""
        return self.betas / f"betas_session{session:02d}.{suffix}"


def find_betas(paths: NsdPaths, name: str, file_format: FileFormat) -> dict[str, Path]:
    """Return the files of betas whose name fits a pattern, by their name without suffix.

    Parameters
    ----------
    paths
        Paths of the subject's files.
    name
        Regular expression of the name without suffix.
    file_format
        Which files count; `auto` takes both kinds, and HDF5 where both are there.

    Raises
    ------
    DataError
        If there is none, or a folder is in the place of one.
    """
    suffixes = {"hdf5": (".hdf5",), "nii": (".nii.gz",), "auto": (".nii.gz", ".hdf5")}[file_format]
    files: dict[str, Path] = {}
    for suffix in suffixes:  # with auto, HDF5 comes last and wins
        for path in sorted(paths.betas.glob(f"*{suffix}")):
            stem = path.name.removesuffix(suffix)
            if re.fullmatch(name, stem) is None:
                continue
            if path.is_dir():
                raise DataError(f"{path} is a folder; remove it, or fetch it again")
            if path.is_file():  # no link to nowhere, as a session not fetched may be
                files[stem] = path
    if not files:
        raise DataError(
            f"no {name.replace(SESSION_NUMBER, 'YY')}{' or '.join(suffixes)} in {paths.betas}; get "
            f"it with `mindeye fetch nsd --subject {paths.subject}`, or correct --root"
        )
    return files


def find_sessions(paths: NsdPaths, file_format: FileFormat) -> dict[int, Path]:
    """Return the file of every session present, in order; sessions count from 1.

    Raises
    ------
    DataError
        If there is none, or a folder is in the place of one.
    """
    files = find_betas(paths, f"betas_session{SESSION_NUMBER}", file_format)
    return {int(name[-2:]): files[name] for name in sorted(files)}


def require_file(path: Path, what: str) -> Path:
    """Return the path of a file that has to be there.

    Raises
    ------
    DataError
        If it is not; says what it is and how to get it.
    """
    if not path.is_file():
        raise DataError(f"no {what} at {path}; {HINT}, or correct --root")
    return path
