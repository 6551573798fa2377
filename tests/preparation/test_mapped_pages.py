"""Maps of large files let go of what was read, and lose nothing by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mindeye.arrays import release_pages
from mindeye.preparation.picture_features import thumbnails

STATUS = Path("/proc/self/status")


def _mapped_mib() -> float:
    """Return the mapped file pages that this process holds, in MiB."""
    if not STATUS.is_file():
        pytest.skip("the system does not tell")
    line = next(x for x in STATUS.read_text().splitlines() if x.startswith("RssFile"))
    return int(line.split()[1]) / 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.integers(0, 256, (600, 160, 160, 3), dtype=np.uint8))
    return tmp_path / "a.npy"


def test_pages_leave_the_process_and_can_be_read_again(path: Path) -> None:
    mapped = np.load(path, mmap_mode="r")
    before, total = _mapped_mib(), int(mapped.sum())
    held = _mapped_mib()
    assert held - before > 30
    release_pages(mapped[1:])
    assert _mapped_mib() < held - 30
    assert int(mapped.sum()) == total


def test_thumbnails_do_not_keep_the_pictures(path: Path) -> None:
    mapped = np.load(path, mmap_mode="r")
    before = _mapped_mib()
    small = thumbnails(mapped, side=16)
    # 44 MB in all, 88 of 600 pictures after the last release.
    assert _mapped_mib() - before < 20
    np.testing.assert_array_equal(small, thumbnails(np.load(path), side=16))


def test_changes_to_a_private_map_are_kept(path: Path) -> None:
    private = np.load(path, mmap_mode="c")
    private[0] = 7
    release_pages(private)
    assert (private[0] == 7).all()
    release_pages(np.zeros(3))
