"""A source of one's own: a config, a function, and one entry in `DATASETS`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mindeye
from mindeye.cli import main
from mindeye.data.trials import complete_trials
from mindeye.errors import UsageError

STIMULI = 12
VOXELS = 5


@dataclass(frozen=True)
class LabConfig:
    """Where the laboratory keeps its recording.

    Parameters
    ----------
    name
        Name of the subject.
    gain
        What the betas are multiplied by.
    left_out
        Stimuli that are left out.
    """

    name: str = "subj01"
    gain: float = 1.0
    left_out: tuple[int, ...] = ()


def read_lab(root: Path, config: LabConfig) -> mindeye.Recording:
    """Read `betas.npy`, whose trials show picture 0, 1, 2 ... again and again."""
    betas = np.load(root / "betas.npy").astype(np.float32) * np.float32(config.gain)
    shown = np.arange(len(betas)) % STIMULI
    kept = ~np.isin(shown, config.left_out)
    trials = complete_trials(pd.DataFrame({"stimulus_id": shown[kept].astype(str)}))
    return mindeye.Recording(
        subject=config.name,
        trials=trials,
        stimuli=pd.DataFrame({"stimulus_id": sorted(set(trials["stimulus_id"]), key=int)}),
        voxels=pd.DataFrame({"voxel": np.arange(betas.shape[1])}),
        read_betas=lambda session: betas[kept],
        read_pictures=lambda ids: (np.full((6, 6, 3), 20 * int(s), dtype=np.uint8) for s in ids),
        inputs=(root / "betas.npy",),
        info={"source": "laboratory", "simulated": False},
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    np.save(tmp_path / "betas.npy", np.random.default_rng(0).standard_normal((36, VOXELS)))
    return tmp_path


@pytest.fixture
def lab() -> Iterator[mindeye.Dataset]:
    source = mindeye.Dataset("the laboratory's recordings", LabConfig, read_lab, "its folder")
    mindeye.DATASETS["lab"] = source
    yield source
    del mindeye.DATASETS["lab"]


def test_an_own_source_is_prepared_from_python(lab: mindeye.Dataset, root: Path) -> None:
    recording = mindeye.DATASETS["lab"].open(LabConfig(gain=2), root)
    config = mindeye.PrepareConfig(no_alignment_test=True, zscore="none", duplicates="allow")
    subject = mindeye.prepare(recording, root / "out", config)
    np.testing.assert_allclose(subject.betas, 2 * np.load(root / "betas.npy"), rtol=1e-6)
    assert sorted(s for ids in subject.splits.values() for s in ids) == sorted(
        str(i) for i in range(STIMULI)
    )
    assert subject.info["source"] == "laboratory"
    with pytest.raises(UsageError, match="give root: its folder"):
        lab.open(LabConfig())


def test_an_own_source_is_prepared_by_the_command(lab: mindeye.Dataset, root: Path) -> None:
    words = ["prepare", "lab", f"--root={root}", f"--out={root / 'out'}", "--gain=3"]
    words += ["--left-out", "3", "7", "--no-alignment-test", "--zscore=none"]
    assert main([*words, "--duplicates=allow"]) == 0
    subject = mindeye.load_subject(root / "out")
    assert {"3", "7"}.isdisjoint(subject.trials["stimulus_id"])
    kept = ~np.isin(np.arange(36) % STIMULI, (3, 7))
    np.testing.assert_allclose(subject.betas, 3 * np.load(root / "betas.npy")[kept], rtol=1e-6)


def test_every_shipped_source_says_what_it_reads() -> None:
    for name, source in mindeye.DATASETS.items():
        assert name == name.lower()
        assert source.help
        assert source.config.__doc__
