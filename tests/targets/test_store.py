from __future__ import annotations

import errno
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mindeye import arrays
from mindeye.arrays import ArrayWriter
from mindeye.errors import CheckpointError, DataError, MindEyeError
from mindeye.targets.store import read_embeddings, write_embeddings
from mindeye.targets.views import StoredTargets

PICTURES = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)


def mean_colour(images: torch.Tensor) -> torch.Tensor:
    return images.mean(dim=(2, 3))


def test_stored_embeddings_equal_computed_ones_and_are_memory_mapped(tmp_path: Path) -> None:
    stored = write_embeddings(tmp_path, "e", mean_colour, PICTURES, fingerprint="f", batch_size=3)
    assert isinstance(stored, np.memmap)
    np.testing.assert_allclose(stored, PICTURES.mean(axis=(1, 2)) / 255, rtol=1e-5)


def test_a_second_call_computes_nothing(tmp_path: Path) -> None:
    write_embeddings(tmp_path, "e", mean_colour, PICTURES, fingerprint="f")

    def never(images: torch.Tensor) -> torch.Tensor:
        raise AssertionError("computed again")

    write_embeddings(tmp_path, "e", never, PICTURES, fingerprint="f")


def test_another_model_replaces_the_store(tmp_path: Path) -> None:
    write_embeddings(tmp_path, "e", mean_colour, PICTURES, fingerprint="f")
    again = write_embeddings(tmp_path, "e", lambda x: mean_colour(x) * 2, PICTURES, fingerprint="g")
    np.testing.assert_allclose(again, PICTURES.mean(axis=(1, 2)) / 255 * 2, rtol=1e-5)


def test_embeddings_of_another_model_are_refused(tmp_path: Path) -> None:
    write_embeddings(tmp_path, "e", mean_colour, PICTURES, fingerprint="f")
    with pytest.raises(CheckpointError, match="was made under f, this run needs g"):
        read_embeddings(tmp_path, "e", fingerprint="g")
    with pytest.raises(CheckpointError, match="run the stage embed first"):
        read_embeddings(tmp_path, "other", fingerprint="f")


def test_an_embedding_that_is_not_finite_is_named(tmp_path: Path) -> None:
    def broken(images: torch.Tensor) -> torch.Tensor:
        result = mean_colour(images)
        result[images[:, 0, 0, 0] == PICTURES[7, 0, 0, 0] / 255] = torch.nan
        return result

    with pytest.raises(DataError, match="of picture 7 are not finite"):
        write_embeddings(tmp_path, "e", broken, PICTURES, fingerprint="f", batch_size=4)
    assert not (tmp_path / "e.npy").exists()


def cut_off_after(calls: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """An encoder whose process dies after so many batches."""
    left = [calls]

    def encode(images: torch.Tensor) -> torch.Tensor:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return mean_colour(images)

    return encode


def test_a_resumed_embedding_equals_an_uninterrupted_one_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "KEEP_EVERY", 0.0)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    write_embeddings(whole, "e", mean_colour, PICTURES, fingerprint="f", batch_size=3)
    with pytest.raises(KeyboardInterrupt):
        write_embeddings(cut, "e", cut_off_after(2), PICTURES, fingerprint="f", batch_size=3)
    with pytest.raises(CheckpointError, match="run the stage embed first"):
        read_embeddings(cut, "e", fingerprint="f")
    seen: list[range] = []

    def prepare(images: torch.Tensor, rows: range) -> torch.Tensor:
        seen.append(rows)
        return images

    write_embeddings(
        cut, "e", mean_colour, PICTURES, fingerprint="f", batch_size=3, prepare=prepare
    )
    assert seen == [range(6, 9), range(9, 10)], "only what was missing is computed"
    assert (cut / "e.npy").read_bytes() == (whole / "e.npy").read_bytes()
    assert sorted(p.name for p in cut.iterdir()) == ["e.json", "e.npy"]


def test_rows_written_after_the_last_safe_count_are_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a power cut: the file is longer than the count, and its end is torn."""
    monkeypatch.setattr(arrays, "KEEP_EVERY", 0.0)
    with pytest.raises(KeyboardInterrupt):
        write_embeddings(tmp_path, "e", cut_off_after(2), PICTURES, fingerprint="f", batch_size=3)
    with (tmp_path / ".e.npy.partial").open("ab") as file:
        file.write(b"torn!" * 100)
    stored = write_embeddings(tmp_path, "e", mean_colour, PICTURES, fingerprint="f", batch_size=3)
    np.testing.assert_allclose(stored, PICTURES.mean(axis=(1, 2)) / 255, rtol=1e-5)
    assert (tmp_path / "e.npy").stat().st_size == 128 + 10 * 3 * 4


@pytest.mark.parametrize(("fingerprint", "batch_size"), [("g", 3), ("f", 2)])
def test_an_interrupted_embedding_of_another_identity_is_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fingerprint: str, batch_size: int
) -> None:
    monkeypatch.setattr(arrays, "KEEP_EVERY", 0.0)
    with pytest.raises(KeyboardInterrupt):
        write_embeddings(tmp_path, "e", cut_off_after(2), PICTURES, fingerprint="f", batch_size=3)
    stored = write_embeddings(
        tmp_path,
        "e",
        lambda images: 2 * mean_colour(images),
        PICTURES,
        fingerprint=fingerprint,
        batch_size=batch_size,
    )
    np.testing.assert_allclose(stored, 2 * PICTURES.mean(axis=(1, 2)) / 255, rtol=1e-5)


def test_a_full_disk_is_told_and_keeps_what_is_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "KEEP_EVERY", 0.0)
    real, calls = ArrayWriter.append, iter(range(9))

    def full(self: ArrayWriter, block: np.ndarray) -> None:
        if next(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, block)

    monkeypatch.setattr(ArrayWriter, "append", full)
    with pytest.raises(MindEyeError, match="no space left on the disk"):
        write_embeddings(tmp_path, "e", mean_colour, PICTURES, fingerprint="f", batch_size=3)
    stored = write_embeddings(
        tmp_path, "e", cut_off_after(2), PICTURES, fingerprint="f", batch_size=3
    )
    np.testing.assert_allclose(stored, PICTURES.mean(axis=(1, 2)) / 255, rtol=1e-5)


def test_tensors_share_the_store_without_warning_and_never_write_to_it(tmp_path: Path) -> None:
    stored = write_embeddings(tmp_path, "e", mean_colour, PICTURES, fingerprint="f")
    before = (tmp_path / "e.npy").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = torch.from_numpy(stored)
    assert tensor.data_ptr() == stored.ctypes.data
    tensor += 1
    del tensor, stored
    assert (tmp_path / "e.npy").read_bytes() == before


def test_halves_are_stored_as_halves_and_memory_mapped(tmp_path: Path) -> None:
    plain = write_embeddings(tmp_path, "e", mean_colour, PICTURES, fingerprint="f")
    halves = write_embeddings(
        tmp_path, "h", mean_colour, PICTURES, fingerprint="f", stored="float16"
    )
    assert isinstance(halves, np.memmap)
    assert (plain.dtype, halves.dtype) == (np.float32, np.float16)
    assert (halves == plain.astype(np.float16)).all()
    assert (tmp_path / "h.npy").stat().st_size == 128 + 10 * 3 * 2
    rows = torch.tensor([3, 0])
    source = StoredTargets([halves])
    targets = source(rows, rng=torch.Generator())
    assert targets.dtype == torch.float32
    assert (targets.numpy() == halves[[3, 0]].astype(np.float32)).all()


def test_a_store_of_another_type_is_written_again(tmp_path: Path) -> None:
    write_embeddings(tmp_path, "e", mean_colour, PICTURES, fingerprint="f")
    again = write_embeddings(
        tmp_path, "e", mean_colour, PICTURES, fingerprint="f", stored="float16"
    )
    assert again.dtype == np.float16
    assert write_embeddings(tmp_path, "e", mean_colour, PICTURES, fingerprint="f").itemsize == 4


def test_a_store_from_before_types_were_noted_is_float32(tmp_path: Path) -> None:
    write_embeddings(tmp_path, "e", mean_colour, PICTURES, fingerprint="f")
    (tmp_path / "e.json").write_text('{"fingerprint": "f", "count": 10}')

    def never(images: torch.Tensor) -> torch.Tensor:
        raise AssertionError("computed again")

    write_embeddings(tmp_path, "e", never, PICTURES, fingerprint="f")


def test_what_is_too_large_for_halves_is_told(tmp_path: Path) -> None:
    def large(images: torch.Tensor) -> torch.Tensor:
        return mean_colour(images) * 1e5 + 1e5

    with pytest.raises(DataError, match="of picture 0 are too large for float16"):
        write_embeddings(tmp_path, "e", large, PICTURES, fingerprint="f", stored="float16")


def test_a_damaged_store_is_told(tmp_path: Path) -> None:
    stored = write_embeddings(tmp_path, "e", mean_colour, PICTURES, fingerprint="f")
    del stored
    (tmp_path / "e.npy").write_bytes(b"not an array")
    with pytest.raises(CheckpointError, match="is missing or damaged"):
        read_embeddings(tmp_path, "e", fingerprint="f")
