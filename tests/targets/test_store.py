from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mindeye.errors import CheckpointError, DataError
from mindeye.targets.store import read_embeddings, write_embeddings

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
