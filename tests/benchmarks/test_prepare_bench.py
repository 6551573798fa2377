"""The bench of preparations: real guards on its data, one set of numbers by every way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import ndimage

from benchmarks import batches
from benchmarks import prepare as prepare_benchmark
from benchmarks.prepare import PrepareBench, extrapolate, forty, table
from benchmarks.prepare_files import TreeConfig, chunk_offsets, make_tree, place_region
from benchmarks.prepare_worker import (
    FLOOR,
    OURS,
    READERS,
    STEPS,
    by_pread,
    find_chunks,
    in_percent,
)
from mindeye.cli import run_verb
from mindeye.datasets.nsd.layout import NsdConfig, NsdPaths
from mindeye.datasets.nsd.reader import read_nsd
from mindeye.errors import DataError, UsageError
from mindeye.files import read_json
from mindeye.preparation import prepare as preparation
from mindeye.preparation.prepare import prepare

SMALL = TreeConfig(sessions=2, trials=60, voxels=90, grid=(7, 9, 8), pictures=60, size=24)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree") / "nsd"
    assert make_tree(folder, SMALL)
    return folder


def test_the_tree_is_read_as_nsd_and_passes_every_guard(root: Path, tmp_path: Path) -> None:
    recording = read_nsd(root, NsdConfig())
    assert recording.info["simulated"]
    subject = prepare(recording, tmp_path / "out")
    assert subject.betas.shape == (120, 90)
    alignment = subject.info["preparation"]["alignment"]
    assert alignment["ok"]
    assert alignment["p_value"] <= 0.01


def test_its_files_are_laid_out_as_nsd_lays_them_out(root: Path) -> None:
    with h5py.File(NsdPaths(root, 1).session(2, "hdf5"), "r") as file:
        data = file["betas"]
        assert (data.shape, data.dtype, data.chunks) == ((60, 8, 9, 7), "<i2", (60, 1, 1, 1))
        assert data.compression is None
        offsets = chunk_offsets(data)
        assert len(np.unique(offsets)) == 7 * 9 * 8
        assert offsets.min() > 0
        # Region and rest differ: the former is normal with deviation 300 / sqrt(.3) = 548.
        inside = place_region((7, 9, 8), 90).T > 0
        values = data[:].astype(np.float64)
    assert abs(values[:, inside].std() - 548) < 20
    assert np.abs(values[:, ~inside]).max() <= 900 < np.abs(values[:, inside]).max()


def test_every_way_reads_the_numbers_that_h5py_reads(root: Path) -> None:
    path = NsdPaths(root, 1).session(1, "hdf5")
    places = read_nsd(root, NsdConfig()).voxels[["x", "y", "z"]].to_numpy(dtype=np.int64)
    with h5py.File(path, "r") as file:
        whole = file["betas"][:]
    wanted = whole[:, places[:, 2], places[:, 1], places[:, 0]].astype(np.float32) / np.float32(300)
    for name, read in READERS.items():
        np.testing.assert_array_equal(in_percent(read(path, places)), wanted, err_msg=name)
    given = by_pread(path, find_chunks(path, places))
    np.testing.assert_array_equal(in_percent(given), wanted)


def _betas(path: Path) -> np.ndarray:
    """What the file holds; HDF5 does not promise the same bytes around it."""
    with h5py.File(path, "r") as file:
        return file["betas"][:]


def test_a_tree_is_made_again_only_if_its_sizes_differ(tmp_path: Path) -> None:
    folder, tiny = tmp_path / "nsd", replace(SMALL, sessions=1, trials=20, pictures=12)
    assert make_tree(folder, tiny)
    path = NsdPaths(folder, 1).session(1, "hdf5")
    first, when = _betas(path), path.stat().st_mtime_ns
    assert not make_tree(folder, tiny)
    assert path.stat().st_mtime_ns == when
    assert make_tree(folder, replace(tiny, seed=1))
    assert not np.array_equal(_betas(path), first)
    assert make_tree(folder, tiny)
    np.testing.assert_array_equal(_betas(path), first)


def test_data_of_a_person_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "nsddata").mkdir()
    with pytest.raises(DataError, match="may be real data"):
        make_tree(tmp_path, SMALL)


def test_the_region_is_one_piece_in_the_posterior_half() -> None:
    region = place_region((40, 52, 41), 2000)
    assert region.sum() == 2000
    assert not region[:, 26:].any()
    labels, count = ndimage.label(region, structure=np.ones((3, 3, 3)))
    assert np.bincount(labels.ravel())[1:].max() > 0.9 * 2000, count


def test_the_steps_under_the_clock_are_those_that_prepare_calls() -> None:
    source = Path(preparation.__file__).read_text(encoding="utf-8")
    for name in STEPS:
        assert hasattr(preparation, name)
        assert f" {name}(" in source


def test_seconds_of_pictures_and_sessions_are_extrapolated_apart() -> None:
    preparing = {"stimuli": 1000, "steps": {"pictures": 2.0, "leaks": 1.0, "sessions": 3.0}}
    found = extrapolate(preparing, replace(SMALL, sessions=4, pictures=80))
    assert found["steps"] == {"pictures": 20.0, "leaks": 10.0, "sessions": 30.0}
    assert found["seconds"] == 60


def test_forty_sessions_keep_voxels_and_show_each_picture_three_times(tmp_path: Path) -> None:
    tree = forty(PrepareBench(tmp_path))
    assert (tree.sessions, tree.trials, tree.voxels, tree.pictures) == (40, 750, 15724, 10_000)
    assert 15724 < np.prod(tree.grid) < 1.4 * 15724


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="more than"):
        replace(SMALL, pictures=30)
    with pytest.raises(UsageError, match="do not fit a grid"):
        replace(SMALL, voxels=1000)


@pytest.mark.slow
def test_the_command_tells_what_it_measured(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--work", str(root.parent), "--json", str(tmp_path / "b.json"),
        "--sessions", "2", "--trials", "60", "--voxels", "90", "--grid", "7", "9", "8",
        "--pictures", "60", "--size", "24", "--repetitions", "1",
    ]  # fmt: skip
    assert run_verb("prepare", prepare_benchmark.main, words) == 0
    content = read_json(tmp_path / "b.json")
    text = capsys.readouterr().out
    assert text.strip() == table(content)
    ways = content["reading"]["ways"]
    assert list(ways) == [*READERS, FLOOR]
    others = {name: ways[name]["seconds"] for name in READERS if name != OURS}
    fastest = content["reading"]["fastest"]
    assert others[fastest] == min(others.values())
    assert content["reading"]["ratio"] == pytest.approx(ways[OURS]["seconds"] / others[fastest])
    found = content["preparing"]
    assert (found["trials"], found["voxels"]) == (120, 90)
    assert sum(found["steps"].values()) == pytest.approx(found["seconds"])
    assert set(STEPS.values()) < set(found["steps"])
    for way in ways.values():
        assert f"{way['seconds']:.3f}" in text
        assert f"{way['peak_mib']:.0f}" in text
    assert f"{found['peak_mib'] / 1024:.2f} GiB" in text
    assert not (root.parent / "prepared").exists()


def test_batches_are_measured_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--json", str(tmp_path / "b.json"), "--stimuli", "40", "--voxels", "30",
        "--size", "16", "--batch-size", "8", "--batches", "2", "--repetitions", "1",
    ]  # fmt: skip
    assert run_verb("batches", batches.main, words) == 0
    content = read_json(tmp_path / "b.json")
    assert content["settings"]["batch_size"] == 8
    assert content["sizes"]["voxels"] == 30
    assert capsys.readouterr().out.strip() == batches.table(content)
