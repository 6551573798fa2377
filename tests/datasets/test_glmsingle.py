"""GLMsingle's betas meet the events they are of, in every format and order of axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from PIL import Image

from mindeye.datasets.bids_events import EventsConfig
from mindeye.datasets.glmsingle import GlmsingleConfig, read_glmsingle, read_mask
from mindeye.datasets.glmsingle_files import BetasFile
from mindeye.datasets.recording import Recording
from mindeye.errors import DataError

GRID = (5, 4, 3)
NAME = "TYPED_FITHRF_GLMDENOISE_RR"
RUNS = {("1", 9): ["b", "a"], ("1", 10): ["c", "a", "b"], ("2", 1): ["d", "c", "a", "b"]}
ORDER = [s for run in RUNS.values() for s in run]
VALUE = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
Fields = dict[str, np.ndarray]


def planted(order: list[str]) -> np.ndarray:
    """Beta (X, Y, Z, N): 100 x its stimulus + its place in C order + noise far below both."""
    place = np.arange(np.prod(GRID)).reshape(GRID)
    noise = np.random.default_rng(0).uniform(0, 0.1, (*GRID, len(order)))
    return (100 * np.array([VALUE[s] for s in order]) + place[..., None] + noise).astype(np.float32)


def save_hdf5(stem: Path, fields: Fields) -> Path:
    with h5py.File(stem.with_suffix(".hdf5"), "w") as file:
        for name, values in fields.items():
            file.create_dataset(name, data=values)
        file.create_dataset("rrbadness", data=h5py.Empty("f"))
    return stem.with_suffix(".hdf5")


def save_new_mat(stem: Path, fields: Fields) -> Path:
    """As `save -v7.3`: HDF5 behind a text block, axes reversed, classes in attributes."""
    path = stem.with_suffix(".mat")
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in fields.items():
            own = {"betasmd": "modelmd"}.get(name, name)
            file.create_dataset(own, data=np.ascontiguousarray(values.T))
            file[own].attrs["MATLAB_class"] = np.bytes_("single")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


SAVERS: list[Callable[[Path, Fields], Path]] = [save_hdf5, save_new_mat]


@pytest.fixture
def config(tmp_path: Path) -> GlmsingleConfig:
    root = tmp_path / "bids"
    for (session, run), stimuli in RUNS.items():
        folder = root / "sub-01" / f"ses-{session}" / "func"
        folder.mkdir(parents=True, exist_ok=True)
        rows = [f"{4 * k + 2}\t2\tsee\tset/{s}.png" for k, s in enumerate(stimuli)]
        table = ["onset\tduration\ttrial_type\tstim_file", "0\t2\trest\tn/a", *rows]
        name = f"sub-01_ses-{session}_task-see_run-{run}_events.tsv"
        (folder / name).write_text("\n".join(table) + "\n")
    (root / "stimuli" / "set").mkdir(parents=True)
    for stimulus, value in VALUE.items():
        picture = np.full((3, 4 + int(value), 3), int(value) * 10, dtype=np.uint8)
        Image.fromarray(picture).save(root / "stimuli" / "set" / f"{stimulus}.png")
    mask = np.zeros(GRID, dtype=np.int16)
    mask[1:4, 1:, 1] = [[1, 0, 2], [0, 1, 1], [1, -1, 1]]
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), tmp_path / "mask.nii.gz")
    return GlmsingleConfig(root, "01", tmp_path / "nothing.hdf5", mask=tmp_path / "mask.nii.gz")


def fields_of(order: list[str]) -> Fields:
    r2 = np.arange(np.prod(GRID), dtype=np.float32).reshape(GRID)
    return {"betasmd": planted(order), "R2": r2, "meanvol": np.ones(GRID)}


def everything(recording: Recording) -> np.ndarray:
    return np.concatenate([recording.read_betas(s) for s in recording.sessions])


@pytest.mark.parametrize("save", SAVERS)
def test_every_format_gives_the_planted_betas(
    tmp_path: Path, config: GlmsingleConfig, save: Callable[[Path, Fields], Path]
) -> None:
    path = save(tmp_path / NAME, fields_of(ORDER))
    recording = read_glmsingle(replace(config, betas=path))
    assert recording.trials["stimulus_id"].tolist() == ORDER
    assert recording.trials["session"].tolist() == [1] * 5 + [2] * 4
    mask = read_mask(tmp_path / "mask.nii.gz")
    betas = everything(recording)
    assert np.array_equal(betas, planted(ORDER)[mask].T)
    voxels = recording.voxels
    assert np.array_equal(voxels[["x", "y", "z"]].to_numpy(), np.argwhere(mask))
    place = np.arange(np.prod(GRID)).reshape(GRID)[mask]
    assert np.array_equal(voxels["glm_r2"], place)
    # The beta of every trial tells its stimulus and its voxel.
    expected = 100 * np.array([VALUE[s] for s in ORDER])[:, None] + place
    assert np.abs(betas - expected).max() < 0.11


def test_a_file_a_session_equals_one_file(tmp_path: Path, config: GlmsingleConfig) -> None:
    whole = fields_of(ORDER)
    save_hdf5(tmp_path / NAME, whole)
    one = everything(read_glmsingle(replace(config, betas=tmp_path)))
    for label, trials, save in (("1", slice(0, 5), save_hdf5), ("2", slice(5, 9), save_new_mat)):
        folder = tmp_path / "parts" / "sub-01" / f"ses-{label}" / "glm"
        folder.mkdir(parents=True)
        save(folder / NAME, {**whole, "betasmd": whole["betasmd"][..., trials]})
    parts = replace(config, betas=tmp_path / "parts")
    assert np.array_equal(everything(read_glmsingle(parts)), one)
    only = replace(parts, events=EventsConfig(bids_sessions=("2",)))
    assert np.array_equal(everything(read_glmsingle(only)), one[5:])
    (folder / f"{NAME}.mat").unlink()
    with pytest.raises(DataError, match="session '2' has events but no betas"):
        read_glmsingle(parts)
    with pytest.raises(DataError, match="no TYPED"):
        read_glmsingle(replace(only, betas=tmp_path / "parts"))


@pytest.mark.parametrize("save", SAVERS)
def test_flat_betas_need_no_mask(
    tmp_path: Path, config: GlmsingleConfig, save: Callable[[Path, Fields], Path]
) -> None:
    mask = read_mask(tmp_path / "mask.nii.gz")
    flat = planted(ORDER)[mask]
    r2 = np.arange(len(flat), dtype=np.float32)
    for shape in ((len(flat), len(ORDER)), (len(flat), 1, 1, len(ORDER))):
        fields = {"betasmd": flat.reshape(shape), "R2": r2.reshape(shape[:-1])}
        path = save(tmp_path / NAME, fields)
        for given in (None, config.mask):
            recording = read_glmsingle(replace(config, betas=path, mask=given))
            assert np.array_equal(everything(recording), flat.T)
            assert np.array_equal(recording.voxels["glm_r2"], r2)
            assert ("x" in recording.voxels) == (given is not None)


def test_flattened_by_a_mask_places_follow_the_writer(
    tmp_path: Path, config: GlmsingleConfig
) -> None:
    mask = read_mask(tmp_path / "mask.nii.gz")
    python = {"betasmd": planted(ORDER)[mask]}
    matlab = {"betasmd": planted(ORDER).transpose(2, 1, 0, 3)[mask.T]}  # data(mask) in MATLAB
    for save, fields in ((save_hdf5, python), (save_new_mat, matlab)):
        recording = read_glmsingle(replace(config, betas=save(tmp_path / NAME, fields)))
        x, y, z = (recording.voxels[a].to_numpy() for a in "xyz")
        assert np.array_equal(everything(recording), planted(ORDER)[x, y, z].T)


def test_pictures_come_in_their_own_size_in_the_order_asked(
    tmp_path: Path, config: GlmsingleConfig
) -> None:
    recording = read_glmsingle(replace(config, betas=save_hdf5(tmp_path / NAME, fields_of(ORDER))))
    assert recording.stimuli["stimulus_id"].tolist() == ["b", "a", "c", "d"]
    shown = list(recording.read_pictures(["d", "a"]))
    assert [p.shape for p in shown] == [(3, 8, 3), (3, 5, 3)]
    assert [int(p.max()) for p in shown] == [40, 10]


def test_voxels_without_signal_are_left_out_and_counted(
    tmp_path: Path, config: GlmsingleConfig
) -> None:
    fields = fields_of(ORDER)
    fields["betasmd"][2, 2, 1] = np.nan  # in the mask
    fields["betasmd"][0, 0, 0] = np.nan  # not in it
    recording = read_glmsingle(replace(config, betas=save_hdf5(tmp_path / NAME, fields)))
    assert recording.info["voxels_not_finite"] == 1
    assert np.isfinite(everything(recording)).all()
    assert [2, 2, 1] not in recording.voxels[["x", "y", "z"]].to_numpy().tolist()


def test_who_wrote_the_file_decides_where_both_orders_fit(tmp_path: Path) -> None:
    cube = np.arange(81, dtype=np.float32).reshape(3, 3, 3, 3)
    mask = np.ones((3, 3, 3), dtype=np.bool_)
    for save in SAVERS:
        file = BetasFile(save(tmp_path / NAME, {"betasmd": cube}))
        assert np.array_equal(file.read(mask, slice(0, 3)), cube.reshape(27, 3).T)


def test_reading_in_small_blocks_changes_nothing(
    tmp_path: Path, config: GlmsingleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for save in (save_hdf5, save_new_mat):
        path = save(tmp_path / NAME, fields_of(ORDER))
        whole = everything(read_glmsingle(replace(config, betas=path)))
        with monkeypatch.context() as patch:
            patch.setattr("mindeye.datasets.glmsingle_files.BLOCK", 50)
            assert np.array_equal(everything(read_glmsingle(replace(config, betas=path))), whole)


def test_counts_and_grids_that_do_not_fit_say_what_decides(
    tmp_path: Path, config: GlmsingleConfig
) -> None:
    path = save_hdf5(tmp_path / NAME, fields_of(ORDER[:-1]))
    with pytest.raises(DataError, match="the events list 9 trials"):
        read_glmsingle(replace(config, betas=path))
    path = save_hdf5(tmp_path / NAME, fields_of(ORDER))
    with pytest.raises(DataError, match="need a mask"):
        read_glmsingle(replace(config, betas=path, mask=None))
    other = nibabel.Nifti1Image(np.ones((4, 5, 3), dtype=np.int16), np.eye(4))
    nibabel.save(other, tmp_path / "other.nii")
    with pytest.raises(DataError, match=r"grid \(4, 5, 3\)"):
        read_glmsingle(replace(config, betas=path, mask=tmp_path / "other.nii"))


def test_designinfo_convicts_events_of_another_order(
    tmp_path: Path, config: GlmsingleConfig
) -> None:
    path = save_hdf5(tmp_path / NAME, fields_of(ORDER))
    config = replace(config, betas=path)
    design = tmp_path / "DESIGNINFO.hdf5"
    numbers = {"a": 1, "b": 2, "c": 3, "d": 4}

    def write(order: list[int], runs: list[int]) -> None:
        with h5py.File(design, "w") as file:
            file["stimorder"], file["numtrialrun"] = order, runs

    write([numbers[s] for s in ORDER], [2, 3, 4])
    assert read_glmsingle(config).info["trial_order"] == "checked against DESIGNINFO"
    write([numbers[s] for s in ORDER[-1:] + ORDER[:-1]], [2, 3, 4])
    with pytest.raises(DataError, match="other conditions"):
        read_glmsingle(config)
    write([numbers[s] for s in ORDER], [3, 2, 4])
    with pytest.raises(DataError, match=r"\[3, 2, 4\].*\[2, 3, 4\]"):
        read_glmsingle(config)
    # One condition a category, coarser than stimuli, is as good.
    write([{"a": 0, "b": 0, "c": 1, "d": 1}[s] for s in ORDER], [2, 3, 4])
    assert read_glmsingle(config).info["trial_order"].startswith("checked")
    design.write_bytes(b"no HDF5")
    assert read_glmsingle(config).info["trial_order"].startswith("not checked")
    design.unlink()
    np.save(tmp_path / "DESIGNINFO.npy", {"stimorder": [1]})
    assert "pickle" in read_glmsingle(config).info["trial_order"]


def test_missing_and_doubtful_pictures_are_named(tmp_path: Path, config: GlmsingleConfig) -> None:
    config = replace(config, betas=save_hdf5(tmp_path / NAME, fields_of(ORDER)))
    folder = config.bids_root / "stimuli"
    (folder / "elsewhere").mkdir()
    (folder / "set" / "c.png").rename(folder / "elsewhere" / "c.png")
    read_glmsingle(config)
    (folder / "elsewhere" / "c.png").unlink()
    with pytest.raises(DataError, match="no image for stimulus 'c'"):
        read_glmsingle(config)
    (folder / "set" / "c.png").symlink_to(tmp_path / "annex" / "gone")
    with pytest.raises(DataError, match="link to nothing"):
        read_glmsingle(config)
    (folder / "set" / "c.png").unlink()
    (folder / "set" / "c.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="not a readable image"):
        list(read_glmsingle(config).read_pictures(["c"]))


def test_two_files_of_one_stem_are_two_stimuli(tmp_path: Path, config: GlmsingleConfig) -> None:
    config = replace(config, betas=save_hdf5(tmp_path / NAME, fields_of(ORDER)))
    run = next((config.bids_root / "sub-01" / "ses-2" / "func").glob("*.tsv"))
    run.write_text(run.read_text().replace("set/a.png", "other/a.png"))
    with pytest.raises(DataError, match="two stimuli 'a'"):
        read_glmsingle(config)


def test_torn_and_foreign_files_are_named(tmp_path: Path, config: GlmsingleConfig) -> None:
    for save in SAVERS:
        path = save(tmp_path / NAME, fields_of(ORDER))
        whole = path.read_bytes()
        for end in (0, 100, 600, len(whole) // 2, len(whole) - 1000):
            path.write_bytes(whole[:end])
            with pytest.raises(DataError):
                everything(read_glmsingle(replace(config, betas=path)))
        path.unlink()
    with pytest.raises(DataError, match="no file"):
        read_glmsingle(config)
    with pytest.raises(DataError, match="give one of"):
        read_glmsingle(replace(config, betas=tmp_path / "mask.nii.gz"))
    for fields in ({"R2": np.ones(GRID)}, {"betasmd": np.array([b"a", b"b"])}):
        path = save_hdf5(tmp_path / NAME, fields)
        with pytest.raises(DataError, match="betasmd"):
            read_glmsingle(replace(config, betas=path))
    save_hdf5(tmp_path / NAME, fields_of(ORDER))
    save_new_mat(tmp_path / NAME, fields_of(ORDER))
    with pytest.raises(DataError, match="both are betas"):
        read_glmsingle(replace(config, betas=tmp_path))


class _Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_not_opened_and_the_way_out_is_said(
    tmp_path: Path, config: GlmsingleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "trap"
    np.save(tmp_path / f"{NAME}.npy", {**fields_of(ORDER), "trap": _Touch(trap)})
    with pytest.raises(DataError, match=r"is a pickle.*convert it once in a script: ") as caught:
        read_glmsingle(replace(config, betas=tmp_path))
    assert not trap.exists()
    assert "\n" not in str(caught.value)
    # What the message says to type makes a file that is read in place of the pickle.
    script = str(caught.value).partition("in a script: ")[2]
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / f"{NAME}.npy", fields_of(ORDER))
    exec(script, {"numpy": np, "h5py": h5py})
    betas = everything(read_glmsingle(replace(config, betas=tmp_path)))
    assert np.array_equal(betas, planted(ORDER)[read_mask(tmp_path / "mask.nii.gz")].T)


def test_masks_that_are_none_are_named(tmp_path: Path) -> None:
    for values in (np.zeros(GRID), np.ones((2, 2)), np.ones((2, 2, 2, 2))):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "m.nii")
        with pytest.raises(DataError, match=r"m\.nii .*(no voxel above 0|one volume)"):
            read_mask(tmp_path / "m.nii")
    nibabel.save(nibabel.Nifti1Image(np.ones((9, 9, 9)), np.eye(4)), tmp_path / "m.nii.gz")
    whole = (tmp_path / "m.nii.gz").read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        (tmp_path / "m.nii.gz").write_bytes(content)
        with pytest.raises(DataError):
            read_mask(tmp_path / "m.nii.gz")
    with pytest.raises(DataError):
        read_mask(tmp_path / "absent.nii")
