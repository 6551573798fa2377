"""Files of NSD that are missing, damaged or of something else: each is told by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nsd_written import save_hdf5, save_nifti, write_tree

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
    for round_ in range(75):
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
    assert named > 25
