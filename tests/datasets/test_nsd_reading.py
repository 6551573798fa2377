"""The reader against trees written without it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from nsd_written import Written, by_stimulus, by_trial, save_hdf5, save_nifti, write_tree

from mindeye.datasets.nsd import betas as nsd_betas
from mindeye.datasets.nsd.design import read_design, shared_test_sets
from mindeye.datasets.nsd.layout import NsdConfig
from mindeye.datasets.nsd.reader import read_nsd
from mindeye.errors import ConfigError


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", ["hdf5", "nii"])
def test_betas_land_on_their_stimulus_whatever_the_order_and_the_sessions_present(
    tmp_path: Path, seed: int, form: str
) -> None:
    rng = np.random.default_rng([seed, 1])
    sessions = tuple(sorted(rng.choice(4, size=rng.integers(1, 5), replace=False) + 1))
    subject = int(rng.integers(1, 9))
    tree = write_tree(tmp_path, seed, subject=subject, sessions=sessions, forms=(form,))
    recording = read_nsd(tmp_path, NsdConfig(subject=subject))
    assert recording.sessions == list(sessions)
    places = np.flatnonzero(tree.roi > 0) * 10
    for session in sessions:
        rows = recording.rows_of_session(session)
        table = recording.trials.iloc[rows]
        ids = table["stimulus_id"].to_numpy(dtype=int)
        expected = (by_stimulus(ids, ids)[:, None] + places).astype(np.float32) / np.float32(300)
        np.testing.assert_array_equal(recording.read_betas(session), expected)
        # The pictures are filled with their number.
        for stimulus_id, picture in zip(ids, recording.read_pictures(
            [str(i) for i in ids]), strict=True):  # fmt: skip
            assert (picture == stimulus_id % 256).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_session_keeps_its_trials_when_others_are_missing(tmp_path: Path, seed: int) -> None:
    tree = write_tree(tmp_path, seed, sessions=(2, 4), plant=by_trial)
    recording = read_nsd(tmp_path, NsdConfig())
    assert recording.trials["trial"].tolist() == [*range(20, 40), *range(60, 80)]
    first = int(np.flatnonzero(tree.roi > 0)[0]) * 10
    for session in (2, 4):
        trials = recording.trials["trial"][recording.rows_of_session(session)].to_numpy()
        np.testing.assert_allclose(
            recording.read_betas(session)[:, 0] * 300, trials * 3 + first, rtol=1e-6
        )
    # Repeats count presentations in the sessions that are missing here too.
    earlier = [int((tree.master[:t] == tree.master[t]).sum()) for t in recording.trials["trial"]]
    assert recording.trials["repeat"].tolist() == earlier


def test_numbers_from_one_become_numbers_from_zero(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, 0, subject=3, pictures=10, shared=2, trials=4, sessions=(1,))
    tree.master = np.array([3, 1, 10, 3, *np.repeat([2, 4, 5], 3)])
    tree.save_design()
    recording = read_nsd(tmp_path, NsdConfig(subject=3))
    row = tree.subjectim[2]
    wanted = [row[2] - 1, row[0] - 1, row[9] - 1, row[2] - 1]
    assert recording.trials["stimulus_id"].tolist() == [str(i) for i in wanted]
    assert recording.trials["repeat"].tolist() == [0, 0, 0, 1]
    assert recording.trials["session"].tolist() == [1] * 4
    by_id = recording.stimuli.set_index("stimulus_id")["shared"]
    assert by_id[str(row[0] - 1)]
    assert by_id.sum() == 1
    assert recording.stimuli["stimulus_id"].astype(int).is_monotonic_increasing


def test_real_sessions_have_twelve_runs_of_63_and_62(tmp_path: Path) -> None:
    write_tree(tmp_path, 0, trials=750, sessions=(2,), pictures=500, grid=(2, 3, 4))
    trials = read_nsd(tmp_path, NsdConfig()).trials
    assert trials["run"].value_counts(sort=False).tolist() == [63, 62] * 6
    assert trials["run"].is_monotonic_increasing


def test_voxels_are_in_c_order_over_x_y_z(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, 1)
    recording = read_nsd(tmp_path, NsdConfig())
    with h5py.File(tree.hdf5(2)) as file:
        stored = file["betas"][()]
    naive = stored.transpose(3, 2, 1, 0)[tree.roi > 0].T.astype(np.float32) / np.float32(300)
    np.testing.assert_array_equal(recording.read_betas(2), naive)
    assert not np.array_equal(naive, stored[:, tree.roi.T > 0].astype(np.float32) / np.float32(300))
    voxels = recording.voxels
    np.testing.assert_array_equal(voxels[["x", "y", "z"]], np.argwhere(tree.roi > 0))
    np.testing.assert_array_equal(voxels["flat_index"], np.flatnonzero(tree.roi.ravel() > 0))


@pytest.mark.parametrize(
    "kinds",
    [
        {"chunks": None},
        {"chunks": (1, 6, 4, 5)},
        {"chunks": (7, 2, 3, 2), "compression": "gzip", "shuffle": True},
        {"chunks": (20, 1, 1, 1), "dtype": ">i2"},
        {"chunks": (20, 1, 1, 1), "fletcher32": True},
    ],
)
@pytest.mark.parametrize("limit", [200, 100_000_000])
def test_any_layout_of_the_file_gives_the_same_betas(
    tmp_path: Path, kinds: dict[str, object], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nsd_betas, "BLOCK_BYTES", limit)
    tree = write_tree(tmp_path, 2, sessions=(1,))
    wanted = read_nsd(tmp_path, NsdConfig()).read_betas(1)
    save_hdf5(tree.hdf5(1), tree.volumes[1], **kinds)
    np.testing.assert_array_equal(read_nsd(tmp_path, NsdConfig()).read_betas(1), wanted)
    tree.hdf5(1).unlink()
    save_nifti(tree.nii(1), tree.volumes[1])
    np.testing.assert_array_equal(read_nsd(tmp_path, NsdConfig()).read_betas(1), wanted)


def test_chunks_never_written_are_zeros(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, 2, sessions=(1,))
    x, y, z = np.argwhere(tree.roi > 0)[3]
    with h5py.File(tree.hdf5(1), "w") as file:
        data = file.create_dataset("betas", (20, 6, 4, 5), "i2", chunks=(20, 1, 1, 1))
        data[:, z, y, x] = tree.volumes[1][x, y, z]
    betas = read_nsd(tmp_path, NsdConfig()).read_betas(1)
    assert (betas[:, 3] > 0).any()
    assert not np.delete(betas, 3, axis=1).any()


def test_hdf5_is_taken_where_both_forms_are_there_unless_told(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, 3, sessions=(1, 2), forms=("hdf5", "nii"))
    tree.hdf5(2).unlink()
    names = [p.name for p in read_nsd(tmp_path, NsdConfig()).inputs[:2]]
    assert names == ["betas_session01.hdf5", "betas_session02.nii.gz"]
    assert read_nsd(tmp_path, NsdConfig(file_format="hdf5")).sessions == [1]
    told = read_nsd(tmp_path, NsdConfig(file_format="nii"))
    assert [p.suffix for p in told.inputs[:2]] == [".gz", ".gz"]


def test_a_nifti_header_that_says_one_in_300_means_the_same(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, 3, sessions=(1,), forms=("nii",))
    plain = read_nsd(tmp_path, NsdConfig()).read_betas(1)
    save_nifti(tree.nii(1), tree.volumes[1], slope=1 / 300)
    np.testing.assert_array_equal(read_nsd(tmp_path, NsdConfig()).read_betas(1), plain)


def _labels(tree: Written) -> np.ndarray:
    labels = np.random.default_rng(9).choice([-1, 0, 1, 2, 5], size=tree.grid).astype(np.float64)
    save_nifti(tree.ppdata / "prf-visualrois.nii.gz", labels)
    return labels


@pytest.mark.parametrize(
    "roi", ["prf-visualrois", "prf-visualrois:2+5", "nsdgeneral, prf-visualrois:1"]
)
def test_regions_by_label_and_their_union(tmp_path: Path, roi: str) -> None:
    tree = write_tree(tmp_path, 4)
    labels = _labels(tree)
    wanted = {
        "prf-visualrois": labels > 0,
        "prf-visualrois:2+5": (labels == 2) | (labels == 5),
        "nsdgeneral, prf-visualrois:1": (tree.roi > 0) | (labels == 1),
    }[roi]
    voxels = read_nsd(tmp_path, NsdConfig(roi=roi)).voxels
    np.testing.assert_array_equal(voxels["flat_index"], np.flatnonzero(wanted))
    both = (tree.roi > 0) & (labels == 1)
    if "," in roi:
        inside = both.ravel()[voxels["flat_index"]]
        assert (voxels["roi"][inside] == "nsdgeneral;prf-visualrois:1").all()
        assert not (voxels["roi"][~inside] == "nsdgeneral;prf-visualrois:1").any()


def test_mask_and_noise_ceiling_leave_voxels_out(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, 5)
    rng = np.random.default_rng(0)
    mask = rng.random(tree.grid) < 0.6
    save_nifti(tmp_path / "mine.nii.gz", mask.astype(np.uint8))
    ncsnr = rng.random(tree.grid).astype(np.float32)
    ncsnr[tree.roi > 0] *= 2
    ncsnr[0] = np.nan
    save_nifti(tree.betas / "ncsnr.nii.gz", ncsnr)
    config = NsdConfig(mask=str(tmp_path / "mine.nii.gz"), min_noise_ceiling=0.4)
    recording = read_nsd(tmp_path, config)
    share = ncsnr.astype(float) ** 2 / (ncsnr.astype(float) ** 2 + 1)
    wanted = (tree.roi > 0) & mask & (share >= 0.4)
    assert 3 < wanted.sum() < (tree.roi > 0).sum()
    np.testing.assert_array_equal(recording.voxels["flat_index"], np.flatnonzero(wanted))
    np.testing.assert_allclose(recording.voxels["file_noise_ceiling"], share[wanted])
    assert {tmp_path / "mine.nii.gz", tree.betas / "ncsnr.nii.gz"} <= set(recording.inputs)


def test_no_region_of_a_subject_needs_a_noise_ceiling(tmp_path: Path) -> None:
    write_tree(tmp_path, 5)
    assert "ncsnr" not in read_nsd(tmp_path, NsdConfig()).voxels


@pytest.mark.parametrize(
    "roi", ["../nsdgeneral", "a/b", "", "a,,b", "x:0", "x:1+", ".hidden", "a..b"]
)
def test_names_of_regions_are_checked(roi: str) -> None:
    with pytest.raises(ConfigError):
        NsdConfig(roi=roi)


@pytest.mark.parametrize("seed", range(3))
def test_sets_of_test_pictures_by_their_definitions(tmp_path: Path, seed: int) -> None:
    tree = write_tree(tmp_path, seed, pictures=700, shared=200, trials=50, sessions=())
    # As in NSD, pictures come in for the first time until the end.
    rng = np.random.default_rng(seed)
    first = np.repeat(rng.random(700), 3)
    time = first + (1 - first) * rng.random(2100)
    tree.master = (np.argsort(time) // 3 + 1)[: 40 * 50]
    tree.save_design()
    design = read_design(tree.design)
    everything = set(range(10_000))
    sets = shared_test_sets(design, 2, 50, everything)
    assert list(sets) == ["shared1000", "shared982", "special515"]
    wanted: dict[str, list[int]] = {name: [] for name in sets}
    for position, number in enumerate(tree.sharedix, start=1):
        wanted["shared1000"].append(number - 1)
        if position in tree.master[: 37 * 50].tolist():
            wanted["shared982"].append(number - 1)
        if tree.master[: 30 * 50].tolist().count(position) == 3:
            wanted["special515"].append(number - 1)
    assert {n: [int(i) for i in ids] for n, ids in sets.items()} == wanted
    assert 0 < len(sets["special515"]) < len(sets["shared982"]) < len(sets["shared1000"])
    some = set(wanted["special515"][::2])
    assert [int(i) for i in shared_test_sets(design, 2, 50, some)["shared1000"]] == sorted(some)
