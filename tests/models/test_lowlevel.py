from __future__ import annotations

import pytest
import torch

from mindeye.models.lowlevel import LowLevelDecoder, positions_last

VOXELS = 9


def _model(**options) -> LowLevelDecoder:
    torch.manual_seed(0)
    small = {
        "width": 12,
        "blocks": 1,
        "seed": (32, 4, 4),
        "block_out_channels": (32, 64),
        "maps_width": 7,
    }
    return LowLevelDecoder(VOXELS, **{**small, **options})


@pytest.mark.parametrize(
    ("seed", "block_out_channels", "latent_channels", "latents"),
    [
        ((64, 4, 4), (32, 64), 16, (16, 8, 8)),
        ((64, 8, 8), (32, 64), 4, (4, 16, 16)),
        ((32, 4, 6), (32,), 4, (4, 4, 6)),
        ((32, 4, 4), (32, 32, 64), 4, (4, 16, 16)),
    ],
)
def test_every_up_block_but_one_doubles_the_grid(
    seed, block_out_channels, latent_channels, latents
) -> None:
    model = _model(
        seed=seed, block_out_channels=block_out_channels, latent_channels=latent_channels
    )
    output = model(torch.randn(2, VOXELS))
    assert output.latents.shape == (2, *latents)
    assert output.maps.shape == (2, seed[1] * seed[2], 7)


def test_maps_are_left_out_without_a_projector() -> None:
    assert _model(maps_width=None)(torch.randn(2, VOXELS)).maps is None


def test_seed_grid_is_normalised_per_trial() -> None:
    seed = _model().eval().seed_grid(torch.randn(3, VOXELS)).flatten(1)
    torch.testing.assert_close(seed.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(seed.var(1, unbiased=False), torch.ones(3), atol=1e-2, rtol=0)


def test_positions_are_read_row_by_row() -> None:
    maps = torch.arange(12.0).reshape(1, 2, 2, 3)  # value = 6 channel + 3 row + column
    assert positions_last(maps)[0, 4].tolist() == [4.0, 10.0]


def test_the_mlp_has_no_biases() -> None:
    names = [name for name, _ in _model().named_parameters()]
    assert "backbone.input.linear.bias" not in names
    assert "to_seed.bias" not in names


def test_gradients_reach_every_parameter() -> None:
    model = _model()
    output = model(torch.randn(2, VOXELS))
    (output.latents.square().sum() + output.maps.square().sum()).backward()
    # a key bias moves all logits of a query alike, so it never has a gradient
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in silent if "to_k.bias" not in name] == []
