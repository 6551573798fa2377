"""Networks of metrics come over a real connection: checked by hash, resumed, with faults."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bucket_server import BUCKET, BucketServer, cut_after, serve, short, slow, status

from mindeye.errors import CheckpointError, DataError, MindEyeError, UsageError
from mindeye.weights import metric_networks
from mindeye.weights.download import TransferError, announced
from mindeye.weights.metric_networks import (
    METRIC_FILES,
    FetchMetricsConfig,
    MetricFile,
    fetch_metrics,
)

CONTENT = np.random.default_rng(0).bytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
HASHED, PLAIN = f"net-{DIGEST[:8]}.pth", "net.pth.tar"


@pytest.fixture(autouse=True)
def _small_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small files instead of the published ones: one whose name carries a hash, one without."""
    for name in list(METRIC_FILES):
        monkeypatch.delitem(METRIC_FILES, name)
    for name in (HASHED, PLAIN):
        file = MetricFile(name, "https://nowhere.invalid/models", 3_000_000, "net: m", "BSD, made")
        monkeypatch.setitem(METRIC_FILES, name, file)


@pytest.fixture
def server() -> Iterator[BucketServer]:
    with serve({HASHED: CONTENT, PLAIN: b"tensors" * 1000}) as running:
        yield running


def fetch(server: BucketServer, out: Path, **options: Any) -> list[str]:
    lines: list[str] = []
    config = FetchMetricsConfig(
        out, mirror=f"{server.endpoint}/{BUCKET}", no_clip=True, **{"attempts": 3, **options}
    )
    fetch_metrics(config, tell=lines.append, wait=lambda _: None)
    return lines


def test_files_come_whole_with_size_licence_and_address_told_first(
    server: BucketServer, tmp_path: Path
) -> None:
    told = "\n".join(fetch(server, tmp_path / "m"))
    assert (tmp_path / "m" / HASHED).read_bytes() == CONTENT
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == sorted([HASHED, PLAIN])
    assert "licence: BSD, made" in told
    assert f"SHA-256 begins with {DIGEST[:8]}" in told
    assert "no hash of it is published" in told
    assert f"--weights {tmp_path / 'm'}" in told
    server.sent.clear()
    assert "is here already" in "\n".join(fetch(server, tmp_path / "m"))
    assert not server.sent


def test_a_cut_connection_is_continued_and_costs_no_byte_twice(
    server: BucketServer, tmp_path: Path
) -> None:
    server.faults[HASHED] = [cut_after(1_500_000), short(10)]
    fetch(server, tmp_path)
    assert (tmp_path / HASHED).read_bytes() == CONTENT
    assert server.sent[HASHED] < len(CONTENT) + 200_000
    assert any(asked for verb, key, asked in server.requests if verb == "GET" and key == HASHED)


def test_a_second_command_goes_on_where_the_first_was_cut(
    server: BucketServer, tmp_path: Path
) -> None:
    server.faults[HASHED] = [cut_after(2_000_000), status(503), status(503), status(503)]
    with pytest.raises(TransferError, match="the same command goes on"):
        fetch(server, tmp_path)
    assert not (tmp_path / HASHED).exists()
    server.faults.clear()
    server.sent.clear()
    fetch(server, tmp_path)
    assert (tmp_path / HASHED).read_bytes() == CONTENT
    assert server.sent[HASHED] <= len(CONTENT) - 1_900_000


def test_content_of_another_hash_is_deleted_and_named(server: BucketServer, tmp_path: Path) -> None:
    server.files[HASHED] = bytes(len(CONTENT))
    with pytest.raises(CheckpointError, match=f"not {DIGEST[:8]}") as caught:
        fetch(server, tmp_path)
    assert "deleted" in str(caught.value)
    assert not any(tmp_path.glob(f"{HASHED}*"))


def test_a_wrong_file_that_lies_there_already_is_named_and_kept(
    server: BucketServer, tmp_path: Path
) -> None:
    (tmp_path / HASHED).write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="not the published file"):
        fetch(server, tmp_path)
    assert (tmp_path / HASHED).read_bytes() == b"something else"


def test_a_file_that_is_gone_is_named(server: BucketServer, tmp_path: Path) -> None:
    del server.files[PLAIN]
    with pytest.raises(DataError, match=r"net\.pth\.tar is not on its server"):
        fetch(server, tmp_path)


def test_a_silent_server_is_given_up(server: BucketServer, tmp_path: Path) -> None:
    server.always[HASHED] = slow(3.0)
    with pytest.raises(TransferError, match="broke off"):
        fetch(server, tmp_path, timeout=1, attempts=1)


def test_no_connection_is_named(tmp_path: Path) -> None:
    config = FetchMetricsConfig(tmp_path, mirror="http://127.0.0.1:9", no_clip=True)
    with pytest.raises(TransferError, match="no connection"):
        fetch_metrics(config, tell=lambda _: None, wait=lambda _: None)


def test_a_dry_run_opens_no_connection_and_writes_nothing(
    server: BucketServer, tmp_path: Path
) -> None:
    told = fetch(server, tmp_path / "m", dry_run=True)
    assert told[-1] == "nothing was downloaded"
    assert not server.requests
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("mirror", ["file:///etc", "nowhere", "ftp://x/y"])
def test_addresses_of_other_kinds_are_refused(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no address"):
        FetchMetricsConfig(tmp_path, mirror=mirror)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(UsageError, match="no folder"):
        FetchMetricsConfig(tmp_path / "f")


def test_a_folder_that_cannot_be_written_is_named(server: BucketServer, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(MindEyeError, match="cannot"):
        fetch(server, tmp_path / "f" / "inside")


def test_hashes_are_those_of_torchvisions_names() -> None:
    names = (metric_networks.ALEXNET, metric_networks.INCEPTION, metric_networks.EFFICIENTNET)
    digests = [MetricFile(name, "", 0, "", "").digest for name in names]
    assert digests == ["7be5be79", "0cc3c7bd", "c27df63c"]
    from torchvision.models import AlexNet_Weights, EfficientNet_B1_Weights, Inception_V3_Weights

    published = (AlexNet_Weights, Inception_V3_Weights, EfficientNet_B1_Weights)
    for name, weights in zip(names, published, strict=True):
        assert weights.DEFAULT.url.endswith(f"/models/{name}")


@pytest.mark.parametrize("where", ["http://localhost:{port}/other", "ftp://127.0.0.1/other"])
def test_redirects_to_another_server_or_scheme_are_refused(
    server: BucketServer, tmp_path: Path, where: str
) -> None:
    server.redirects[HASHED] = where.format(port=server.server_port)
    with pytest.raises(DataError, match="redirects to another server"):
        fetch(server, tmp_path)
    server.redirects[HASHED] = f"{server.endpoint}/{BUCKET}/{PLAIN}"
    assert announced(f"{server.endpoint}/{BUCKET}/{HASHED}", timeout=5).size == 7000
