"""Dictionaries of arrays are read as NumPy reads them, and nothing in them is executed."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from mindeye.datasets.object_npy import read_object_npy
from mindeye.errors import DataError

HEADER = b"\x93NUMPY\x01\x00"


def save(path: Path, payload: bytes) -> Path:
    text = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    path.write_bytes(HEADER + len(text).to_bytes(2, "little") + text + payload)
    return path


class _Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "betasmd": rng.standard_normal((3, 4, 2, 5)).astype(np.float32),
        "R2": np.asfortranarray(rng.standard_normal((3, 4))),
        "big_endian": np.arange(4, dtype=">i2"),
        "flags": np.array([True, False]),
    }


def test_reads_what_numpy_saved(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    more = {
        "stimorder": [np.int64(3), np.int64(1)],
        "numtrialrun": [2, 1],
        "pcnum": np.int64(4),
        "nothing": None,
        "ragged": [np.ones(2), np.ones(3)],
        "params": {"fracs": np.linspace(1, 0.05, 20), "name": "x"},
    }
    np.save(tmp_path / "a.npy", {**arrays, **more})
    names = (*arrays, *more, "absent")
    read = read_object_npy(tmp_path / "a.npy", names)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        assert np.array_equal(read[name], array)
    assert read["stimorder"].tolist() == [3, 1]
    assert read["numtrialrun"].tolist() == [2, 1]
    assert int(read["pcnum"]) == 4
    assert set(read) == {*arrays, "stimorder", "numtrialrun", "pcnum"}


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_reads_both_spellings_of_numpy_in_every_protocol(
    tmp_path: Path, arrays: dict[str, np.ndarray], protocol: int, core: str
) -> None:
    payload = pickle.dumps(np.asanyarray(arrays), protocol=protocol)
    here = np.asarray(0).__reduce__()[0].__module__.rsplit(".", 1)[0].encode()
    if core.encode() != here:
        old, new = here, core.encode()
        for tail in (b".multiarray", b".numeric"):
            for width in (1,):  # SHORT_BINUNICODE carries its length, GLOBAL ends with a newline
                payload = payload.replace(
                    len(old + tail).to_bytes(width, "little") + old + tail,
                    len(new + tail).to_bytes(width, "little") + new + tail,
                )
            payload = payload.replace(b"c" + old + tail + b"\n", b"c" + new + tail + b"\n")
        # Frames carry their length too; protocol 4 without a frame is valid.
        payload = _without_frames(payload)
    read = read_object_npy(save(tmp_path / "a.npy", payload), tuple(arrays))
    for name, array in arrays.items():
        assert np.array_equal(read[name], array)


def _without_frames(payload: bytes) -> bytes:
    if payload[:1] == b"\x80" and payload[2:3] == b"\x95":
        return payload[:2] + payload[11:]
    return payload


def test_a_pickle_that_would_create_a_file_does_not(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    trap = {"betasmd": np.ones(3), "R2": _Touch(planted)}
    np.save(tmp_path / "a.npy", trap)
    with pytest.raises(DataError, match="asks for pathlib"):
        read_object_npy(tmp_path / "a.npy", ("betasmd",))
    assert not planted.exists()
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert planted.exists(), "the trap would have worked"


@pytest.mark.parametrize(
    "line", ["cos\nsystem\n(S'true'\ntR.", "cbuiltins\neval\n(S'1'\ntR.", "cnumpy\nload\n."]
)
def test_other_names_are_refused_by_name(tmp_path: Path, line: str) -> None:
    module, name = line[1:].split("\n")[:2]
    with pytest.raises(DataError, match=f"{module}.{name}"):
        read_object_npy(save(tmp_path / "a.npy", line.encode()), ("R2",))


def test_a_text_that_claims_to_be_objects_is_refused(tmp_path: Path) -> None:
    # ndarray.__setstate__ with raw bytes as object pointers would be read as addresses.
    state = (
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I1\ntcnumpy\ndtype\n(S'O8'\nI0\nI1\ntRI0\nS'AAAAAAAA'\ntb."
    )
    with pytest.raises(DataError, match="objects"):
        read_object_npy(save(tmp_path / "a.npy", state), ("R2",))


def test_structured_types_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", {"R2": np.zeros(2, dtype=[("a", "f4")])})
    with pytest.raises(DataError, match="plain"):
        read_object_npy(tmp_path / "a.npy", ("R2",))


def test_torn_missing_and_other_files_give_named_errors(tmp_path: Path) -> None:
    np.save(tmp_path / "whole.npy", {"R2": np.arange(1000.0)})
    whole = (tmp_path / "whole.npy").read_bytes()
    torn = tmp_path / "torn.npy"
    for end in (0, 5, 40, 127, 130, 200, len(whole) // 2, len(whole) - 1):
        torn.write_bytes(whole[:end])
        with pytest.raises(DataError):
            read_object_npy(torn, ("R2",))
    with pytest.raises(DataError, match="no file"):
        read_object_npy(tmp_path / "absent.npy", ("R2",))
    np.save(tmp_path / "plain.npy", np.ones((3, 2)))
    with pytest.raises(DataError, match="plain array"):
        read_object_npy(tmp_path / "plain.npy", ("R2",))
    np.save(tmp_path / "list.npy", np.array([1, "a", None], dtype=object))
    with pytest.raises(DataError, match="one dictionary"):
        read_object_npy(tmp_path / "list.npy", ("R2",))


def test_flipped_bytes_never_escape_as_another_error(tmp_path: Path) -> None:
    np.save(tmp_path / "whole.npy", {"R2": np.arange(6.0), "n": [1, 2]})
    whole = (tmp_path / "whole.npy").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        torn = bytearray(whole)
        torn[int(rng.integers(len(whole)))] = int(rng.integers(256))
        (tmp_path / "torn.npy").write_bytes(torn)
        try:
            read_object_npy(tmp_path / "torn.npy", ("R2", "n"))
        except DataError:
            continue
