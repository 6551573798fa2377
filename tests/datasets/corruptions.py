"""Ways to break the files of a miniature of NSD; corruption_list.py says what each must lead to."""

from __future__ import annotations

import gzip
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from PIL import Image
from scipy.io import loadmat, savemat

from mindeye.datasets.nsd.layout import NsdPaths


class Tree(NsdPaths):
    """Subject 1 of a miniature on disk, and ways to break it."""

    def hdf5(self, session: int) -> Path:
        return self.session(session, "hdf5")

    def nii(self, session: int) -> Path:
        return self.session(session, "nii.gz")

    @property
    def region(self) -> Path:
        return self.roi("nsdgeneral")

    @property
    def mask(self) -> Path:
        return self.root / "mask.nii.gz"

    @property
    def list(self) -> Path:
        return self.root / "test.txt"

    def other(self, path: Path) -> Path:
        """The same file of subject 2."""
        return Path(str(path).replace("subj01", "subj02"))


# Bytes


def cut(path: Path, share: float = 0.6) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(bytes(content))


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


# HDF5


def change_dataset(path: Path, key: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write a dataset anew in the file's own chunks, or without where the shape has changed."""
    with h5py.File(path, "r+") as file:
        chunks, old = file[key].chunks, file[key][:]
        new = change(old)
        del file[key]
        file.create_dataset(key, data=new, chunks=chunks if new.shape == old.shape else None)


def change_betas(tree: Tree, session: int, change: Callable[[np.ndarray], np.ndarray]) -> None:
    change_dataset(tree.hdf5(session), "betas", change)


def change_all_betas(tree: Tree, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for session in (1, 2, 3):
        change_betas(tree, session, change)


def change_pictures(tree: Tree, change: Callable[[np.ndarray], np.ndarray]) -> None:
    change_dataset(tree.stimuli, "imgBrick", change)


def rename_key(path: Path, old: str, new: str) -> None:
    with h5py.File(path, "r+") as file:
        file.move(old, new)


def group_instead(path: Path, key: str) -> None:
    with h5py.File(path, "w") as file:
        file.create_group(key)


def link_to_nothing(path: Path, key: str) -> None:
    with h5py.File(path, "w") as file:
        file[key] = h5py.SoftLink("/elsewhere")


def same_for_all(values: np.ndarray) -> np.ndarray:
    """Return betas (T, Z, Y, X) that are those of the first trial throughout."""
    return np.repeat(values[:1], len(values), axis=0)


def set_voxel(tree: Tree, session: int, trials: slice, value: int) -> None:
    """Give one voxel of the region the same beta in some trials."""
    x, y, z = np.argwhere(volume_of(tree.region) > 0)[17]

    def change(values: np.ndarray) -> np.ndarray:
        values[trials, z, y, x] = value
        return values

    change_betas(tree, session, change)


def zero_slab(values: np.ndarray) -> np.ndarray:
    values[..., :2] = 0
    return values


def copy_trial(values: np.ndarray) -> np.ndarray:
    values[21] = values[4]
    return values


# NIfTI


def volume_of(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def save_nifti(path: Path, volume: np.ndarray, *, slope: float = 1.0) -> None:
    image = nib.Nifti1Image(volume, np.diag([1.8, 1.8, 1.8, 1.0]))
    content = bytearray(image.to_bytes())
    content[112:116] = np.float32(slope).tobytes()  # scl_slope; the numbers stay as they are
    path.write_bytes(gzip.compress(bytes(content), 1, mtime=0))


def change_volume(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    save_nifti(path, change(volume_of(path)))


def change_header(path: Path, place: slice, value: bytes) -> None:
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[place] = value
    path.write_bytes(gzip.compress(bytes(content), 1, mtime=0))


def shorten_inside(path: Path, count: int) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-count], 1, mtime=0))


def nan_block(volume: np.ndarray) -> np.ndarray:
    changed = volume.astype(np.float32)
    changed[:3] = np.nan
    return changed


# The trial order


def change_design(tree: Tree, **changes: Callable[[np.ndarray], object] | None) -> None:
    """Write the design anew, some variables changed, None leaves one out."""
    content = {k: v for k, v in loadmat(tree.design).items() if not k.startswith("__")}
    for name, change in changes.items():
        value = content.pop(name)
        if change is not None:
            content[name] = change(value)
    savemat(tree.design, content, do_compression=True)


def as_matlab_73(tree: Tree) -> None:
    content = loadmat(tree.design)
    with h5py.File(tree.design, "w") as file:
        for key in ("masterordering", "subjectim", "sharedix"):
            file[key] = content[key].T


def put_first(values: np.ndarray) -> np.ndarray:
    values[0, 0] = values[0, 1]
    return values


def four_of_one(master: np.ndarray) -> np.ndarray:
    first = master[0, 0]
    master[0, np.flatnonzero(master[0] != first)[0]] = first
    return master


def twice_for_subject_4(images: np.ndarray) -> np.ndarray:
    images[3, -1] = images[3, -2]
    return images


def roll_by_one(master: np.ndarray) -> np.ndarray:
    """Every picture one trial too late, through the whole experiment."""
    return np.roll(master, 1, axis=1)


def roll_in_sessions(master: np.ndarray) -> np.ndarray:
    return np.roll(master.reshape(3, 30), 1, axis=1).reshape(1, 90)


# Pictures


def copy_test_picture(tree: Tree, change: Callable[[np.ndarray], np.ndarray]) -> str:
    """Put a test picture into training under another id; return that id."""
    found = loadmat(tree.design)
    shared_count = found["sharedix"].size
    shared = int(found["sharedix"].ravel()[2]) - 1
    own = int(found["subjectim"][0, shared_count]) - 1

    def plant(pictures: np.ndarray) -> np.ndarray:
        pictures[own] = change(pictures[shared])
        return pictures

    change_pictures(tree, plant)
    return str(own)


def reorder_pictures(tree: Tree, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Deal the pictures that subject 1 saw anew among their own rows of the file."""
    rows = np.sort(loadmat(tree.design)["subjectim"][0].astype(int)) - 1

    def plant(pictures: np.ndarray) -> np.ndarray:
        pictures[rows] = change(pictures[rows])
        return pictures

    change_pictures(tree, plant)


def recompressed(picture: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))


def resampled(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture)
    small = image.resize((44, 44), Image.Resampling.BICUBIC)
    return np.asarray(small.resize(image.size, Image.Resampling.BICUBIC))


# Files renamed


def rotate_sessions(tree: Tree) -> None:
    tree.hdf5(1).rename(tree.root / "aside")
    tree.hdf5(2).rename(tree.hdf5(1))
    tree.hdf5(3).rename(tree.hdf5(2))
    (tree.root / "aside").rename(tree.hdf5(3))


def close_the_gap(tree: Tree) -> None:
    """Session 1 is missing and the others have been counted anew."""
    for session in (2, 3):
        tree.hdf5(session).rename(tree.hdf5(session - 1))
        tree.nii(session).unlink()


def remove_folder(path: Path) -> None:
    shutil.rmtree(path)


# At random


def damage(path: Path, rng: np.random.Generator) -> str:
    """Flip bytes, cut the file off, or zero or repeat a block; return what was done."""
    content = bytearray(path.read_bytes())
    size = len(content)
    kind = str(rng.choice(["flip", "cut", "zero", "repeat"]))
    start = int(rng.integers(size))
    # Headers are a small part of the bytes and most of the ways to go wrong.
    if rng.random() < 0.5:
        start = int(rng.integers(min(size, 3000)))
    length = int(rng.integers(1, 1 + min(5000, size - start)))
    if kind == "flip":
        for place in rng.integers(start, start + length, size=int(rng.integers(1, 20))):
            content[place] ^= int(rng.integers(1, 256))
    elif kind == "cut":
        del content[start:]
    elif kind == "zero":
        content[start : start + length] = bytes(length)
    else:
        content[start:start] = content[start : start + length]
    path.write_bytes(bytes(content))
    return f"{kind} at {start}, {length} bytes, of {path.name}"
