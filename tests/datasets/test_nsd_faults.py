"""Files of NSD that are missing, damaged or of something else: each is told by name."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from nsd_written import Written, save_hdf5, save_nifti, write_tree

from mindeye.datasets.nsd.layout import NsdConfig
from mindeye.datasets.nsd.reader import read_nsd
from mindeye.datasets.recording import Recording
from mindeye.errors import ConfigError, DataError


def _read_everything(root: Path, config: NsdConfig) -> Recording:
    recording = read_nsd(root, config)
    for session in recording.sessions:
        recording.read_betas(session)
    list(recording.read_pictures(recording.stimuli["stimulus_id"].tolist()))
    return recording


def _cut(path: Path, share: float = 0.6) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(bytes(content))


def _rename_key(path: Path, old: str, new: str) -> None:
    with h5py.File(path, "r+") as file:
        file.move(old, new)


def _as_nii(tree: Written, change: Callable[[Written], object]) -> None:
    for session, volume in tree.volumes.items():
        tree.hdf5(session).unlink()
        save_nifti(tree.nii(session), volume)
    change(tree)


def _swap(tree: Written, axes: tuple[int, ...]) -> None:
    for session, volume in tree.volumes.items():
        save_hdf5(tree.hdf5(session), volume.transpose(axes), chunks=None)


def _twice(values: np.ndarray) -> np.ndarray:
    changed = values.copy()
    changed[3, -1] = changed[3, -2]
    return changed


FAULTS: dict[str, tuple[Callable[[Written], object], str]] = {
    "no design": (lambda t: t.design.unlink(), r"nsd_expdesign.mat.*mindeye fetch nsd"),
    "no region": (lambda t: (t.ppdata / "nsdgeneral.nii.gz").unlink(), "nsdgeneral.*fetch nsd"),
    "no pictures": (lambda t: t.stimuli.unlink(), "nsd_stimuli.hdf5.*fetch nsd"),
    "no betas": (lambda t: [p.unlink() for p in t.betas.iterdir()], "betas_sessionYY.*fetch nsd"),
    "betas cut off": (lambda t: _cut(t.hdf5(2)), "betas_session02.hdf5 is cut off or damaged"),
    "betas empty": (lambda t: t.hdf5(1).write_bytes(b""), "betas_session01.hdf5 is cut off"),
    "betas are text": (lambda t: t.hdf5(1).write_text("<html>403"), "session01.hdf5 is cut off"),
    "another key": (
        lambda t: _rename_key(t.hdf5(2), "betas", "data"),
        r"session02.hdf5 has no dataset 'betas'; it has \['data'\]",
    ),
    "betas are floats": (
        lambda t: save_hdf5(t.hdf5(2), t.volumes[2].astype(np.float32)),
        "session02.hdf5 holds float32; NSD's betas are int16",
    ),
    "betas are unsigned": (
        lambda t: save_hdf5(t.hdf5(2), t.volumes[2].astype(np.uint16)),
        "holds uint16",
    ),
    "three dimensions": (
        lambda t: save_hdf5(t.hdf5(2), t.volumes[2][:1], chunks=None)
        or _flatten(t.hdf5(2)),
        "betas have four dimensions",
    ),
    "axes as in nibabel": (lambda t: _swap(t, (3, 2, 1, 0)), "axes .* look swapped"),
    "x and z swapped": (lambda t: _swap(t, (2, 1, 0, 3)), "axes .* look swapped"),
    "another subject's betas": (
        lambda t: save_hdf5(t.hdf5(3), np.zeros((7, 4, 9, 20), np.int16)),
        "session03.hdf5 is on a grid of 7 x 4 x 9, .* 5 x 4 x 6: .*different subjects",
    ),
    "another subject's region": (
        lambda t: save_nifti(t.ppdata / "nsdgeneral.nii.gz", np.ones((8, 8, 8), np.int16)),
        "8 x 8 x 8: they are of different subjects",
    ),
    "a region of real size": (
        lambda t: save_nifti(t.ppdata / "nsdgeneral.nii.gz", np.ones((82, 106, 84), np.int16)),
        "82 x 106 x 84 .subj02's in NSD",
    ),
    "sessions of unequal length": (
        lambda t: save_hdf5(t.hdf5(3), t.volumes[3][..., :15]),
        "session03.hdf5 has 15 trials, betas_session01.hdf5 has 20",
    ),
    "region cut off": (lambda t: _cut(t.ppdata / "nsdgeneral.nii.gz"), "nsdgeneral.* readable"),
    "region empty": (
        lambda t: save_nifti(t.ppdata / "nsdgeneral.nii.gz", np.minimum(t.roi, 0)),
        "no voxel above 0",
    ),
    "region of four dimensions": (
        lambda t: save_nifti(t.ppdata / "nsdgeneral.nii.gz", np.stack([t.roi] * 2, axis=-1)),
        "one volume",
    ),
    "design cut off": (lambda t: _cut(t.design), "not a readable MATLAB file|lacks"),
    "design is text": (lambda t: t.design.write_text("no " * 200), "not a readable MATLAB file"),
    "design empty": (lambda t: t.design.write_bytes(b""), "not a readable MATLAB file"),
    "design lacks the order": (
        lambda t: t.save_design(masterordering=None),
        "lacks .'masterordering'.; it has .*subjectim",
    ),
    "order counts from 0": (
        lambda t: t.save_design(masterordering=t.master[None] - 1),
        "whole numbers that count from 1",
    ),
    "order of 73k numbers": (
        lambda t: t.save_design(masterordering=t.subjectim[:1]),
        "positions in a subject's list",
    ),
    "four times the same": (
        lambda t: t.save_design(masterordering=np.r_[t.master, t.master[0]][None]),
        "at most 3 times",
    ),
    "order too short": (
        lambda t: t.save_design(masterordering=t.master[None, :45]),
        "session 3 of 20 trials each ends at trial 60, but the trial order has 45",
    ),
    "order in words": (lambda t: t.save_design(masterordering="abc"), "not numbers"),
    "order with gaps": (
        lambda t: t.save_design(masterordering=np.where(t.master == 1, np.nan, t.master)[None]),
        "whole numbers",
    ),
    "seven subjects": (lambda t: t.save_design(subjectim=t.subjectim[:7]), "not .8, pictures."),
    "shared ones differ": (
        lambda t: t.save_design(sharedix=t.sharedix[None, ::-1]),
        "must be the shared ones",
    ),
    "one listed twice": (
        lambda t: t.save_design(subjectim=_twice(t.subjectim)),
        "lists a picture twice for subject 4",
    ),
    "a 73k number too large": (
        lambda t: t.save_design(subjectim=_largest_replaced(t.subjectim)),
        "pictures, but the trial order names number 5000",
    ),
    "pictures cut off": (lambda t: _cut(t.stimuli), "nsd_stimuli.hdf5 is cut off or damaged"),
    "pictures under another key": (
        lambda t: _rename_key(t.stimuli, "imgBrick", "images"),
        r"no dataset 'imgBrick'; it has \['images'\]",
    ),
    "pictures of other axes": (
        lambda t: _pictures(t.stimuli, np.zeros((3, 4, 4, 200), np.uint8)),
        "pictures are uint8",
    ),
    "pictures of floats": (
        lambda t: _pictures(t.stimuli, np.zeros((200, 4, 4, 3))),
        "holds float64",
    ),
    "nii cut off": (
        lambda t: _as_nii(t, lambda t: _cut(t.nii(2))),
        "betas_session02.nii.gz is cut off or damaged",
    ),
    "nii damaged": (
        lambda t: _as_nii(t, lambda t: _flip(t.nii(2), -6)),
        "betas_session02.nii.gz is cut off or damaged",
    ),
    "nii not compressed": (
        lambda t: _as_nii(t, lambda t: t.nii(2).write_bytes(b"x" * 900)),
        "betas_session02.nii.gz is cut off or damaged",
    ),
    "nii shorter than its header": (
        lambda t: _as_nii(t, lambda t: _shorten(t.nii(2))),
        "bytes are missing at the end",
    ),
    "nii with a scale": (
        lambda t: _as_nii(t, lambda t: save_nifti(t.nii(2), t.volumes[2], slope=0.5)),
        "scales its numbers by 0.5",
    ),
    "nii of floats with NaN": (
        lambda t: _as_nii(t, lambda t: save_nifti(t.nii(2), t.volumes[2] * np.float32(np.nan))),
        "holds float32",
    ),
    "nii of swapped axes": (
        lambda t: _as_nii(
            t, lambda t: [save_nifti(t.nii(s), v.T.copy()) for s, v in t.volumes.items()]
        ),
        "axes .* look swapped",
    ),
}  # fmt: skip


def _flatten(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        flat = file["betas"][:, :, :, 0]
        del file["betas"]
        file["betas"] = flat


def _largest_replaced(values: np.ndarray) -> np.ndarray:
    return np.where(values == values.max(), 5000, values)


def _pictures(path: Path, pictures: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["imgBrick"] = pictures


def _shorten(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-100]))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_files_has_a_name(tmp_path: Path, fault: str) -> None:
    change, message = FAULTS[fault]
    tree = write_tree(tmp_path, 0)
    _read_everything(tmp_path, NsdConfig())
    change(tree)
    with pytest.raises(DataError, match=message) as caught:
        _read_everything(tmp_path, NsdConfig())
    assert "\n" not in str(caught.value)


def test_a_noise_ceiling_is_needed_only_when_asked_for(tmp_path: Path) -> None:
    write_tree(tmp_path, 0)
    read_nsd(tmp_path, NsdConfig())
    with pytest.raises(DataError, match=r"no noise ceiling .*ncsnr.nii.gz.*fetch nsd"):
        read_nsd(tmp_path, NsdConfig(min_noise_ceiling=0.1))


def test_unknown_ceilings_leave_no_voxel_rather_than_crash(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, 0)
    save_nifti(tree.betas / "ncsnr.nii.gz", np.full(tree.grid, np.nan, np.float32))
    assert read_nsd(tmp_path, NsdConfig()).voxels["file_noise_ceiling"].isna().all()
    with pytest.raises(DataError, match=r"no voxel .* ceiling of at least 0.1"):
        read_nsd(tmp_path, NsdConfig(min_noise_ceiling=0.1))


def test_a_mask_of_another_grid_or_none_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path, 0)
    mask = tmp_path / "mask.nii.gz"
    with pytest.raises(DataError, match=r"no mask at .*mask.nii.gz"):
        read_nsd(tmp_path, NsdConfig(mask=str(mask)))
    save_nifti(mask, np.ones((3, 3, 3), np.uint8))
    with pytest.raises(DataError, match="another subject's"):
        read_nsd(tmp_path, NsdConfig(mask=str(mask)))


def test_labels_that_are_not_there_are_told_with_those_that_are(tmp_path: Path) -> None:
    write_tree(tmp_path, 0)
    with pytest.raises(DataError, match=r"labelled \(3, 4\); its labels are \[1\]"):
        read_nsd(tmp_path, NsdConfig(roi="nsdgeneral:3+4"))


def test_betas_that_change_between_looking_and_reading_are_told(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, 0)
    recording = read_nsd(tmp_path, NsdConfig())
    save_hdf5(tree.hdf5(2), tree.volumes[2][..., :10])
    with pytest.raises(DataError, match="has changed"):
        recording.read_betas(2)


@pytest.mark.parametrize("stimulus_id", ["100000", "-1", "../x", "", "1.5"])
def test_pictures_are_asked_for_by_numbers_that_exist(tmp_path: Path, stimulus_id: str) -> None:
    write_tree(tmp_path, 0)
    with pytest.raises(DataError, match="is no picture of"):
        list(read_nsd(tmp_path, NsdConfig()).read_pictures([stimulus_id]))


@pytest.mark.parametrize(
    "wrong",
    [{"subject": 0}, {"subject": 9}, {"betas": "betas_x"}, {"file_format": "npy"},
     {"min_noise_ceiling": 30.0}, {"min_noise_ceiling": -0.1}],
)  # fmt: skip
def test_choices_that_do_not_exist_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        NsdConfig(**wrong)


def test_random_damage_never_escapes_without_a_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tree = write_tree(tmp_path, 0, sessions=(1, 2), forms=("hdf5",))
    tree.hdf5(2).unlink()
    save_nifti(tree.nii(2), tree.volumes[2])
    files = [tree.hdf5(1), tree.nii(2), tree.design, tree.stimuli,
             tree.ppdata / "nsdgeneral.nii.gz"]  # fmt: skip
    originals = {p: p.read_bytes() for p in files}
    named = 0
    for round_ in range(150):
        path = files[round_ % len(files)]
        content = bytearray(originals[path])
        for place in rng.integers(0, min(len(content), 3000), size=8):
            content[place] = rng.integers(256)
        path.write_bytes(bytes(content))
        try:
            _read_everything(tmp_path, NsdConfig())
        except DataError:
            named += 1
        path.write_bytes(originals[path])
    assert named > 50
