"""`bdata` files of Kamitani lab are read as bdpy writes them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from mindeye.datasets.bdata import BdataConfig, read_bdata
from mindeye.datasets.recording import Recording
from mindeye.errors import DataError

VOXELS = 6
ROIS = {"ROI_V1": [1, 1, 0, 0, 0, 0], "ROI_V2": [0, 1, 1, 0, 0, 0], "ROI_PPA": [0, 0, 0, 0, 1, 0]}


@dataclass
class Table:
    """What is written: label columns left and right of the voxels, as bdpy stacks them."""

    labels: dict[str, list[float]]
    voxels: np.ndarray
    vmap: dict[str, dict[float, str]] = field(default_factory=dict)


def write(path: Path, table: Table, *, old: bool = False, dtype: str = "f8") -> Path:
    count = len(table.labels)
    first = 1  # a label column before the voxels, so that their columns do not start at 0
    names = list(table.labels)
    left, right = names[:first], names[first:]
    stacked = [table.labels[n] for n in left] + list(table.voxels.T)
    stacked += [table.labels[n] for n in right]
    width = count + VOXELS
    columns = {n: i if i < first else i + VOXELS for i, n in enumerate(names)}
    values: dict[str, np.ndarray] = {n: np.full(width, np.nan) for n in names}
    for name, column in columns.items():
        values[name][column] = 1
    voxels = slice(first, first + VOXELS)
    more = {"VoxelData": np.ones(VOXELS), **ROIS}
    for axis, name in enumerate(("voxel_x", "voxel_y", "voxel_z")):
        more[name] = np.arange(VOXELS) * 2.0 - 5 * axis
    for name, content in more.items():
        values[name] = np.full(width, np.nan)
        values[name][voxels] = content
    with h5py.File(path, "w") as file:
        data, meta = ("dataSet", "metaData") if old else ("dataset", "metadata")
        file[data] = np.stack(stacked, axis=1).astype(dtype)
        file[f"{meta}/key"] = [k.encode() for k in values]
        file[f"{meta}/description"] = [b"1 = something"] * len(values)
        file[f"{meta}/value"] = np.stack(list(values.values()))
        file["header/ctime"] = b"2024-01-01 00:00:00"
        for name, numbers in table.vmap.items():
            for number, text in numbers.items():
                file[f"vmap/{name}/{number}"] = text.encode()
    return path


def betas_of(stimuli: list[float]) -> np.ndarray:
    return 10 * np.asarray(stimuli)[:, None] + np.arange(VOXELS)


def pictures(folder: Path, names: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for k, name in enumerate(names):
        Image.fromarray(np.full((4, 5 + k, 3), k, dtype=np.uint8)).save(folder / f"{name}.jpg")
    return folder


def god_like(test_repeats: int = 35) -> Table:
    """Train 1-4 once, two perception tests `test_repeats` times, imagery of both."""
    kind = [1.0] * 4 + [2.0] * 2 * test_repeats + [3.0] * 4
    stimuli = [1.0, 2, 3, 4, *[5.0, 6.0] * test_repeats, 5, 6, 5, 6]
    session = [1.0, 1, 2, 2, *[1.0] * test_repeats, *[2.0] * test_repeats, 1, 1, 1, 1]
    run = [1.0] * len(kind)
    labels = {"DataType": kind, "Session": session, "Run": run, "stimulus_name": stimuli}
    names = {"stimulus_name": {float(k): f"n0{k}_1" for k in range(1, 7)}}
    return Table(labels, betas_of(stimuli), names)


def everything(recording: Recording) -> np.ndarray:
    return np.concatenate([recording.read_betas(s) for s in recording.sessions])


@pytest.fixture
def god(tmp_path: Path) -> BdataConfig:
    folder = pictures(tmp_path / "pictures", [f"n0{k}_1" for k in range(1, 7)])
    return BdataConfig((write(tmp_path / "S1.h5", god_like()),), folder)


def test_every_beta_is_that_of_its_stimulus_and_voxel(god: BdataConfig) -> None:
    recording = read_bdata(god)
    number = recording.trials["stimulus_id"].str[2].astype(int).to_numpy()
    assert np.array_equal(everything(recording), betas_of(number.tolist()))
    assert recording.voxels["x_mm"].tolist() == [0, 2, 4, 6, 8, 10]
    assert recording.voxels["z_mm"].tolist() == [-10, -8, -6, -4, -2, 0]
    assert recording.voxels["roi"].tolist() == ["V1", "V1+V2", "V2", "", "PPA", ""]
    assert [p.shape for p in recording.read_pictures(["n03_1"])] == [(4, 7, 3)]


def test_training_test_and_imagery_are_told_by_data_type(god: BdataConfig) -> None:
    recording = read_bdata(god)
    trials = recording.trials
    assert trials.groupby("stimulus_id")["split"].first().tolist() == ["train"] * 4 + ["test"] * 2
    assert trials.groupby("stimulus_id").size().tolist() == [1] * 4 + [35] * 2
    assert trials.loc[trials["stimulus_id"] == "n05_1", "repeat"].tolist() == list(range(35))
    assert recording.info["trials_left_out"] == 4
    # Sessions 1, 2 of training and 1, 2 of the test were four days.
    assert trials.groupby("session").size().tolist() == [2, 2, 35, 35]


@pytest.mark.parametrize(
    ("roi", "chosen"),
    [("V1", [0, 1]), ("ROI_V1 + PPA", [0, 1, 4]), ("V1+V2", [0, 1, 2]), ("", list(range(6)))],
)
def test_regions_are_joined(god: BdataConfig, roi: str, chosen: list[int]) -> None:
    recording = read_bdata(replace(god, roi=roi))
    assert np.array_equal(recording.read_betas(1), betas_of([1, 2])[:, chosen])
    assert recording.voxels["x_mm"].tolist() == [2 * c for c in chosen]


@pytest.mark.parametrize("roi", ["V9", "V1 & V2", "ROI_*", "V1+", "__import__('os')"])
def test_other_expressions_are_refused(god: BdataConfig, roi: str) -> None:
    with pytest.raises(DataError):
        read_bdata(replace(god, roi=roi))


def test_files_of_training_and_test_count_sessions_on(tmp_path: Path) -> None:
    names = {"stimulus_name": {1.0: "cat", 2.0: "dog", 3.0: "rest"}}
    rows = [3.0, 1, 2, np.nan, 1]
    train = Table({"Session": [1, 1, 2, 2, 2], "stimulus_name": rows}, betas_of(rows), names)
    train.voxels[[0, 3]] = 0
    rows = [4.0, 4]
    test = Table({"Session": [1, 1], "stimulus_name": rows}, betas_of(rows), {})
    test.vmap = {"stimulus_name": {4.0: "cow"}}
    config = BdataConfig(
        (write(tmp_path / "train.h5", train),),
        pictures(tmp_path / "p", ["cat", "dog", "cow"]),
        test_files=(write(tmp_path / "test.h5", test, old=True),),
    )
    recording = read_bdata(config)
    trials = recording.trials
    assert trials["stimulus_id"].tolist() == ["cat", "dog", "cat", "cow", "cow"]
    assert trials["session"].tolist() == [1, 2, 2, 3, 3]
    assert trials["split"].tolist() == ["train"] * 3 + ["test"] * 2
    assert np.array_equal(everything(recording), betas_of([1, 2, 1, 4, 4]))


def test_labels_of_fractions_become_names_of_pictures(tmp_path: Path) -> None:
    label = [1443537.022563, 1621127.019020, 1443537.000100]
    table = Table({"Run": [1, 1, 1], "Label": label}, betas_of([1, 2, 3]))
    folder = pictures(tmp_path / "p", ["n01443537_22563", "n01621127_19020", "n01443537_100"])
    config = BdataConfig((write(tmp_path / "S.h5", table),), folder, label_style="synset")
    ids = read_bdata(config).trials["stimulus_id"].tolist()
    assert ids == ["n01443537_22563", "n01621127_19020", "n01443537_100"]
    single = write(tmp_path / "single.h5", table, dtype="f4")
    with pytest.raises(DataError, match="single precision"):
        read_bdata(replace(config, files=(single,)))


def test_numbers_that_start_anew_in_the_test_are_a_leak_that_is_named(tmp_path: Path) -> None:
    labels = {"DataType": [1.0, 1, 2], "image_index": [1.0, 2, 1]}
    path = write(tmp_path / "S.h5", Table(labels, betas_of([1, 2, 3])))
    with pytest.raises(DataError, match="'1' of subj01 is in training and in test"):
        read_bdata(BdataConfig((path,), pictures(tmp_path / "p", ["1", "2"])))


def test_voxels_that_are_not_finite_are_kept_out(tmp_path: Path, god: BdataConfig) -> None:
    table = god_like()
    table.voxels[70, 1] = np.nan  # the last test trials but three
    table.voxels[-1, 3] = np.nan  # imagery, which is left out
    table.voxels[5, 2] = 1e300  # no float32
    recording = read_bdata(replace(god, files=(write(tmp_path / "nan.h5", table),)))
    assert recording.info["voxels_not_finite"] == 2
    assert recording.voxels["voxel"].tolist() == [0, 3, 4, 5]
    assert np.isfinite(everything(recording)).all()


def test_faults_are_named(tmp_path: Path, god: BdataConfig) -> None:
    with pytest.raises(DataError, match="no column colour"):
        read_bdata(replace(god, label="colour"))
    (god.pictures / "n05_1.jpg").unlink()
    with pytest.raises(DataError, match="no image for stimulus 'n05_1'"):
        read_bdata(god)
    table = god_like()
    del table.vmap["stimulus_name"][6.0]
    with pytest.raises(DataError, match="no name for 6"):
        read_bdata(replace(god, files=(write(tmp_path / "a.h5", table),)))
    table = god_like()
    table.labels["Session"][0] = 1.5
    with pytest.raises(DataError, match=r"Session .* 1\.5"):
        read_bdata(replace(god, files=(write(tmp_path / "a.h5", table),)))
    with pytest.raises(DataError, match="each once"):
        read_bdata(replace(god, test_files=god.files))
    with pytest.raises(DataError, match="no file at"):
        read_bdata(replace(god, files=(tmp_path / "absent.h5",)))


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("dataset", np.ones(3)),
        ("dataset", np.array([[b"a", b"b"]])),
        ("metadata/value", np.ones((2, 2))),
        ("metadata/key", np.arange(14)),
        ("vmap/stimulus_name", np.ones(2)),
        ("vmap/stimulus_name/one", b"x"),
        ("metadata", None),
        ("metadata/key", None),
        ("dataset", None),
    ],
)
def test_malformed_files_are_named(
    god: BdataConfig, key: str, content: np.ndarray | bytes | None
) -> None:
    with h5py.File(god.files[0], "r+") as file:
        if key in file:
            del file[key]
        if content is not None:
            file[key] = content
    with pytest.raises(DataError, match=r"S1\.h5"):
        read_bdata(god)


def test_torn_files_are_named(god: BdataConfig) -> None:
    whole = god.files[0].read_bytes()
    for end in (0, 8, 200, len(whole) // 2, len(whole) - 50):
        god.files[0].write_bytes(whole[:end])
        with pytest.raises(DataError):
            everything(read_bdata(god))


def test_files_with_other_voxels_are_named(tmp_path: Path, god: BdataConfig) -> None:
    other = write(tmp_path / "other.h5", god_like())
    with h5py.File(other, "r+") as file:
        row = [k.decode() for k in file["metadata/key"][()]].index("voxel_x")
        file["metadata/value"][row] += 1
    with pytest.raises(DataError, match="other voxels"):
        read_bdata(replace(god, files=(*god.files, other)))
