from __future__ import annotations

import pytest
import torch
from kept import kept_bytes
from torch import Tensor

from mindeye.config import LowConfig, OptimConfig
from mindeye.models.lowlevel import LowLevel, LowLevelOutput, Upsampling, positions_last
from mindeye.models.sizes import Sizes

VOXELS = 9


def _model(**options) -> LowLevel:
    torch.manual_seed(0)
    optim = OptimConfig(recompute=options.pop("recompute", False))
    config = LowConfig(width=12, blocks=1, norm_groups=32, dropout_block=0.25, optim=optim)
    seed = options.pop("seed", (32, 4, 4))
    widths = options.pop("block_out_channels", (32, 64))
    grids = Upsampling(seed, widths, options.pop("latent_channels", 4))
    maps = (seed[1] * seed[2], 7) if options.pop("maps", True) else None
    return LowLevel(config, Sizes(VOXELS, 1, 1, (0, 0, 0)), maps, grids)


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
    assert _model(maps=False)(torch.randn(2, VOXELS)).maps is None


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


def _trained(model: LowLevel) -> tuple[LowLevelOutput, dict[str, Tensor]]:
    """Output, and the gradient of every parameter."""
    betas = torch.randn(2, VOXELS, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)  # dropout of the MLP
    output = model(betas)
    (output.latents.square().sum() + output.maps.square().sum()).backward()
    return output, {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("autocast", [False, True])
def test_recomputing_changes_no_bit(autocast: bool) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        kept, again = _trained(_model()), _trained(_model(recompute=True))
    assert torch.equal(kept[0].latents, again[0].latents)
    assert torch.equal(kept[0].maps, again[0].maps)
    assert all(torch.equal(kept[1][name], again[1][name]) for name in kept[1])


def test_recomputing_keeps_a_fraction_and_in_training_only() -> None:
    model = _model(recompute=True)
    betas = torch.zeros(4, VOXELS)
    assert kept_bytes(model, betas) < 0.5 * kept_bytes(_model(), betas)
    assert kept_bytes(model.eval(), betas) == kept_bytes(_model().eval(), betas)
