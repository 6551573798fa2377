"""`mindeye prepare nsd` on damaged trees: one line, exit code 2, never half a subject."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import corruption_list as lists
import corruptions as planted
import numpy as np
import pytest
from corruption_list import FAULTS
from corruptions import Tree
from scipy.io import loadmat, savemat

from mindeye.cli import main
from mindeye.data.subject import load_subject
from mindeye.data.subject_checks import check_subject
from mindeye.datasets.file_formats import load_mat
from mindeye.datasets.nsd.design import read_design
from mindeye.datasets.nsd.layout import NsdConfig
from mindeye.datasets.nsd.miniature import MiniatureConfig, write_miniature
from mindeye.datasets.nsd.reader import read_nsd
from mindeye.errors import ConfigError, DataError
from mindeye.files import read_json

Prepare = Callable[..., tuple[int, list[str]]]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an undamaged `tree` and `subject`, the first prepared from it."""
    folder = tmp_path_factory.mktemp("good")
    write_miniature(folder / "tree", MiniatureConfig(file_format="both"), 0)
    words = [f"--root={folder / 'tree'}", "--subject=1", f"--out={folder / 'subject'}"]
    assert main(["prepare", "nsd", *words]) == 0
    assert main(["check", str(folder / "subject")]) == 0
    return folder


@pytest.fixture
def tree(good: Path, tmp_path: Path) -> Tree:
    """A tree of one's own to break."""
    shutil.copytree(good / "tree", tmp_path / "tree")
    return Tree(tmp_path / "tree", 1)


@pytest.fixture
def prepare(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Prepare:
    """Return a function that prepares and returns the exit code and the lines on stderr."""

    def run(tree: Tree, out: Path, *flags: str) -> tuple[int, list[str]]:
        words = [f"--root={tree.root}", "--subject=1", f"--out={out}"]
        words += [flag.format(root=tree.root) for flag in flags]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            code = main(["prepare", "nsd", *words])
        # Warnings and log lines would stand on a terminal beside the one line.
        told = [str(w.message) for w in caught if not issubclass(w.category, DeprecationWarning)]
        told += [record.getMessage() for record in caplog.records]
        return code, [*capsys.readouterr().err.splitlines(), *told]

    return run


def _content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _same_numbers(first: Path, second: Path) -> bool:
    return load_subject(first).fingerprint == load_subject(second).fingerprint


def test_there_are_fifty_of_them() -> None:
    assert len(FAULTS) >= 50
    groups = (lists.BETAS, lists.NIFTI_BETAS, lists.REGIONS, lists.DESIGN,
              lists.PICTURES, lists.COMMAND)  # fmt: skip
    assert len(FAULTS) == sum(map(len, groups)), "two faults of one name"


@pytest.mark.parametrize("form", ["hdf5", "nii"])
def test_an_undamaged_tree_prepares_in_either_form(
    good: Path, tree: Tree, tmp_path: Path, prepare: Prepare, form: str
) -> None:
    code, told = prepare(tree, tmp_path / "out", f"--file-format={form}")
    assert (code, told) == (0, [])
    assert main(["check", str(tmp_path / "out")]) == 0
    assert _same_numbers(tmp_path / "out", good / "subject")


def _read_everything(tree: Tree, flags: tuple[str, ...]) -> None:
    words = [flag.format(root=tree.root).removeprefix("--").split("=") for flag in flags]
    fields: dict[str, str | float] = {name.replace("-", "_"): value for name, value in words}
    if "min_noise_ceiling" in fields:
        fields["min_noise_ceiling"] = float(fields["min_noise_ceiling"])
    recording = read_nsd(tree.root, NsdConfig(**fields))
    for session in recording.sessions:
        recording.read_betas(session)
    list(recording.read_pictures(recording.stimuli["stimulus_id"].tolist()))


READ = [n for n in FAULTS if n not in lists.PREPARED and n not in lists.COMMAND]
"""Faults that the reader names before anything is prepared."""


@pytest.mark.parametrize("name", READ)
def test_a_corruption_has_a_name_when_it_is_read(tree: Tree, name: str) -> None:
    fault = FAULTS[name]
    fault.plant(tree)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises((DataError, ConfigError), match=fault.says) as caught:
            _read_everything(tree, fault.flags)
    assert "\n" not in str(caught.value)


ONE_OF_EACH = ("betas cut off", "nii with a wrong checksum", "region empty", "order with NaN",
               "pictures cut off")  # fmt: skip


@pytest.mark.parametrize("name", [*lists.PREPARED, *lists.COMMAND, *ONE_OF_EACH])
def test_a_corruption_has_a_name_and_leaves_no_subject(
    tree: Tree, tmp_path: Path, prepare: Prepare, name: str
) -> None:
    fault = FAULTS[name]
    fault.plant(tree)
    code, told = prepare(tree, tmp_path / "out", *fault.flags)
    assert len(told) == 1, told
    assert told[0].startswith("mindeye: ")
    assert re.search(fault.says, told[0]), told[0]
    assert code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["betas cut off", "a saturated voxel", "an unknown test set"])
def test_an_earlier_subject_outlives_a_corruption(
    good: Path, tree: Tree, tmp_path: Path, prepare: Prepare, name: str
) -> None:
    FAULTS[name].plant(tree)
    shutil.copytree(good / "subject", tmp_path / "earlier")
    assert prepare(tree, tmp_path / "earlier", *FAULTS[name].flags)[0] == 2
    assert _content(tmp_path / "earlier") == _content(good / "subject")


@pytest.mark.parametrize("name", ["nii of an unknown type"])
def test_a_terminal_shows_that_line_and_no_other(tree: Tree, tmp_path: Path, name: str) -> None:
    fault = FAULTS[name]
    fault.plant(tree)
    words = [f"--root={tree.root}", f"--out={tmp_path / 'out'}", *fault.flags]
    done = subprocess.run(
        [sys.executable, "-m", "mindeye", "prepare", "nsd", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert re.match(f"mindeye: .*{fault.says}", done.stderr)


@pytest.mark.parametrize(
    "name",
    ["betas cut off", "a saturated voxel", "order shifted by one trial"],
)
def test_the_files_mended_the_same_command_gives_the_good_subject(
    good: Path, tree: Tree, tmp_path: Path, prepare: Prepare, name: str
) -> None:
    """What a refused preparation left behind to go on with holds nothing of the damage."""
    fault = FAULTS[name]
    fault.plant(tree)
    assert prepare(tree, tmp_path / "out", *fault.flags)[0] == 2
    shutil.copytree(good / "tree", tree.root, dirs_exist_ok=True)
    assert prepare(tree, tmp_path / "out", *fault.flags) == (0, [])
    assert _same_numbers(tmp_path / "out", good / "subject")


@pytest.mark.parametrize("swapped", [False, True])
def test_two_swapped_sessions_among_four_are_named(
    tmp_path: Path, prepare: Prepare, swapped: bool
) -> None:
    """Ninety trials are too few for this: there 3 of 12 such swaps pass."""
    config = MiniatureConfig(subjects=1, sessions=4, trials=60, pictures=80)
    write_miniature(tmp_path / "tree", config, 0)
    tree = Tree(tmp_path / "tree", 1)
    if swapped:
        second, third = tree.hdf5(2).read_bytes(), tree.hdf5(3).read_bytes()
        tree.hdf5(2).write_bytes(third)
        tree.hdf5(3).write_bytes(second)
    code, told = prepare(tree, tmp_path / "out")
    if not swapped:
        assert (code, told) == (0, [])
        return
    assert code == 2
    assert re.search(r"session 2 looks paired with other pictures \(2 such sessions\)", told[0])


def test_a_folder_that_holds_something_else_is_left_alone(
    tree: Tree, tmp_path: Path, prepare: Prepare
) -> None:
    folder, file = tmp_path / "thesis", tmp_path / "thesis.tex"
    folder.mkdir()
    (folder / "chapter").write_text("three years")
    file.write_text("one more")
    code, told = prepare(tree, folder)
    assert (code, len(told)) == (2, 1)
    assert re.search(r"thesis is not empty and not a prepared subject; give another", told[0])
    code, told = prepare(tree, file)
    assert (code, len(told)) == (2, 1)
    assert re.search(r"thesis\.tex is a file; give another --out", told[0])
    assert _content(folder) == {"chapter": b"three years"}
    assert file.read_text() == "one more"


def test_a_shifted_order_prepares_without_the_test_and_says_so_ever_after(
    tree: Tree, tmp_path: Path, prepare: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    FAULTS["order shifted by one trial"].plant(tree)
    out = tmp_path / "out"
    assert prepare(tree, out)[0] == 2
    assert prepare(tree, out, "--no-alignment-test") == (0, [])
    record = read_json(out / "subject.json")["preparation"]
    assert record["config"]["no_alignment_test"] is True
    assert "not made" in record["alignment"]["verdict"]
    capsys.readouterr()
    assert main(["info", str(out)]) == 0
    assert "not made (--no-alignment-test)" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["drop", "allow"])
def test_a_copied_test_picture_is_left_out_or_kept_on_request(
    tree: Tree, tmp_path: Path, prepare: Prepare, mode: str
) -> None:
    copy = planted.copy_test_picture(tree, lambda picture: picture)
    out = tmp_path / "out"
    assert prepare(tree, out)[0] == 2
    # One picture in thirty is not the one that was seen; the alignment self-test lives with that.
    assert prepare(tree, out, f"--duplicates={mode}") == (0, [])
    subject = load_subject(out)
    learnt = [*subject.splits["train"], *subject.splits["val"]]
    assert (copy in learnt) is (mode == "allow")
    assert copy not in subject.splits["test"]
    assert len(subject.splits["test"]) == 8
    assert main(["check", str(out)]) == 0


@pytest.mark.parametrize(
    ("name", "left"),
    [("a saturated voxel", 119), ("a voxel that never changes", 119)],
)
def test_a_broken_voxel_is_left_out_on_request(
    tree: Tree, tmp_path: Path, prepare: Prepare, name: str, left: int
) -> None:
    FAULTS[name].plant(tree)
    out = tmp_path / "out"
    assert prepare(tree, out)[0] == 2
    assert prepare(tree, out, "--bad-voxels=drop") == (0, [])
    places = check_subject(out).voxels[["x", "y", "z"]].to_numpy().tolist()
    broken = np.argwhere(planted.volume_of(tree.region) > 0)[17].tolist()
    assert len(places) == left
    assert broken not in places


def _damaged_at_random(good: Path, tree: Tree, out: Path, prepare: Prepare, seed: int) -> None:
    """Damage one file: a named error and no subject, or a sound subject."""
    rng = np.random.default_rng(seed)
    flags = ["--file-format=nii"] if rng.random() < 0.5 else []
    subject = load_subject(good / "subject")
    files = sorted(p for p in tree.root.rglob("*") if p.is_file())
    if rng.random() < 0.8:
        files = [p for p in files if _is_read(tree, p, flags)]
    path = files[int(rng.integers(len(files)))]
    done = planted.damage(path, rng)
    code, told = prepare(tree, out, *flags)
    if code == 0:
        assert told == [], done
        assert check_subject(out).betas.shape == subject.betas.shape, done
        if not _is_read(tree, path, flags):
            assert _same_numbers(out, good / "subject"), done
    else:
        assert code == 2, (done, told)
        assert len(told) == 1, (done, told)
        assert told[0].startswith("mindeye: "), done
        assert not out.exists(), done
        assert _is_read(tree, path, flags), (done, told)


def _is_read(tree: Tree, path: Path, flags: list[str]) -> bool:
    sessions = tree.nii if flags else tree.hdf5
    read = {tree.region, tree.ncsnr, tree.design, tree.stimuli, *map(sessions, (1, 2, 3))}
    return path in read or path.name == "mindeye_miniature.json"


@pytest.mark.parametrize("seed", range(8))
def test_a_file_damaged_at_random_has_a_name_or_does_no_harm(
    good: Path, tree: Tree, tmp_path: Path, prepare: Prepare, seed: int
) -> None:
    _damaged_at_random(good, tree, tmp_path / "out", prepare, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8, 1560))
def test_many_files_damaged_at_random_have_names_or_do_no_harm(
    good: Path, tree: Tree, tmp_path: Path, prepare: Prepare, seed: int
) -> None:
    _damaged_at_random(good, tree, tmp_path / "out", prepare, seed)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_design_never_takes_the_process_down(tree: Tree, compressed: bool) -> None:
    """SciPy alone dies of some of these bytes: of a type that it does not know, say."""
    content = {k: v for k, v in loadmat(tree.design).items() if not k.startswith("__")}
    savemat(tree.design, content, do_compression=compressed)
    good, whole = read_design(tree.design), tree.design.read_bytes()
    messages = []
    for place in range(128, 208):
        for change in (0x01, 0x0E, 0x80, 0xFF):
            damaged = bytearray(whole)
            damaged[place] ^= change
            tree.design.write_bytes(bytes(damaged))
            try:
                found = read_design(tree.design)
            except DataError as error:
                messages.append(str(error))
            else:
                assert not compressed or place < 136, "a checksum was not looked at"
                assert len(found.order) == len(good.order)
    assert len(messages) > 150
    assert all("nsd_expdesign.mat" in m and "\n" not in m for m in messages)


def test_cells_that_no_checksum_guards_are_not_read(tmp_path: Path) -> None:
    cells = np.empty((1, 2), dtype=object)
    cells[0] = ["a", "b"]
    savemat(tmp_path / "cells.mat", {"cells": cells}, do_compression=True)
    assert load_mat(tmp_path / "cells.mat", ["cells"])["cells"].shape == (1, 2)
    savemat(tmp_path / "cells.mat", {"cells": cells}, do_compression=False)
    with pytest.raises(DataError, match=r"cells\.mat .*save with -v7"):
        load_mat(tmp_path / "cells.mat", ["cells"])
