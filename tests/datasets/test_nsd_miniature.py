"""The miniature is laid out like NSD and holds the simulated subject's numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from mindeye.data.simulate import Simulation, simulate, simulate_subject, write_simulation
from mindeye.data.simulation import SimulateConfig
from mindeye.datasets.nsd.layout import NsdConfig
from mindeye.datasets.nsd.miniature import MiniatureConfig, miniature_of, write_miniature
from mindeye.datasets.nsd.reader import read_nsd
from mindeye.errors import ConfigError, DataError
from small_simulation import SMALL


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nsd")
    write_miniature(root, MiniatureConfig(file_format="both"), 0)
    return root


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(SMALL, 0)


def _betas(root: Path, subject: int) -> Path:
    return root / f"nsddata_betas/ppdata/subj{subject:02d}/func1pt8mm/betas_fithrf_GLMdenoise_RR"


def test_files_have_the_types_axes_and_chunks_of_nsd(miniature: Path) -> None:
    grids = []
    for subject in (1, 2):
        folder = miniature / f"nsddata/ppdata/subj{subject:02d}/func1pt8mm/roi"
        region = np.asarray(nib.load(folder / "nsdgeneral.nii.gz").dataobj)
        areas = np.asarray(nib.load(folder / "prf-visualrois.nii.gz").dataobj)
        assert set(np.unique(region)) == {-1, 0, 1}
        assert set(np.unique(areas)) == {-1, 0, *range(1, 8)}
        assert len(set(region.shape)) == 3
        grids.append(region.shape)
        with h5py.File(_betas(miniature, subject) / "betas_session02.hdf5") as file:
            data = file["betas"]
            assert data.dtype == np.int16
            assert data.shape == (30, *region.shape[::-1])
            assert data.chunks == (30, 1, 1, 1)
            assert data.compression is None
            stored = data[()].transpose(3, 2, 1, 0)
        image = nib.load(_betas(miniature, subject) / "betas_session02.nii.gz")
        assert image.get_data_dtype() == np.int16
        np.testing.assert_array_equal(np.asarray(image.dataobj), stored)
        assert not stored[region == -1].any()
        assert 200 < stored[region == 1].std() < 450  # unit variance and offsets, times 300
    assert grids[0] != grids[1]
    design = loadmat(miniature / "nsddata/experiments/nsd/nsd_expdesign.mat")
    assert design["masterordering"].shape == (1, 90)
    assert design["subjectim"].shape == (8, 30)
    assert design["sharedix"].shape == (1, 8)
    assert design["basiccnt"].sum() == 90
    assert np.bincount(design["masterordering"].ravel().astype(int)).tolist() == [0] + [3] * 30
    private = design["subjectim"][:, 8:]
    assert len(np.unique(private)) == private.size


def test_both_forms_and_both_subjects_read_back(miniature: Path) -> None:
    for subject in (1, 2):
        config = NsdConfig(subject=subject)
        recording = read_nsd(miniature, config)
        assert len(recording.voxels) == 120 + 5 * (subject - 1)
        assert recording.info["simulated"] is True
        again = read_nsd(miniature, replace(config, file_format="nii"))
        np.testing.assert_array_equal(recording.read_betas(3), again.read_betas(3))


def test_subjects_share_order_and_shared_pictures_and_nothing_else(miniature: Path) -> None:
    one, two = (read_nsd(miniature, NsdConfig(subject=s)) for s in (1, 2))
    shared = {r.subject: r.stimuli["shared"].to_numpy() for r in (one, two)}
    ids = {r.subject: r.stimuli["stimulus_id"].to_numpy() for r in (one, two)}
    common = set(ids["subj01"]) & set(ids["subj02"])
    assert common == set(ids["subj01"][shared["subj01"]]) == set(one.test_sets["shared1000"])
    assert len(common) == 8
    both = one.trials["stimulus_id"].isin(common)
    assert (one.trials["stimulus_id"][both] == two.trials["stimulus_id"][both]).all()
    assert (both == two.trials["stimulus_id"].isin(common)).all()
    private = set(ids["subj01"]) - common
    seen = {p.tobytes() for p in one.read_pictures(sorted(private, key=int))}
    other = {p.tobytes() for p in two.read_pictures(ids["subj02"].tolist())}
    assert len(seen) == 22
    assert not seen & other


def test_ninety_trials_tell_which_picture_was_seen(miniature: Path) -> None:
    """Repeats of one picture resemble each other more than under any of 200 other pairings."""
    recording = read_nsd(miniature, NsdConfig())
    betas = np.concatenate([recording.read_betas(s) for s in recording.sessions])
    session = recording.trials["session"].to_numpy()
    for s in recording.sessions:
        betas[session == s] -= betas[session == s].mean(axis=0)
    likeness = np.corrcoef(betas)
    np.fill_diagonal(likeness, 0)
    ids = recording.trials["stimulus_id"].to_numpy()

    def same(names: np.ndarray) -> float:
        return float(likeness[names[:, None] == names].sum())

    rng = np.random.default_rng(0)
    assert same(ids) > max(same(rng.permutation(ids)) for _ in range(200))
    assert same(ids) > max(same(np.roll(ids, k)) for k in (1, -1, 2))


def test_a_simulation_comes_back_beta_by_beta_and_picture_by_picture(
    tmp_path: Path, simulation: Simulation
) -> None:
    miniature_of(tmp_path, simulation)
    recording = read_nsd(tmp_path, NsdConfig())
    betas = np.concatenate([recording.read_betas(s) for s in recording.sessions])
    assert np.abs(betas - simulation.betas).max() <= 0.5 / 300 + 1e-6
    scenes = pd.read_csv(tmp_path / "mindeye_scenes.csv", dtype={"stimulus_id": str})
    name = dict(zip(scenes["stimulus_id"], scenes["scene"], strict=True))
    shown = recording.trials["stimulus_id"].map(name)
    assert (shown == simulation.trials["stimulus_id"]).all()
    assert (recording.trials["repeat"] == simulation.trials["repeat"]).all()
    assert (recording.trials["session"] == simulation.trials["session"] + 1).all()
    row = {s: i for i, s in enumerate(simulation.ids)}
    ids = recording.stimuli["stimulus_id"].tolist()
    for stimulus_id, picture in zip(ids, recording.read_pictures(ids), strict=True):
        np.testing.assert_array_equal(picture, simulation.pictures[row[name[stimulus_id]]])
    tests = {name[i] for i in recording.test_sets["shared1000"]}
    assert tests == set(simulation.ids[SMALL.train :])
    ceilings = recording.voxels["file_noise_ceiling"]
    np.testing.assert_allclose(ceilings, simulation.ceilings, atol=1e-4)


def test_same_seed_same_tree(tmp_path: Path) -> None:
    config = MiniatureConfig(subjects=1, sessions=1, voxels=40, file_format="nii")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_miniature(tmp_path / name, config, seed)
    file = "betas_session01.nii.gz"
    a, b, c = ((_betas(tmp_path / n, 1) / file).read_bytes() for n in "abc")
    assert a == b != c


def test_it_is_never_written_over_what_may_be_real(tmp_path: Path, simulation: Simulation) -> None:
    (tmp_path / "nsddata").mkdir()
    with pytest.raises(DataError, match="may be real data"):
        write_miniature(tmp_path, MiniatureConfig(), 0)
    with pytest.raises(DataError, match="may be real data"):
        miniature_of(tmp_path, simulation)


def test_sizes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="do not fit 30 pictures"):
        MiniatureConfig(sessions=4)
    with pytest.raises(ConfigError, match="equal sessions"):
        miniature_of(tmp_path, simulate(replace(SMALL, sessions=7), 0))
    with pytest.raises(ConfigError, match="at most 3 times"):
        miniature_of(tmp_path, simulate(replace(SMALL, repeats=4, sessions=4), 0))
    with pytest.raises(ConfigError, match="79 distinct scenes"):
        simulate(SMALL, 0, scenes=range(79))
    with pytest.raises(ConfigError, match="positions of stimuli"):
        simulate(SMALL, 0, order=np.array([0, 1, 80]))


def test_simulated_subjects_are_what_they_were_before_simulate_was_split(tmp_path: Path) -> None:
    """Numbers of the version before; other processors may round the last digits otherwise."""
    subject = simulate_subject(SMALL, 0, tmp_path / "s")
    first = [[1.3204123, -0.1801919, -1.3880544, 0.9670373],
             [0.65066874, -1.3340461, 1.2517452, -0.16038126]]  # fmt: skip
    np.testing.assert_allclose(subject.betas[:2, :4], first, atol=1e-4)
    np.testing.assert_allclose(
        subject.betas[100, 60:64], [-0.84880877, -0.03050507, -0.22363459, 0.24340323], atol=1e-4
    )


def test_simulating_in_memory_and_then_writing_is_the_same(
    tmp_path: Path, simulation: Simulation, small_subject: object
) -> None:
    written = write_simulation(simulation, tmp_path / "s")
    assert written.info["sha256"] == small_subject.info["sha256"]  # type: ignore[attr-defined]


def test_a_given_order_and_given_scenes_are_kept() -> None:
    config = SimulateConfig(train=20, test=4, sessions=2, voxels=30, noise_factors=2)
    order = np.random.default_rng(0).permutation(24)
    one = simulate(config, 0, order=order, scenes=range(24))
    assert one.shown.tolist() == order.tolist()
    plain = simulate(config, 0)
    np.testing.assert_array_equal(one.pictures, plain.pictures)
    other = simulate(config, 0, order=order, scenes=[*range(100, 120), *range(20, 24)])
    np.testing.assert_array_equal(other.pictures[20:], plain.pictures[20:])
    assert not (other.pictures[:20] == plain.pictures[:20]).all(axis=(1, 2, 3)).any()
    assert not np.isnan(one.betas).any()
