from __future__ import annotations

import pytest
import torch
from kept import kept_bytes
from torch import Tensor, nn

from mindeye.config import DecoderConfig
from mindeye.config.settings import run_config
from mindeye.errors import ConfigError
from mindeye.models.decoder import (
    Decoder,
    DecoderOutput,
    DenseStyle,
    ResidualBackbone,
    TokenProjector,
)
from mindeye.models.sizes import Sizes

VOXELS, TRIALS = 11, 4


def _betas(seed: int = 0) -> torch.Tensor:
    return torch.randn(TRIALS, VOXELS, generator=torch.Generator().manual_seed(seed))


def _decoder(**options) -> Decoder:
    torch.manual_seed(0)
    style = {n: options.pop(n) for n in ("norm", "activation_first") if n in options}
    sizes = Sizes(VOXELS, options.pop("tokens", 3), 6, (4, 8, 8))
    recompute = options.pop("recompute", False)
    small = {"width": 16, "blocks": 2, "projector_width": 20, "input_layer": "published"}
    model = Decoder(DecoderConfig(**{**small, **options}), sizes, DenseStyle(**style))
    model.recompute = recompute
    return model


def test_decoder_gives_tokens_twice() -> None:
    output = _decoder()(_betas())
    assert output.backbone.shape == (TRIALS, 3, 6)
    assert output.contrastive.shape == (TRIALS, 3, 6)


def test_decoder_without_projector_has_no_contrastive_tokens() -> None:
    assert _decoder(projector=False)(_betas()).contrastive is None


def test_projector_reads_the_backbone_tokens_one_by_one() -> None:
    model = _decoder().eval()
    output = model(_betas())
    torch.testing.assert_close(model.projector(output.backbone[:, 1]), output.contrastive[:, 1])


def test_published_decoder_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        paper = run_config("mindeye1", as_published=True).high.decoder
        model = Decoder(paper, Sizes(15724, 257, 768, (4, 64, 64)))  # subject 1
    assert sum(p.numel() for p in model.parameters()) == 947_579_904


def test_plain_linear_input_layer_is_a_linear_map() -> None:
    layer = _decoder(input_layer="linear").backbone.input
    assert isinstance(layer, nn.Linear)
    one, other = _betas(0), _betas(1)
    torch.testing.assert_close(layer(one + other), layer(one) + layer(other) - layer.bias)


def test_blocks_are_residual() -> None:
    model = ResidualBackbone(DecoderConfig(width=8, blocks=3), VOXELS).eval()
    for block in model.blocks:
        nn.init.zeros_(block.norm.weight)
        nn.init.zeros_(block.norm.bias)
    torch.testing.assert_close(model(_betas()), model.input(_betas()))


def test_norm_chooses_its_activation() -> None:
    kinds = {"layer": nn.GELU, "batch": nn.ReLU}
    for norm, activation in kinds.items():
        assert isinstance(_decoder(norm=norm).backbone.input.activation, activation)


def test_activation_first_is_another_function_of_the_same_weights() -> None:
    plain, swapped = _decoder().eval(), _decoder(activation_first=True).eval()
    swapped.load_state_dict(plain.state_dict())
    assert not torch.allclose(plain(_betas()).backbone, swapped(_betas()).backbone)
    # norm last: what leaves the input layer has mean 0 and variance 1
    hidden = swapped.backbone.input(_betas())
    torch.testing.assert_close(hidden.mean(1), torch.zeros(TRIALS), atol=1e-6, rtol=0)


def test_dropout_acts_in_training_only() -> None:
    model = _decoder()
    model.train()
    assert not torch.equal(model(_betas()).backbone, model(_betas()).backbone)
    model.eval()
    assert torch.equal(model(_betas()).backbone, model(_betas()).backbone)


def test_gradients_reach_every_parameter() -> None:
    model = _decoder()
    output = model(_betas())
    (output.backbone.square().sum() + output.contrastive.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_betas_are_not_edited() -> None:
    betas = _betas()
    before = betas.clone()
    _decoder()(betas)
    assert torch.equal(betas, before)


def test_unknown_choices_are_named() -> None:
    with pytest.raises(ValueError, match="norm is 'group'"):
        _decoder(norm="group")
    with pytest.raises(ConfigError, match="input_layer is 'ridge'"):
        _decoder(input_layer="ridge")


def test_projector_keeps_the_token_width() -> None:
    assert TokenProjector(6, width=9)(torch.randn(2, 5, 6)).shape == (2, 5, 6)


def _trained(model: Decoder) -> tuple[DecoderOutput, dict[str, Tensor]]:
    """Output, and the gradient of every parameter."""
    torch.manual_seed(1)  # dropout of the backbone
    output = model(_betas())
    (output.backbone.square().sum() + output.contrastive.square().sum()).backward()
    return output, {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("autocast", [False, True])
def test_recomputing_changes_no_bit(autocast: bool) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        kept, again = _trained(_decoder()), _trained(_decoder(recompute=True))
    assert torch.equal(kept[0].backbone, again[0].backbone)
    assert torch.equal(kept[0].contrastive, again[0].contrastive)
    assert all(torch.equal(kept[1][name], again[1][name]) for name in kept[1])


def test_recomputing_keeps_a_fraction_and_in_training_only() -> None:
    sizes = {"tokens": 40, "projector_width": 30}  # the projector outweighs the backbone
    model = _decoder(**sizes, recompute=True)
    assert kept_bytes(model, _betas()) < 0.25 * kept_bytes(_decoder(**sizes), _betas())
    assert kept_bytes(model.eval(), _betas()) == kept_bytes(_decoder(**sizes).eval(), _betas())


@pytest.mark.parametrize("head", ["low_rank", "shared"])
def test_gradients_reach_every_parameter_of_the_small_heads(head: str) -> None:
    gradients = _trained(_decoder(head=head, head_width=4))[1]
    assert [name for name, gradient in gradients.items() if not gradient.any()] == []


def test_full_head_keeps_its_names() -> None:
    names = [name for name in _decoder().state_dict() if name.startswith("output")]
    assert names == ["output.weight", "output.bias"]
