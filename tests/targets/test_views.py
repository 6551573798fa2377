"""Training targets are the same whether they come from a cache or are computed anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mindeye.data.images import to_images
from mindeye.errors import ConfigError
from mindeye.targets.augment import augment
from mindeye.targets.encoders import load_encoder
from mindeye.targets.store import read_embeddings
from mindeye.targets.views import (
    RecomputedTargets,
    StoredTargets,
    draw_seeds,
    moments,
    view_names,
    view_seeds,
    write_views,
)

PICTURES = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
ENCODER = load_encoder("pixels:8:4", device=torch.device("cpu"))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(views: int, stimuli: int) -> list[np.ndarray]:
    """Views whose values say which view and which stimulus they are."""
    ids = 10_000 * np.arange(views)[:, None] + np.arange(stimuli)
    return list(np.broadcast_to(ids[..., None, None], (views, stimuli, 2, 3)).astype(np.float32))


def test_one_array_gives_the_rows_asked_for_and_draws_nothing() -> None:
    rng = generator(0)
    before = rng.get_state()
    targets = StoredTargets(numbered(1, 6))(torch.tensor([4, 0, 4]), rng=rng)
    assert targets[:, 1, 2].tolist() == [4, 0, 4]
    assert torch.equal(rng.get_state(), before)


def test_every_view_is_drawn_equally_often_of_the_right_stimulus_and_again_by_seed() -> None:
    source, rows = StoredTargets(numbered(4, 4000)), torch.arange(4000).flip(0)
    ids = source(rows, rng=generator(1))[:, 1, 2].long()
    assert torch.equal(ids % 10_000, rows)
    counts = torch.bincount(ids // 10_000, minlength=4)
    assert (counts - 1000).abs().max() < 4 * (4000 * 0.25 * 0.75) ** 0.5
    assert torch.equal(source(rows, rng=generator(1))[:, 1, 2].long(), ids)
    assert not torch.equal(source(rows, rng=generator(2))[:, 1, 2].long(), ids)


def test_a_batch_is_a_copy_and_not_the_cache_itself() -> None:
    views = numbered(1, 4)
    StoredTargets(views)(torch.arange(4), rng=generator(0)).zero_()
    assert views[0][3, 0, 0] == 3


def test_views_of_different_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match="views of one shape"):
        StoredTargets([np.zeros((2, 3, 4), np.float32), np.zeros((2, 1, 4), np.float32)])


def test_recomputed_targets_are_augmented_then_embedded() -> None:
    rows = torch.tensor([3, 1, 3])
    source = RecomputedTargets(ENCODER.encode, PICTURES)
    seeds = draw_seeds(3, generator(5))
    assert len(set(seeds)) == 3
    wanted = ENCODER.encode(augment(to_images(PICTURES[[3, 1, 3]]), seeds=seeds))
    rng = generator(5)
    assert torch.equal(source(rows, rng=rng), wanted)
    assert not torch.equal(source(rows, rng=rng), wanted), "the next step sees other views"


def test_recomputed_targets_can_be_trained_on() -> None:
    """Encoders run in inference mode, whose tensors autograd refuses to keep."""
    encoder = load_encoder("zoo", device=torch.device("cpu"))
    targets = RecomputedTargets(encoder.encode, PICTURES)(torch.tensor([0]), rng=generator(0))
    prediction = torch.zeros_like(targets, requires_grad=True)
    (prediction * targets).sum().backward()
    assert prediction.grad is not None
    torch.testing.assert_close(prediction.grad, targets)


def test_cached_views_equal_augmenting_with_the_same_seeds(tmp_path: Path) -> None:
    """Whatever the batch size: every picture of every view has a seed of its own."""
    cached = write_views(
        tmp_path, ENCODER, PICTURES, seed=3, count=2, fingerprint="f", batch_size=3
    )
    assert [p.stem for p in sorted(tmp_path.glob("*.npy"))] == view_names(2)
    for view, array in enumerate(cached, start=1):
        seeds = view_seeds(3, view, range(10))
        wanted = ENCODER.encode(augment(to_images(PICTURES), seeds=seeds))
        np.testing.assert_array_equal(array, wanted.numpy())
    assert not np.array_equal(*cached)
    for array, name in zip(cached, view_names(2), strict=True):
        np.testing.assert_array_equal(array, read_embeddings(tmp_path, name, fingerprint="f"))


def test_no_two_pictures_views_or_runs_share_a_seed() -> None:
    seeds = [s for run in range(3) for view in range(1, 4) for s in view_seeds(run, view, range(9))]
    assert len(set(seeds)) == 81


@pytest.mark.parametrize("block", [1, 4, 256])
def test_moments_equal_the_direct_computation(block: int) -> None:
    """Also far from zero, where sums of squares would cancel."""
    array = np.random.default_rng(0).normal(50, 2, (20, 3, 4)).astype(np.float32)
    rows = np.array([5, 0, 19, 7, 7, 2])
    mean, variance = moments(array, rows, block=block)
    direct = array[rows].astype(np.float64)
    np.testing.assert_allclose(mean.numpy(), direct.mean(axis=0), rtol=1e-12)
    assert variance == pytest.approx(((direct - direct.mean(axis=0)) ** 2).mean(), rel=1e-10)


def test_moments_by_hand() -> None:
    """Rows (0, 2) and (4, 2): mean (2, 2), squares 4, 0, 4, 0, their mean 2."""
    array = np.array([[[0.0, 2.0]], [[4.0, 2.0]], [[99.0, 99.0]]], dtype=np.float32)
    mean, variance = moments(array, [0, 1], block=1)
    assert mean.tolist() == [[2.0, 2.0]]
    assert variance == 2.0
