"""Several processes write the array that one writes: real ones, started by torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("embedding_processes.py")
NAMES = ("tokens", "recoloured")


def launch(out: Path, count: int, *, cut_after: int = -1) -> None:
    out.mkdir(exist_ok=True)
    command = [sys.executable]
    if count > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, str(SCRIPT), str(out), str(cut_after)],
        check=cut_after < 0,
        timeout=300,
        env=environment,
        capture_output=cut_after >= 0,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("processes") / "one"
    launch(out, 1)
    return out


def same(found: Path, expected: Path) -> bool:
    return all(
        (found / f"{name}{end}").read_bytes() == (expected / f"{name}{end}").read_bytes()
        for name in NAMES
        for end in (".npy", ".json")
    )


def test_two_processes_write_the_bytes_of_one_and_share_the_work(
    alone: Path, tmp_path: Path
) -> None:
    launch(tmp_path / "two", 2)
    assert same(tmp_path / "two", alone)
    assert not list((tmp_path / "two").glob(".*"))
    # 8 batches of each of 2 arrays: a half for each process
    shares = [(tmp_path / "two" / f"process{i}_of_2.txt").read_text() for i in (0, 1)]
    assert shares == ["8", "8"]


def test_two_processes_go_on_where_one_was_cut_off(alone: Path, tmp_path: Path) -> None:
    launch(tmp_path / "cut", 1, cut_after=3)
    assert (tmp_path / "cut" / ".tokens.npy.partial").is_file()
    launch(tmp_path / "cut", 2)
    assert same(tmp_path / "cut", alone)
    # 5 batches of tokens are left, 3 for the first; the second embeds one twice in the last round
    assert (tmp_path / "cut" / "process0_of_2.txt").read_text() == "7"
