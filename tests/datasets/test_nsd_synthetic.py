"""NSD-synthetic from files written here by hand: pairing, order of pictures, voxels, refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from nsd_written import save_hdf5, save_nifti
from scipy.io import savemat

from mindeye.datasets.nsd.synthetic import SyntheticConfig, as_displayed, read_synthetic
from mindeye.errors import ConfigError, DataError
from mindeye.preparation.config import PrepareConfig
from mindeye.preparation.prepare import prepare

GRID = (4, 3, 5)
SHARED, OWN, RUNS, LENGTH = 6, 3, 8, 5
FOLDER = "nsdsyntheticbetas_fithrf_GLMdenoise_RR"


@dataclass
class Tree:
    root: Path
    subject: int
    master: np.ndarray  # from 1
    roi: np.ndarray
    volume: np.ndarray

    @property
    def betas(self) -> Path:
        space = f"nsddata_betas/ppdata/subj{self.subject:02d}/func1pt8mm"
        return self.root / space / FOLDER / "betas_nsdsynthetic.hdf5"

    @property
    def design(self) -> Path:
        return self.root / "nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat"

    @property
    def stimuli(self) -> Path:
        return self.root / "nsddata_stimuli/stimuli/nsdsynthetic/nsdsynthetic_stimuli.hdf5"

    @property
    def own(self) -> Path:
        name = f"nsdsynthetic_colorstimuli_subj{self.subject:02d}.hdf5"
        return self.stimuli.with_name(name)

    @property
    def region(self) -> Path:
        folder = f"nsddata/ppdata/subj{self.subject:02d}/func1pt8mm/roi"
        return self.root / folder / "nsdgeneral.nii.gz"

    def expected(self, places: np.ndarray) -> np.ndarray:
        """Betas (T, V) of places (V, 3), straight from what was written."""
        return np.stack([self.volume[x, y, z] for x, y, z in places], axis=1) / np.float32(300)


def save_bricks(path: Path, first: int, count: int, *, channels: tuple[int, ...] = (3,)) -> None:
    """Picture k is 25 k on the left half of an 8 x 4 field and 25 k + 5 on the right one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    value = 25 * np.arange(first, first + count)[:, None, None] + 5 * (np.arange(8) >= 4)
    brick = np.broadcast_to(value, (count, 4, 8)).astype(np.uint8)
    brick = np.broadcast_to(brick.reshape(count, 4, 8, *[1 for _ in channels]),
                            (count, 4, 8, *channels))  # fmt: skip
    with h5py.File(path, "w") as file:
        file.create_dataset("imgBrick", data=brick)


def write(root: Path, seed: int = 0, *, subject: int = 2) -> Tree:
    rng = np.random.default_rng(seed)
    pictures = SHARED + OWN
    master = np.r_[rng.permutation(pictures), rng.integers(0, pictures, RUNS * LENGTH - pictures)]
    master[11] = master[10]  # within run 2
    master[15] = master[14]  # across runs 2 and 3: no one-back
    roi = rng.choice([-1, 0, 1], size=GRID, p=[0.3, 0.3, 0.4]).astype(np.int16)
    place = np.arange(np.prod(GRID)).reshape(GRID)
    volume = place[..., None] * 11 + master * 700 + np.arange(len(master)) * 3
    tree = Tree(root, subject, master + 1, roi, volume.astype(np.int16))
    save_hdf5(tree.betas, tree.volume)
    save_nifti(tree.region, roi)
    tree.design.parent.mkdir(parents=True, exist_ok=True)
    savemat(tree.design, {"masterordering": tree.master[None].astype(float)})
    save_bricks(tree.stimuli, 0, SHARED)
    save_bricks(tree.own, SHARED, OWN)
    return tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return write(tmp_path / "nsd")


def read(tree: Tree, **kinds: object):
    return read_synthetic(tree.root, SyntheticConfig(subject=tree.subject, **kinds))


def test_every_beta_stands_beside_the_picture_that_was_shown(tree: Tree) -> None:
    recording = read(tree, values="stored", field="screen")
    betas = recording.read_betas(1)
    places = np.argwhere(tree.roi > 0)
    np.testing.assert_allclose(betas, tree.expected(places), rtol=1e-6)
    ids = list(recording.stimuli["stimulus_id"])
    value = {s: p[0, 0, 0] for s, p in zip(ids, recording.read_pictures(ids), strict=True)}
    shown = [value[s] for s in recording.trials["stimulus_id"]]
    np.testing.assert_array_equal(shown, 25 * (tree.master - 1))


def test_nifti_gives_the_betas_of_hdf5(tree: Tree) -> None:
    before = read(tree).read_betas(1)
    save_nifti(tree.betas.with_suffix("").with_suffix(".nii.gz"), tree.volume)
    np.testing.assert_array_equal(read(tree, file_format="nii").read_betas(1), before)


def test_a_subjects_own_pictures_come_after_the_shared_ones_under_ids_of_its_own(
    tree: Tree,
) -> None:
    recording = read(tree, values="stored")
    ids = list(recording.stimuli["stimulus_id"])
    assert ids[:2] == ["synthetic_000", "synthetic_001"]
    assert ids[SHARED:] == [f"synthetic_{i:03d}_subj02" for i in (6, 7, 8)]
    assert list(recording.stimuli["shared"]) == [True] * SHARED + [False] * OWN
    (first,) = recording.read_pictures(["synthetic_006_subj02"])
    with h5py.File(tree.own) as file:
        np.testing.assert_array_equal(first, file["imgBrick"][0][:, 2:6])
    with pytest.raises(DataError, match=r"no picture .*subj01"):
        list(recording.read_pictures(["synthetic_006_subj01"]))


def test_tasks_alternate_by_run_and_the_filter_keeps_the_rows_of_the_file(tree: Tree) -> None:
    whole = read(tree)
    betas = whole.read_betas(1)
    for kinds, wanted in (
        ({"task": "fixation"}, 0),
        ({"task": "one-back"}, 1),
        ({"task": "fixation", "first_task": "one-back"}, 1),
    ):
        part = read(tree, **kinds)
        rows = np.flatnonzero(np.arange(RUNS * LENGTH) // LENGTH % 2 == wanted)
        np.testing.assert_array_equal(part.trials["trial"], rows)
        np.testing.assert_array_equal(part.read_betas(1), betas[rows])
        assert set(part.stimuli["stimulus_id"]) == set(part.trials["stimulus_id"])


def test_one_back_trials_repeat_the_picture_before_within_a_run_only(tree: Tree) -> None:
    trials = read(tree).trials
    assert trials["one_back"].iloc[11]
    assert tree.master[15] == tree.master[14]
    assert not trials["one_back"].iloc[15]
    same = [
        i for i in range(1, RUNS * LENGTH) if i % LENGTH and tree.master[i] == tree.master[i - 1]
    ]
    assert list(np.flatnonzero(trials["one_back"])) == same


def test_the_field_of_nsd_is_the_central_square(tree: Tree) -> None:
    wide = next(iter(read(tree, field="screen", values="stored").read_pictures(["synthetic_002"])))
    square = next(iter(read(tree, values="stored").read_pictures(["synthetic_002"])))
    assert wide.shape == (4, 8, 3)
    np.testing.assert_array_equal(square, wide[:, 2:6])
    assert set(square[0, :, 0]) == {50, 55}


def test_values_of_nsd_are_the_root_of_the_stored_ones_by_hand() -> None:
    # 255 sqrt(64 / 255) = 127.75, sqrt(255 x 1) = 15.97, cut off after the point
    assert as_displayed("nsd")[[0, 1, 64, 255]].tolist() == [0, 15, 127, 255]
    assert as_displayed("stored").tolist() == list(range(256))


def shuffled_subject(tree: Tree, out: Path, order: np.ndarray) -> Path:
    recording = read(tree)
    prepare(
        replace(
            recording,
            voxels=recording.voxels.iloc[order].reset_index(drop=True),
            read_betas=lambda s: recording.read_betas(s)[:, order],
        ),
        out,
        PrepareConfig(test="every", no_alignment_test=True),
    )
    return out


def test_the_voxels_of_a_prepared_subject_are_read_in_its_order(tree: Tree, tmp_path: Path) -> None:
    places = np.argwhere(tree.roi > 0)
    order = np.random.default_rng(3).permutation(len(places))[: len(places) - 2]
    out = shuffled_subject(tree, tmp_path / "prepared", order)
    tree.region.unlink()  # regions are not asked for
    recording = read(tree, voxels_of=out)
    np.testing.assert_array_equal(recording.voxels[["x", "y", "z"]], places[order])
    np.testing.assert_allclose(recording.read_betas(1), tree.expected(places[order]), rtol=1e-6)
    flat = [int(np.ravel_multi_index(tuple(p), GRID)) for p in places[order]]
    assert recording.voxels["flat_index"].tolist() == flat


def test_voxels_of_another_person_or_grid_are_refused(tree: Tree, tmp_path: Path) -> None:
    order = np.arange((tree.roi > 0).sum())
    out = shuffled_subject(tree, tmp_path / "prepared", order)
    other = write(tmp_path / "other", 1, subject=3)
    with pytest.raises(DataError, match="one person are not those of another"):
        read(other, voxels_of=out)
    save_hdf5(tree.betas, np.zeros((5, 4, 6, RUNS * LENGTH), dtype=np.int16))
    with pytest.raises(DataError, match="grid"):
        read(tree, voxels_of=out)


def test_voxels_of_excludes_a_mask_and_a_region(tmp_path: Path) -> None:
    for kinds in ({"mask": "m.nii.gz"}, {"roi": "prf-visualrois"}):
        with pytest.raises(ConfigError, match="voxels_of"):
            SyntheticConfig(voxels_of=tmp_path, **kinds)
    with pytest.raises(ConfigError, match="task"):
        SyntheticConfig(task="memory")  # type: ignore[arg-type]


def test_a_session_goes_through_the_preparation(tree: Tree, tmp_path: Path) -> None:
    recording = read(tree)
    config = PrepareConfig(test="every", no_alignment_test=True, size=4, zscore="none")
    subject = prepare(recording, tmp_path / "out", config)
    assert subject.splits["test"] == list(recording.stimuli["stimulus_id"])
    np.testing.assert_allclose(subject.betas, recording.read_betas(1), atol=1e-6)
    assert subject.info["source"].startswith("NSD-synthetic")
    pictures = list(recording.read_pictures(subject.splits["test"]))
    np.testing.assert_array_equal(subject.pictures, pictures)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def design(tree: Tree, master: np.ndarray) -> None:
    savemat(tree.design, {"masterordering": master})


FAULTS: dict[str, tuple[Callable[[Tree], object], str]] = {
    "counts from 0": (lambda t: design(t, t.master[None] - 1), "count from 1"),
    "a trial short": (lambda t: design(t, t.master[None, :-1]), r"\(1, 39\), the betas have 40"),
    "a picture not shown": (
        lambda t: design(t, np.where(t.master == 9, 8, t.master)), "8 pictures"),
    "not a number": (lambda t: design(t, np.full((1, 40), np.nan)), "whole numbers"),
    "two rows": (lambda t: design(t, t.master.reshape(2, 20)), "equally many"),
    "text": (lambda t: design(t, np.array(["a"])), "save with -v7"),
    "no order": (lambda t: savemat(t.design, {"other": 1}), r"lacks \['masterordering'\]"),
    "design cut off": (lambda t: cut(t.design), "no MATLAB file"),
    "no design": (lambda t: t.design.unlink(), "no trial order"),
    "shared pictures cut off": (lambda t: cut(t.stimuli), "cut off, damaged"),
    "no pictures of its own": (lambda t: t.own.unlink(), "no pictures at"),
    "too few of its own": (lambda t: save_bricks(t.own, SHARED, 2), "of another data set"),
    "pictures of four channels": (
        lambda t: save_bricks(t.own, 0, 3, channels=(4,)), "pictures are uint8"),
    "betas cut off": (lambda t: cut(t.betas), "cut off, damaged"),
    "no betas": (lambda t: t.betas.unlink(), "no betas_nsdsynthetic.* or"),
    "float betas": (lambda t: save_hdf5(t.betas, t.volume.astype(np.float32)), "int16"),
    "axes swapped": (lambda t: save_hdf5(t.betas, t.volume.transpose(1, 0, 2, 3)), "swapped"),
    "region of another grid": (
        lambda t: save_nifti(t.region, np.ones((2, 2, 2), np.int16)), "different subjects"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(tree: Tree, name: str) -> None:
    plant, message = FAULTS[name]
    plant(tree)
    with pytest.raises(DataError, match=message):
        read(tree)


def test_pictures_damaged_after_the_header_are_named(tree: Tree) -> None:
    recording = read(tree)
    cut(tree.own)
    with pytest.raises(DataError, match="cut off, damaged"):
        list(recording.read_pictures(["synthetic_007_subj02"]))
