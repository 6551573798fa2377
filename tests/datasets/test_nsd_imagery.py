"""NSD-imagery from files written here by hand: rows of runs, targets, voxels, refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nsd_written import save_hdf5, save_nifti
from PIL import Image
from scipy.io import savemat

from mindeye.datasets.nsd.imagery import ImageryConfig, read_imagery
from mindeye.errors import ConfigError, DataError
from mindeye.preparation.config import PrepareConfig
from mindeye.preparation.prepare import prepare

GRID = (4, 3, 5)
LENGTH = 12
ORDER = [
    "visA", "attA", "imgA_1", "visB", "attB", "imgB_1", "visC", "attC", "imgC_1",
    "imgA_2", "imgB_2", "imgC_2",
]  # fmt: skip
LETTERS = {"A": "HRVLPE", "B": "WKBCDT", "C": "SZMYNF"}
CODE = {letter: i for i, letter in enumerate("HRVLPEWKBCDTSZMYNF")}
FOLDER = "nsdimagerybetas_fithrf_GLMdenoise_RR"


@dataclass
class Tree:
    """A tree whose stored betas are 1000 x target + 500 in detection epochs + row + 2 x place."""

    root: Path
    roi: np.ndarray
    volume: np.ndarray
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    events: dict[str, list[int]] = field(default_factory=dict)

    @property
    def experiment(self) -> Path:
        return self.root / "nsddata/experiments/nsdimagery"

    @property
    def betas(self) -> Path:
        space = "nsddata_betas/ppdata/subj01/func1pt8mm"
        return self.root / space / FOLDER / "betas_nsdimagery.hdf5"

    @property
    def region(self) -> Path:
        return self.root / "nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz"

    def table(self, run: str) -> Path:
        return self.root / f"nsddata/bdata/nsdimagery/nsdimagery_subj01_{run}.tsv"

    def picture(self, letter: str) -> Path:
        name = next(s for s, letters in LETTERS.items() if letter in letters)
        return self.experiment / f"rawtargetimages/set{name}/target {letter}.png"

    def save_table(self, run: str, table: pd.DataFrame) -> None:
        self.table(run).parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(self.table(run), sep="\t", index=False)

    def save_pairs(self, name: str, letters: str, title: str = "target {}.png") -> None:
        cells = np.empty((len(letters), 3), dtype=object)
        for i, letter in enumerate(letters):
            cells[i] = [float(i + 1), title.format(letter), letter]
        self.experiment.mkdir(parents=True, exist_ok=True)
        savemat(
            self.experiment / f"{name}_pair_list.mat", {"pair_list": cells}, do_compression=True
        )

    def save_design(self) -> None:
        """Write a cell a run: an onset every third row, columns by the run's events."""
        cells = np.empty((1, len(ORDER)), dtype=object)
        for i, run in enumerate(ORDER):
            columns = self.events[run]
            cells[0, i] = np.zeros((3 * len(columns) + 4, 40))
            cells[0, i][3 * np.arange(len(columns)) + 2, columns] = 1
        savemat(
            self.experiment / "designmatrixGLMsingle.mat", {"stimulus": cells}, do_compression=True
        )


def write(root: Path, seed: int = 0) -> Tree:
    rng = np.random.default_rng(seed)
    codes: list[int] = []
    tree = Tree(root, rng.choice([-1, 0, 1], size=GRID).astype(np.int16), np.zeros(0))
    for run in ORDER:
        letters = LETTERS[run[3]]
        true = list(rng.permutation([*letters] * (LENGTH // 6)))
        other = [*true[1:], true[0]] if run.startswith("vis") else true
        table = pd.DataFrame(
            {"RUN": 1, "TRIAL": np.arange(LENGTH) + 1, "CONDITION": true, "CUE": other}
        )
        if run.startswith("att"):
            table["CONDITION"] = "present"
        column = {letter: int(c) for letter, c in zip(letters, rng.permutation(20), strict=False)}
        tree.events[run] = [column[x] for x in true]
        each = [1000 * CODE[x] for x in true]
        if run.startswith("att"):
            each = [value + epoch for value in each for epoch in (0, 500)]
            tree.events[run] = [c + extra for c in tree.events[run] for extra in (0, 20)]
        codes += each
        tree.tables[run] = table.sample(frac=1, random_state=1)  # TRIAL says the order
        tree.save_table(run, tree.tables[run])
    place = 2 * np.arange(np.prod(GRID)).reshape(GRID)
    tree.volume = (place[..., None] + np.array(codes) + np.arange(len(codes))).astype(np.int16)
    save_hdf5(tree.betas, tree.volume)
    save_nifti(tree.region, tree.roi)
    for name, letters in LETTERS.items():
        tree.save_pairs(name, letters)
    for letter in LETTERS["A"] + LETTERS["B"]:
        tree.picture(letter).parent.mkdir(parents=True, exist_ok=True)
        mode, value = (
            ("L", 9 * CODE[letter]) if letter in "HR" else ("RGB", (9 * CODE[letter], 1, 2))
        )
        Image.new(mode, (6, 6), value).save(tree.picture(letter))
    return tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return write(tmp_path / "nsd")


def read(tree: Tree, **kinds: object):
    return read_imagery(tree.root, ImageryConfig(**kinds))


@pytest.mark.parametrize(
    ("kinds", "runs"),
    [
        ({"task": "vision"}, ["visA", "visB"]),
        ({}, ["imgA_1", "imgB_1", "imgA_2", "imgB_2"]),
        ({"stimulus_sets": "complex"}, ["imgB_1", "imgB_2"]),
    ],
)
def test_every_beta_stands_beside_its_target(
    tree: Tree, kinds: dict[str, str], runs: list[str]
) -> None:
    recording = read(tree, **kinds)
    trials = recording.trials
    assert trials["run_name"].drop_duplicates().tolist() == runs
    assert [ORDER[r] for r in trials["run"].drop_duplicates()] == runs
    letters = trials["stimulus_id"].str.removeprefix("imagery_")
    place = 2 * np.flatnonzero(tree.roi.ravel() > 0)
    code = np.array([1000 * CODE[x] for x in letters]) + trials["trial"].to_numpy()
    np.testing.assert_allclose(recording.read_betas(1), (code[:, None] + place) / 300, rtol=1e-6)
    assert (trials.groupby("stimulus_id").size() == 2 * len(runs) // len(
        {r[3] for r in runs})).all()  # fmt: skip


def test_in_vision_the_picture_counts_and_not_the_cue(tree: Tree) -> None:
    trials = read(tree, task="vision").trials
    table = tree.tables["visA"].sort_values("TRIAL")
    own = trials[trials["run_name"] == "visA"]
    assert own["stimulus_id"].tolist() == [f"imagery_{c}" for c in table["CONDITION"]]
    assert own["cue"].tolist() == table["CUE"].tolist()
    assert (own["cue"] != own["stimulus_id"].str[-1]).any()


def test_pictures_are_those_of_the_targets_grey_ones_too(tree: Tree) -> None:
    recording = read(tree)
    ids = list(recording.stimuli["stimulus_id"])
    assert ids == [f"imagery_{x}" for x in LETTERS["A"] + LETTERS["B"]]
    assert recording.stimuli["set"].tolist() == ["simple"] * 6 + ["complex"] * 6
    for stimulus_id, picture in zip(ids, recording.read_pictures(ids), strict=True):
        value = 9 * CODE[stimulus_id[-1]]
        wanted = [value] * 3 if stimulus_id[-1] in "HR" else [value, 1, 2]
        assert picture.shape == (6, 6, 3)
        assert picture.dtype == np.uint8
        assert picture[0, 0].tolist() == wanted


def test_concepts_are_left_out_and_counted_unless_pictures_are_given(
    tree: Tree, tmp_path: Path
) -> None:
    assert read(tree).info["trials_left_out"] == {"imgC_1": LENGTH, "imgC_2": LENGTH}
    with pytest.raises(ConfigError, match="concept_pictures"):
        ImageryConfig(stimulus_sets="conceptual")
    folder = tmp_path / "own"
    folder.mkdir()
    for letter in LETTERS["C"]:
        name = letter if letter in "SZ" else f"target {letter}"
        Image.new("RGB", (6, 6), (CODE[letter], 0, 0)).save(folder / f"{name}.png")
    recording = read(tree, stimulus_sets="simple,conceptual", concept_pictures=folder)
    assert set(recording.trials["run_name"]) == {"imgA_1", "imgA_2", "imgC_1", "imgC_2"}
    pictures = recording.read_pictures(["imagery_S", "imagery_F"])
    assert [p[0, 0, 0] for p in pictures] == [CODE["S"], CODE["F"]]
    assert "nobody saw" in recording.info["concept_pictures"]
    (folder / "target F.png").unlink()
    with pytest.raises(DataError, match="target F"):
        read(tree, stimulus_sets="conceptual", concept_pictures=folder)


@pytest.mark.parametrize("task", ["vision", "imagery"])
def test_the_glms_own_order_of_events_is_held_against_the_tables(tree: Tree, task: str) -> None:
    assert not read(tree, task=task).info["order_checked_with_design_matrix"]
    tree.save_design()
    assert read(tree, task=task).info["order_checked_with_design_matrix"]
    run = {"vision": "visB", "imagery": "imgB_2"}[task]
    whole = tree.events[run]
    tree.events[run] = [*whole[-2:], *whole[:-2]]
    tree.save_design()
    with pytest.raises(DataError, match=f"run {run} .* another order"):
        read(tree, task=task)
    tree.events[run] = whole[:-1]
    tree.save_design()
    with pytest.raises(DataError, match="events"):
        read(tree, task=task)


def test_voxels_of_a_prepared_subject_keep_its_order(tree: Tree, tmp_path: Path) -> None:
    vision = read(tree, task="vision")
    config = PrepareConfig(test="every", no_alignment_test=True)
    out = tmp_path / "vision"
    prepare(vision, out, config)
    mask = tmp_path / "mask.nii.gz"
    save_nifti(mask, np.arange(np.prod(GRID)).reshape(GRID).astype(np.int16) % 2)
    small = prepare(read(tree, task="vision", mask=str(mask)), tmp_path / "small", config)
    again = read(tree, voxels_of=tmp_path / "small")
    flat = np.flatnonzero((tree.roi > 0).ravel() & (np.arange(np.prod(GRID)) % 2 == 1))
    assert again.voxels["flat_index"].tolist() == flat.tolist()
    assert len(again.voxels) == small.betas.shape[1] < len(vision.voxels)
    np.testing.assert_array_equal(read(tree, voxels_of=out).read_betas(1), read(tree).read_betas(1))
    with pytest.raises(DataError, match="nowhere"):
        read(tree, voxels_of=tmp_path / "nowhere")


def test_imagery_goes_through_the_preparation(tree: Tree, tmp_path: Path) -> None:
    recording = read(tree)
    subject = prepare(
        recording,
        tmp_path / "out",
        PrepareConfig(test="every", no_alignment_test=True, zscore="none"),
    )
    np.testing.assert_allclose(subject.betas, recording.read_betas(1), atol=1e-6)
    assert subject.splits["test"] == list(recording.stimuli["stimulus_id"])
    assert subject.info["task"] == "imagery"
    assert subject.trials["repeat"].max() == 3  # two runs, each target twice


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def changed(tree: Tree, run: str, **columns: object) -> None:
    tree.save_table(run, tree.tables[run].assign(**columns))


FAULTS: dict[str, tuple[Callable[[Tree], object], str]] = {
    "no table": (lambda t: t.table("imgB_2").unlink(), "no trials of run imgB_2"),
    "a trial short": (lambda t: t.save_table("imgA_1", t.tables["imgA_1"][:-1]), "11 rows"),
    "trials from 0": (
        lambda t: changed(t, "imgA_1", TRIAL=t.tables["imgA_1"]["TRIAL"] - 1), "each of 1 to 12"),
    "trial is text": (lambda t: changed(t, "imgA_1", TRIAL="one"), "each of 1 to 12"),
    "no column": (
        lambda t: t.save_table("imgA_1", t.tables["imgA_1"].drop(columns="CUE")), "lacks .*CUE"),
    "another target imagined": (lambda t: changed(t, "imgB_1", CUE="W"), "CONDITION"),
    "unknown target": (
        lambda t: changed(t, "imgA_2", CUE="S", CONDITION="S"), "names target 'S'"),
    "table is no text": (
        lambda t: t.table("imgA_1").write_bytes(b"\xff\xfe\x00\x00"), "imgA_1.tsv"),
    "empty table": (lambda t: t.table("imgA_1").write_text(""), "no line of column names"),
    "no picture": (lambda t: t.picture("K").unlink(), "no picture of target K"),
    "five targets": (lambda t: t.save_pairs("A", "HRVLP"), r"shape \(5, 3\)"),
    "a letter twice": (lambda t: t.save_pairs("A", "HRVLPP"), "six different ones"),
    "a letter in two sets": (lambda t: t.save_pairs("A", "HRVLPW"), "letter W twice"),
    "a path for a name": (lambda t: t.save_pairs("A", "HRVLPE", "../{}.png"), "not a file's name"),
    "a path for a letter": (lambda t: t.save_pairs("A", "HRVLP/"), "six different"),
    "targets cut off": (lambda t: cut(t.experiment / "A_pair_list.mat"), "MATLAB"),
    "no targets": (lambda t: (t.experiment / "A_pair_list.mat").unlink(), "no targets of the"),
    "no pair_list": (
        lambda t: savemat(t.experiment / "B_pair_list.mat", {"x": 1}), r"lacks \['pair_list'\]"),
    "betas cut off": (lambda t: cut(t.betas), "cut off, damaged"),
    "576 betas": (lambda t: save_hdf5(t.betas, t.volume[..., :144]), "144 betas, not 15"),
    "a design of another experiment": (
        lambda t: savemat(t.experiment / "designmatrixGLMsingle.mat", {"stimulus": np.eye(3)}),
        "9 cells"),
    "a design of text": (
        lambda t: savemat(t.experiment / "designmatrixGLMsingle.mat",
                          {"stimulus": np.array([["x"] * 12], dtype=object)},
                          do_compression=True),
        "no matrix"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(tree: Tree, name: str) -> None:
    plant, message = FAULTS[name]
    plant(tree)
    with pytest.raises(DataError, match=message):
        read(tree)


def test_a_damaged_picture_is_named_when_it_is_read(tree: Tree) -> None:
    tree.picture("W").write_bytes(b"no picture")
    with pytest.raises(DataError, match="not a readable image"):
        list(read(tree).read_pictures(["imagery_W"]))
