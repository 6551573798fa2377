"""Several processes write the array that one writes: real ones, started by torchrun."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from embedding_processes import embed

from mindeye import arrays
from mindeye.processes import Processes

SCRIPT = Path(__file__).with_name("embedding_processes.py")
NAMES = ("tokens", "recoloured")
BATCHES_BEFORE_CUT = 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Arrays of one process, of two, and of two that went on where one was cut off."""
    home = tmp_path_factory.mktemp("processes")
    for name in ("one", "two"):
        (home / name).mkdir()

    def cut(batch: int) -> None:
        if batch == BATCHES_BEFORE_CUT:  # what a power cut here would leave on the disk
            shutil.copytree(home / "one", home / "cut")

    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "KEEP_EVERY", 0.0)
        embed(home / "one", Processes(torch.device("cpu")), cut)
    torch.set_num_threads(threads)
    assert (home / "cut" / ".tokens.npy.partial").is_file()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    outs = [str(home / "two"), str(home / "cut")]
    subprocess.run([*command, str(SCRIPT), *outs], check=True, timeout=300, env=environment)
    return home


def same(found: Path, expected: Path) -> bool:
    return all(
        (found / f"{name}{end}").read_bytes() == (expected / f"{name}{end}").read_bytes()
        for name in NAMES
        for end in (".npy", ".json")
    )


def test_two_processes_write_the_bytes_of_one_and_share_the_work(folders: Path) -> None:
    assert same(folders / "two", folders / "one")
    assert not list((folders / "two").glob(".*"))
    # 8 batches of each of 2 arrays: a half for each process
    shares = [(folders / "two" / f"process{i}_of_2.txt").read_text() for i in (0, 1)]
    assert shares == ["8", "8"]


def test_two_processes_go_on_where_one_was_cut_off(folders: Path) -> None:
    assert same(folders / "cut", folders / "one")
    # 5 batches of tokens are left, 3 for the first; the second embeds one twice in the last round
    assert (folders / "cut" / "process0_of_2.txt").read_text() == "7"
