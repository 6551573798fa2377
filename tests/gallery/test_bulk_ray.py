"""Bulk embedding on a real local Ray: the same files as without, also when a worker is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bulk_shards import write_shards

from mindeye.errors import ConfigError, DataError
from mindeye.gallery.bulk import ShardEmbedder, embed_shards, on_ray, plan_jobs
from mindeye.gallery.config import BulkConfig
from mindeye.gallery.sources import shards_in

PLAIN = BulkConfig("zoo", batch_size=4)
TWO_WORKERS = replace(PLAIN, workers=2)


def content(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_two_workers_write_the_same_bytes_as_a_plain_loop(tmp_path: Path) -> None:
    source = write_shards(tmp_path / "shards", 4, 5)
    broken = source / "00002.tar"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:1000])
    with pytest.raises(DataError, match=r"1 of 4 shards .*00002\.tar"):
        embed_shards(source, tmp_path / "ray", TWO_WORKERS)
    with pytest.raises(DataError, match=r"1 of 4 shards .*00002\.tar"):
        embed_shards(source, tmp_path / "plain", PLAIN)
    assert len(content(tmp_path / "plain")) == 2 * 3 + 1
    assert content(tmp_path / "ray") == content(tmp_path / "plain")


@pytest.mark.slow
def test_a_shard_that_kills_worker_after_worker_is_given_up(tmp_path: Path) -> None:
    shards = shards_in(write_shards(tmp_path / "shards", 2, 2))
    jobs = plan_jobs(shards, tmp_path / "out", ShardEmbedder(PLAIN, "cpu").facts)

    class Dying(ShardEmbedder):
        def embed(self, job):
            if job.shard.name == "00000.tar":
                with job.shard.with_suffix(".begun").open("a") as file:
                    file.write("x")
                os._exit(1)
            return super().embed(job)

    outcomes = {o.shard: o for o in on_ray(jobs, TWO_WORKERS, Dying)}
    assert "3 workers died" in outcomes["00000.tar"].problem
    assert (tmp_path / "shards" / "00000.begun").read_text() == "xxx"
    assert (outcomes["00001.tar"].rows, outcomes["00001.tar"].problem) == (2, "")


def workers_of(parent: int) -> list[int]:
    """Return the ids of Ray's embedding workers among the descendants of a process."""
    listing = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in listing.stdout.splitlines()]
    family = {parent}
    for _ in rows:
        family |= {int(pid) for pid, above, _ in rows if int(above) in family}
    named = [int(pid) for pid, _, name in rows if "ray::" in name and "ShardEmbedder" in name]
    return [pid for pid in named if pid in family]


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    source, out = write_shards(tmp_path / "shards", 16, 120), tmp_path / "out"
    killed: list[int] = []
    over = threading.Event()

    def kill_one_at_work() -> None:
        while not killed and not over.is_set():
            # once the first shard is there, so that the others are being worked on
            done = len(list(out.glob("metadata/metadata_*.parquet")))
            busy = workers_of(os.getpid()) if done else []
            if busy:
                os.kill(busy[0], signal.SIGKILL)
                killed.append(done)
            time.sleep(0.02)

    watcher = threading.Thread(target=kill_one_at_work)
    watcher.start()
    try:
        before, now = embed_shards(source, out, TWO_WORKERS)
    finally:
        over.set()
        watcher.join()
    assert killed, "no worker was found to kill"
    assert killed[0] < 16, "the job was over before a worker was killed"
    assert sum(outcome.rows for outcome in [*before, *now]) == 16 * 120
    tables = [pd.read_parquet(p) for p in sorted((out / "metadata").glob("*"))]
    keys = pd.concat(tables).key
    assert sorted(keys) == [f"{n:09d}" for n in range(16 * 120)]
    embed_shards(source, tmp_path / "plain", PLAIN)
    assert content(out) == content(tmp_path / "plain")


@pytest.mark.slow
def test_a_job_that_was_killed_goes_on(tmp_path: Path) -> None:
    source, out = write_shards(tmp_path / "shards", 12, 120), tmp_path / "out"
    code = (
        "from pathlib import Path; from mindeye.gallery.bulk import embed_shards; "
        "from mindeye.gallery.config import BulkConfig; "
        f"embed_shards(Path({str(source)!r}), Path({str(out)!r}), BulkConfig('zoo', batch_size=4))"
    )
    job = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not any(out.glob("metadata/metadata_*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
    job.kill()
    job.wait()
    before, now = embed_shards(source, out, TWO_WORKERS)
    assert 0 < len(before) < 12
    assert sum(outcome.rows for outcome in [*before, *now]) == 12 * 120
    embed_shards(source, tmp_path / "plain", PLAIN)
    vectors = [np.load(p) for p in sorted((out / "img_emb").glob("*"))]
    assert len(np.concatenate(vectors)) == 12 * 120
    assert content(out) == content(tmp_path / "plain")


def test_no_cluster_to_join_is_a_named_error(tmp_path: Path) -> None:
    source = write_shards(tmp_path / "shards", 1, 1)
    with pytest.raises(ConfigError, match=r"no Ray at address=auto"):
        embed_shards(source, tmp_path / "out", replace(TWO_WORKERS, address="auto"))
