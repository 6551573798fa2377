"""The sub-verb ``gallery embed``: flags, what it prints, its exit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bulk_shards import a_sample, write_shard, write_shards

from mindeye.cli import main


def test_shards_become_embeddings_and_broken_ones_an_exit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_shards(tmp_path / "shards", 2, 3), tmp_path / "out"
    write_shard(source / "00002.tar", [a_sample(6), a_sample(7, png=b"none")])
    words = ["gallery", "embed", str(source), "--out", str(out), "--encoder", "zoo"]
    assert main([*words, "--batch-size", "2"]) == 0
    told = capsys.readouterr().out
    assert "7 embeddings of 3 shards (0 done before)" in told
    assert "1 samples were left out: sample 000000007" in told
    assert len(np.load(out / "img_emb" / "img_emb_00002.npy")) == 1
    assert main(words) == 0
    assert "(3 done before)" in capsys.readouterr().out
    (source / "00003.tar").write_bytes(b"cut")
    assert main(words) == 2
    assert "00003.tar" in capsys.readouterr().err


def test_bad_flags_are_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["gallery", "embed", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "encoder" in capsys.readouterr().err
    assert main([*words, "--encoder", "zoo", "--workers", "-1"]) == 2
    assert "workers is -1" in capsys.readouterr().err
    assert main([*words, "--encoder", "zoo", "--address", "elsewhere"]) == 2
