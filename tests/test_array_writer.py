"""An array written from front to back is the array, or nothing, and goes on when cut off."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import numpy as np
import pytest

from mindeye import arrays as room
from mindeye.arrays import ArrayWriter, array_writer, column_blocks, row_blocks
from mindeye.errors import MindEyeError

VALUES = np.arange(24, dtype=np.float64).reshape(4, 3, 2)


def write(
    path: Path,
    rows: int,
    *parts: np.ndarray,
    stop: type[BaseException] | None = None,
    **how: object,
) -> None:
    with array_writer(path, rows, np.uint8, **how) as array:  # type: ignore[arg-type]
        for part in parts:
            array.append(part)
        if stop is not None:
            raise stop


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_is_what_was_given_wherever_it_was_cut(tmp_path: Path) -> None:
    with array_writer(tmp_path / "a.npy", 4, np.float16) as array:
        array.append(VALUES[:1])
        array.append(VALUES[1:])
    with array_writer(tmp_path / "b.npy", (4, 3), np.float16) as array:
        for part in np.split(VALUES.reshape(12, 2), [5, 6]):
            array.append(part)
    np.save(tmp_path / "c.npy", VALUES.astype(np.float16))
    for name in ("a.npy", "b.npy"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "c.npy").read_bytes()
    assert names(tmp_path) == ["a.npy", "b.npy", "c.npy"]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_or_many_rows_leave_nothing(count: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows"):
        write(tmp_path / "a.npy", 2, np.zeros((count, 2)))
    assert names(tmp_path) == []


def test_what_was_there_stays_where_it_fails(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(KeyError):
        write(tmp_path / "a.npy", 9, np.zeros(4), stop=KeyError)
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.ones(3))
    assert names(tmp_path) == ["a.npy"]


def cut_off(path: Path, key: object, *, keep: bool = True) -> None:
    with (
        contextlib.suppress(KeyboardInterrupt),
        array_writer(path, 4, np.float32, key=key) as array,
    ):
        array.append(VALUES[:2])
        if keep:
            array.keep()
        array.append(VALUES[2:3])
        raise KeyboardInterrupt


def test_what_was_cut_off_goes_on_behind_the_rows_that_were_kept(tmp_path: Path) -> None:
    key = {"of": ("the", "same")}
    cut_off(tmp_path / "a.npy", key)
    assert not (tmp_path / "a.npy").exists()
    with (tmp_path / ".a.npy.partial").open("ab") as file:
        file.write(b"torn!" * 100)
    with array_writer(tmp_path / "a.npy", 4, np.float32, key=key) as array:
        assert array.done == 2
        array.append(VALUES[2:])
    np.save(tmp_path / "b.npy", VALUES.astype(np.float32))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert names(tmp_path) == ["a.npy", "b.npy"]


@pytest.mark.parametrize("spoilt", ["another key", "nothing kept", "record torn", "rows gone"])
def test_what_cannot_be_gone_on_with_is_written_anew(spoilt: str, tmp_path: Path) -> None:
    cut_off(tmp_path / "a.npy", "first", keep=spoilt != "nothing kept")
    if spoilt == "record torn":
        (tmp_path / ".a.npy.partial.json").write_text('{"of"')
    if spoilt == "rows gone":
        (tmp_path / ".a.npy.partial").unlink()
    key = "second" if spoilt == "another key" else "first"
    with array_writer(tmp_path / "a.npy", 4, np.float32, key=key) as array:
        assert array.done == 0
        array.append(VALUES)
    assert np.array_equal(np.load(tmp_path / "a.npy"), VALUES)


def test_a_full_disk_is_named_and_keeps_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ArrayWriter.append

    def full(self: ArrayWriter, values: np.ndarray) -> None:
        if self.done:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, values)
        self.keep()

    monkeypatch.setattr(ArrayWriter, "append", full)
    path, parts = tmp_path / "a.npy", (VALUES[:3], VALUES[3:])
    with pytest.raises(MindEyeError, match=r"no space left .*a\.npy.*, rows are kept"):
        write(path, 4, *parts, key=1, kept="rows are kept")
    monkeypatch.undo()
    with array_writer(tmp_path / "a.npy", 4, np.uint8, key=1) as array:
        assert array.done == 3
        array.append(VALUES[3:])


def test_blocks_put_together_are_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BLOCK_BYTES", 4 * 30)
    whole = np.arange(17 * 11, dtype=np.float32).reshape(17, 11)
    np.save(tmp_path / "a.npy", whole)
    array = np.load(tmp_path / "a.npy", mmap_mode="r")
    rows = [block for _, block in row_blocks(array, "rows")]
    assert len(rows) == 9
    np.testing.assert_array_equal(np.concatenate(rows), whole)
    columns = np.array([0, 2, 3, 7, 10])
    blocks = list(column_blocks(array, columns, "columns"))
    assert len(blocks) == 5
    np.testing.assert_array_equal(
        np.concatenate([block for _, block in blocks], axis=1), whole[:, columns]
    )
