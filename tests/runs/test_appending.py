"""An array that is written from front to back is the array, or nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mindeye.runs.appending import appended_array


def test_it_is_what_was_given_wherever_it_was_cut(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float64).reshape(4, 3, 2)
    with appended_array(tmp_path / "a.npy", values.shape, np.float16) as append:
        append(values[:1])
        append(values[1:].reshape(-1)[:5])
        append(values[1:].reshape(-1)[5:])
    read = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert read.dtype == np.float16
    assert np.array_equal(read, values)


@pytest.mark.parametrize("count", [0, 3, 5])
def test_too_few_or_many_values_leave_nothing(count: int, tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="were written into"),
        appended_array(tmp_path / "a.npy", (2, 2), np.uint8) as append,
    ):
        append(np.zeros(count))
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays_where_it_fails(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(KeyError), appended_array(tmp_path / "a.npy", (9,), np.uint8):
        raise KeyError
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.ones(3))
