"""Downloads over lines that break, from servers that err, by processes that are killed."""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from bucket_server import (
    BUCKET,
    BucketServer,
    Fault,
    cut_after,
    endless,
    held,
    replaced,
    short,
    slow,
    status,
    swapped,
    whole_file,
)
from small_nsd import (
    PICTURES,
    SESSION,
    SIZE,
    assert_complete,
    quick_fetch,
    random_bytes,
)
from tqdm import tqdm

from mindeye.datasets.nsd.fetch import fetch_nsd, target_of
from mindeye.datasets.nsd.fetch_list import FetchConfig
from mindeye.errors import DataError
from mindeye.weights.download import BLOCK, PROGRESS, Downloader, TransferError, announced


@pytest.mark.parametrize(
    "faults",
    [
        [cut_after(BLOCK), cut_after(BLOCK + 17), whole_file],
        [short(BLOCK), endless(0)],
        [endless(10)],
        [status(503), status(429)],
        [swapped(random_bytes(5)), slow(0.1)],
        [swapped(random_bytes(5, SIZE + 9))],
        [replaced(random_bytes(7, SIZE + 4))],
        [replaced(random_bytes(6)), whole_file],
    ],
    ids=[
        "cut twice, then Range ignored", "short, then no length", "too long", "503 and 429",
        "wrong bytes", "wrong length", "replaced", "replaced, then If-Match ignored",
    ],
)  # fmt: skip
def test_a_fault_that_passes_leaves_no_trace(
    server: BucketServer, config: FetchConfig, faults: list[Fault]
) -> None:
    server.faults[SESSION] = list(faults)
    quick_fetch(config)
    assert not server.faults[SESSION]
    assert_complete(server, config.root)


def test_a_cut_file_is_continued_and_not_begun_anew(
    server: BucketServer, config: FetchConfig
) -> None:
    server.faults[SESSION] = [cut_after(2 * BLOCK), cut_after(2 * BLOCK)]
    summary = quick_fetch(config)
    assert server.sent[SESSION] <= SIZE + 2 * BLOCK
    ranges = [r for verb, key, r in server.requests if (verb, key) == ("GET", SESSION)]
    assert ranges[0] is None
    assert len(ranges) == 3
    assert all(r is not None for r in ranges[1:])
    assert summary.bytes_transferred <= server.sent.total()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (cut_after(0), "the same command goes on"),
        (endless(10), "more than 327803 bytes came"),
        (swapped(random_bytes(5)), "fail the check by size and MD5"),
        (swapped(random_bytes(5, SIZE + 9)), "the server sends 327812 bytes but announced 327803"),
    ],
    ids=["cut at once", "too long", "wrong bytes", "wrong length"],
)
def test_a_fault_that_stays_is_named_after_bounded_tries(
    server: BucketServer, config: FetchConfig, fault: Fault, words: str
) -> None:
    server.always[SESSION] = fault
    with pytest.raises(TransferError, match=words) as caught:
        quick_fetch(config)
    assert "\n" not in str(caught.value)
    assert SESSION in str(caught.value)
    assert sum((v, k) == ("GET", SESSION) for v, k, _ in server.requests) == config.attempts
    assert not (config.root / SESSION).exists()
    server.always.clear()
    quick_fetch(config)
    assert_complete(server, config.root)


def test_a_line_that_always_breaks_but_brings_something_is_not_given_up(
    server: BucketServer, config: FetchConfig
) -> None:
    server.files[SESSION] = random_bytes(4, 4 * PROGRESS)
    server.always[SESSION] = cut_after(PROGRESS + 2 * BLOCK)
    quick_fetch(replace(config, attempts=2))
    assert_complete(server, config.root)


def test_wrong_bytes_are_not_fetched_for_ever_because_they_are_many(
    server: BucketServer, config: FetchConfig
) -> None:
    server.files[SESSION] = random_bytes(4, 2 * PROGRESS)
    wrong = [cut_after(PROGRESS + 2 * BLOCK), swapped(random_bytes(5, 2 * PROGRESS))]
    server.faults[SESSION] = wrong * config.attempts
    with pytest.raises(TransferError, match="fail the check"):
        quick_fetch(config)


@pytest.mark.parametrize(
    "faults",
    [
        [cut_after(3 * BLOCK), whole_file],
        [swapped(random_bytes(5))],
        [replaced(random_bytes(6)), endless(10)],
    ],
    ids=["cut, then Range ignored", "wrong bytes", "replaced, then too long"],
)
def test_the_bar_ends_at_the_size_whatever_came_twice(
    server: BucketServer, config: FetchConfig, faults: list[Fault]
) -> None:
    server.faults[SESSION] = list(faults)
    file = announced(f"{server.endpoint}/{BUCKET}/{SESSION}", timeout=5)
    with tqdm(file=io.StringIO()) as bar:
        downloader = Downloader(attempts=3, bar=bar, timeout=5, wait=lambda seconds: None)
        downloader.fetch(file, target_of(config.root, SESSION))
        assert bar.n == SIZE


def test_pauses_between_tries_double(server: BucketServer, config: FetchConfig) -> None:
    server.always[SESSION] = cut_after(0)
    pauses: list[float] = []
    with pytest.raises(TransferError):
        fetch_nsd(replace(config, attempts=5), tell=lambda line: None, wait=pauses.append)
    assert pauses == [1, 2, 4, 8]


def test_files_uploaded_in_pieces_have_no_md5_and_pass_by_size(
    server: BucketServer, config: FetchConfig
) -> None:
    server.etags[SESSION] = "0123456789abcdef0123456789abcdef-17"
    server.faults[SESSION] = [cut_after(BLOCK)]
    quick_fetch(config)
    assert_complete(server, config.root)


def test_two_versions_are_never_pieced_together(server: BucketServer, config: FetchConfig) -> None:
    """By a server that ignores If-Match, with marks that are no MD5 and contents of one size."""
    server.etags[SESSION] = "a" * 32 + "-2"
    server.faults[SESSION] = [replaced(random_bytes(6), "b" * 32 + "-2"), slow(0)]
    quick_fetch(config)
    assert_complete(server, config.root)
    assert server.sent[SESSION] > SIZE
    assert None not in server.conditions


def test_a_part_of_another_version_is_never_continued(
    server: BucketServer, config: FetchConfig
) -> None:
    """Also where the mark is no MD5 that would tell at the end."""
    server.etags[SESSION] = "a" * 32 + "-2"
    server.always[SESSION] = cut_after(BLOCK // 2)
    with pytest.raises(TransferError):
        quick_fetch(config)
    assert (config.root / f"{SESSION}.part").stat().st_size > 0
    server.always.clear()
    server.files[SESSION] = random_bytes(8)
    server.etags[SESSION] = "b" * 32 + "-2"
    quick_fetch(config)
    assert_complete(server, config.root)


def test_a_disk_that_is_too_small_is_told_before_any_download(
    server: BucketServer, config: FetchConfig
) -> None:
    server.announced[SESSION] = 10**18
    with pytest.raises(DataError, match=r"1000000\.\d\d TB are to come, .* too little"):
        quick_fetch(config)
    assert not server.sent
    assert not config.root.exists()


def test_what_is_kept_needs_no_space(
    server: BucketServer, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_fetch(config)
    (config.root / SESSION).unlink()
    server.always[SESSION] = cut_after(2 * BLOCK)
    with pytest.raises(TransferError):
        quick_fetch(replace(config, attempts=1))
    server.always.clear()
    rest = SIZE - (config.root / f"{SESSION}.part").stat().st_size
    assert rest < SIZE
    usage = shutil.disk_usage(config.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=rest - 1))
    with pytest.raises(DataError, match="1 bytes too little"):
        quick_fetch(config)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=rest))
    quick_fetch(config)
    assert_complete(server, config.root)


def _code(config: FetchConfig, *, before: str = "", wait: str = "lambda seconds: None") -> str:
    """Return a program that fetches and ends with the error's one line."""
    return f"""
from pathlib import Path
{before}
from mindeye.errors import MindEyeError
from mindeye.datasets.nsd.fetch_list import FetchConfig
from mindeye.datasets.nsd.fetch import fetch_nsd
try:
    fetch_nsd({config!r}, tell=lambda line: None, wait={wait})
except MindEyeError as error:
    raise SystemExit(str(error))
""".replace("PosixPath", "Path")


def test_a_file_that_cannot_grow_is_named_and_the_part_kept(
    server: BucketServer, config: FetchConfig
) -> None:
    limit = 2 * BLOCK
    before = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    )
    command = [sys.executable, "-c", _code(config, before=before)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("cannot write")
    assert done.stderr.count("\n") == 1
    assert next(config.root.rglob("*.part")).stat().st_size == limit
    quick_fetch(config)
    assert_complete(server, config.root)


def test_a_disk_that_fills_is_named(server: BucketServer, config: FetchConfig) -> None:
    """A real small disk in a mount space of its own, filled up while the download waits."""
    config.root.mkdir()
    mount = f"mount -t tmpfs -o size=1m tmpfs {config.root}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this machine does not let a test mount a small disk")
    server.faults[SESSION] = [cut_after(BLOCK)]
    filler = config.root / "filler"
    fill = f"lambda seconds: __import__('os').system('cat /dev/zero > {filler} 2> /dev/null')"
    command = f'{mount} && exec {sys.executable} -c "$1"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command, "sh", _code(config, wait=fill)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("no space left on the disk while writing")
    assert "betas_session02.hdf5.part; free some" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_killed_download_goes_on_without_sending_anything_twice(
    server: BucketServer, config: FetchConfig
) -> None:
    release = threading.Event()
    server.faults[SESSION] = [held(3 * BLOCK, release)]
    process = subprocess.Popen([sys.executable, "-c", _code(config)])
    part = config.root / f"{SESSION}.part"
    try:
        for _ in range(1500):
            if part.is_file() and part.stat().st_size == 3 * BLOCK:
                break
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        release.set()
    assert part.stat().st_size == 3 * BLOCK
    assert not (config.root / SESSION).exists()
    sent = server.sent.total()
    assert sent > 3 * BLOCK
    summary = quick_fetch(config)
    assert_complete(server, config.root)
    rest = server.files[f"{PICTURES}/nsd/nsd_stimuli.hdf5"]
    assert server.sent.total() - sent == summary.bytes_transferred == SIZE - 3 * BLOCK + len(rest)
