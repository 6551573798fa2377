"""An NSD tree written by hand, without the package, with numbers that tell where they belong."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from scipy.io import savemat

Plant = Callable[[np.ndarray, np.ndarray], np.ndarray]


def by_stimulus(ids: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """What a trial's betas begin with: a number for the 73k index (from 0)."""
    return ids * 97 % 9001


def by_trial(ids: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """The same for the trial of the whole experiment (from 0)."""
    return trials * 3


@dataclass
class Written:
    """The tree and what is in it, as the files count (from 1)."""

    root: Path
    subject: int
    grid: tuple[int, int, int]
    trials: int
    master: np.ndarray
    subjectim: np.ndarray
    sharedix: np.ndarray
    roi: np.ndarray
    volumes: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def ppdata(self) -> Path:
        return self.root / f"nsddata/ppdata/subj{self.subject:02d}/func1pt8mm/roi"

    @property
    def betas(self) -> Path:
        folder = "betas_fithrf_GLMdenoise_RR"
        return self.root / f"nsddata_betas/ppdata/subj{self.subject:02d}/func1pt8mm/{folder}"

    @property
    def design(self) -> Path:
        return self.root / "nsddata/experiments/nsd/nsd_expdesign.mat"

    @property
    def stimuli(self) -> Path:
        return self.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"

    def hdf5(self, session: int) -> Path:
        return self.betas / f"betas_session{session:02d}.hdf5"

    def nii(self, session: int) -> Path:
        return self.betas / f"betas_session{session:02d}.nii.gz"

    def save_design(self, **changed: object) -> None:
        content = {
            "masterordering": self.master[None].astype(float),
            "subjectim": self.subjectim.astype(np.uint32),
            "sharedix": self.sharedix[None].astype(np.uint16),
        }
        content |= changed
        self.design.parent.mkdir(parents=True, exist_ok=True)
        found = {k: v for k, v in content.items() if v is not None}
        savemat(self.design, found, do_compression=True)  # as MATLAB does


def save_nifti(path: Path, volume: np.ndarray, *, slope: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = bytearray(nib.Nifti1Image(volume, np.eye(4)).to_bytes())
    content[112:116] = struct.pack("<f", slope)  # scl_slope; the numbers stay as they are
    path.write_bytes(gzip.compress(bytes(content), 1))


def save_hdf5(path: Path, volume: np.ndarray, **kinds: object) -> None:
    """Write (X, Y, Z, T) as MATLAB does: h5py sees the axes the other way round."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {"chunks": (volume.shape[3], 1, 1, 1)} | kinds
    with h5py.File(path, "w") as file:
        file.create_dataset("betas", data=volume.transpose(3, 2, 1, 0), **kinds)


def write_tree(
    root: Path,
    seed: int,
    *,
    subject: int = 1,
    sessions: tuple[int, ...] = (1, 2, 3),
    trials: int = 20,
    grid: tuple[int, int, int] = (5, 4, 6),
    pictures: int = 30,
    shared: int = 7,
    plant: Plant = by_stimulus,
    forms: tuple[str, ...] = ("hdf5",),
) -> Written:
    """Write a tree in which every beta is a number of its trial plus ten times its place."""
    rng = np.random.default_rng(seed)
    total = shared + 8 * (pictures - shared) + 5
    numbers = rng.permutation(total) + 1
    common = np.sort(numbers[:shared])
    own = numbers[shared : shared + 8 * (pictures - shared)].reshape(8, -1)
    roi = rng.choice([-1, 0, 1], size=grid, p=[0.3, 0.4, 0.3]).astype(np.int16)
    tree = Written(
        root=root,
        subject=subject,
        grid=grid,
        trials=trials,
        master=rng.permutation(np.repeat(np.arange(1, pictures + 1), 3)),
        subjectim=np.concatenate([np.tile(common, (8, 1)), own], axis=1),
        sharedix=common,
        roi=roi,
    )
    tree.save_design()
    save_nifti(tree.ppdata / "nsdgeneral.nii.gz", roi)
    place = np.arange(np.prod(grid)).reshape(grid) * 10
    for session in sessions:
        t = np.arange((session - 1) * trials, session * trials)
        ids = tree.subjectim[subject - 1][tree.master[t] - 1] - 1
        tree.volumes[session] = (place[..., None] + plant(ids, t)).astype(np.int16)
        if "hdf5" in forms:
            save_hdf5(tree.hdf5(session), tree.volumes[session])
        if "nii" in forms:
            save_nifti(tree.nii(session), tree.volumes[session])
    tree.stimuli.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(tree.stimuli, "w") as file:
        brick = np.broadcast_to(
            np.arange(total, dtype=np.uint8)[:, None, None, None], (total, 4, 4, 3)
        )
        file.create_dataset("imgBrick", data=brick, chunks=(1, 4, 4, 3))
    return tree
