"""A running server of a miniature bucket, and the config that fetches from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bucket_server import BucketServer, serve
from small_nsd import small_nsd

from mindeye.datasets.nsd.fetch_list import FetchConfig


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[BucketServer]:
    """Serve two sessions of subj01."""
    with serve(small_nsd()) as running:
        yield running


@pytest.fixture
def config(server: BucketServer, tmp_path: Path) -> FetchConfig:
    """All files of the served subject, terms accepted."""
    return FetchConfig(
        subject=1, root=tmp_path / "nsd", sessions="1-2", endpoint=server.endpoint,
        i_accept_the_nsd_terms=True, attempts=3,
    )  # fmt: skip
