from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mindeye.diffusion import NoiseSchedule
from mindeye.errors import CheckpointError
from mindeye.models.decoder import Decoder
from mindeye.models.lowlevel import LowLevelDecoder
from mindeye.models.prior_network import PriorNetwork
from mindeye.published.names import (
    decoder_from_published,
    decoder_to_published,
    lowlevel_from_published,
    lowlevel_to_published,
    prior_from_published,
    prior_to_published,
    split_published,
)
from mindeye.published.networks import (
    build_decoder,
    build_lowlevel,
    build_prior_network,
    check_schedule,
    load_strictly,
)

DECODER = {"tokens": 3, "token_dim": 4, "width": 8, "blocks": 2, "projector_width": 6}
PRIOR = {"dim": 8, "depth": 2, "heads": 2, "dim_head": 4, "num_tokens": 3}


def _decoder(**options) -> Decoder:
    return Decoder(5, **{**DECODER, **options}).eval()


def _low_level(**options) -> LowLevelDecoder:
    sizes = {"width": 8, "blocks": 1, "seed": (32, 2, 2), "block_out_channels": (32, 64)}
    return LowLevelDecoder(5, **{**sizes, **options}).eval()


def _assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert set(one) == set(other)
    assert all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize("activation_first", [False, True])
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_decoder_rebuilds_from_its_published_names(norm: str, activation_first: bool) -> None:
    model = _decoder(norm=norm, activation_first=activation_first)
    state = decoder_to_published(model.state_dict(), activation_first=activation_first)
    assert ("lin0.2.weight" in state) is activation_first
    rebuilt = build_decoder(state).eval()
    _assert_same(rebuilt.state_dict(), model.state_dict())
    betas = torch.randn(2, 5)
    assert torch.equal(rebuilt(betas).contrastive, model(betas).contrastive)


def test_token_width_comes_from_the_projector_or_the_caller() -> None:
    bare = decoder_to_published(_decoder(projector=False).state_dict())
    assert build_decoder(bare).tokens == 1
    assert build_decoder(bare, token_dim=6).tokens == 2
    with pytest.raises(CheckpointError, match="no multiple of 5"):
        build_decoder(bare, token_dim=5)
    with pytest.raises(CheckpointError, match="the projector's is 4"):
        build_decoder(decoder_to_published(_decoder().state_dict()), token_dim=6)


@pytest.mark.parametrize("mode", ["none", "pos_emb", "all_pos_emb", "token"])
@pytest.mark.parametrize("num_timesteps", [None, 7])
def test_prior_network_rebuilds_from_its_published_names(
    mode: str, num_timesteps: int | None
) -> None:
    model = PriorNetwork(**PRIOR, learned_query_mode=mode, num_timesteps=num_timesteps, ff_mult=1.5)
    state = prior_to_published(model.state_dict())
    given = "token" if mode == "token" else None  # looks like pos_emb
    rebuilt = build_prior_network(state, learned_query_mode=given)
    assert rebuilt.learned_query_mode == mode
    _assert_same(rebuilt.state_dict(), model.state_dict())


def test_rotary_frequencies_of_all_layers_must_agree() -> None:
    state = prior_to_published(PriorNetwork(**PRIOR).state_dict())
    name = "causal_transformer.layers.1.0.rotary_emb.freqs"
    state[name] = state[name] + 1
    with pytest.raises(CheckpointError, match=r"layers\.1\.0\.rotary_emb\.freqs differs"):
        prior_from_published(state)


@pytest.mark.parametrize("maps_width", [None, 6])
def test_low_level_model_rebuilds_from_its_published_names(maps_width: int | None) -> None:
    model = _low_level(maps_width=maps_width)
    state = lowlevel_to_published(model.state_dict())
    assert any(".proj_attn." in key for key in state)
    _assert_same(build_lowlevel(state).state_dict(), model.state_dict())


def test_low_level_model_reads_new_diffusers_names_too() -> None:
    state = lowlevel_to_published(_low_level().state_dict())
    new = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
    renamed = {}
    for key, value in state.items():
        for old, now in new.items():
            key = key.replace(old, now)
        renamed[key] = value
    assert set(renamed) != set(state)
    _assert_same(lowlevel_from_published(renamed), lowlevel_from_published(state))


def _spoilt(change: str) -> dict[str, Tensor]:
    state = decoder_from_published(decoder_to_published(_decoder().state_dict()))
    if change == "missing":
        del state["output.bias"]
    elif change == "unexpected":
        state["output.gain"] = torch.ones(1)
    else:
        state["output.bias"] = torch.ones(5)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "missing output.bias"),
        ("unexpected", "unexpected output.gain"),
        ("misshaped", r"output.bias is \(5,\), expected \(12,\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name_and_not_loaded(
    change: str, message: str
) -> None:
    model: nn.Module = _decoder()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_strictly(model, _spoilt(change))
    _assert_same(model.state_dict(), before)


@pytest.mark.parametrize(
    "rename", [decoder_from_published, prior_from_published, lowlevel_from_published]
)
def test_a_key_that_no_rule_knows_is_refused_by_name(rename) -> None:
    with pytest.raises(CheckpointError, match=r"unexpected key surprise\.weight"):
        rename({"surprise.weight": torch.ones(1)})


def test_a_state_without_sizes_is_refused_by_name() -> None:
    with pytest.raises(CheckpointError, match=r"missing backbone\.input\.linear\.weight"):
        build_decoder({})


def test_high_level_state_splits_into_its_three_parts() -> None:
    schedule = NoiseSchedule.named("cosine", 10)
    state = {"voxel2clip.lin1.bias": torch.ones(1), "net.learned_query": torch.ones(2, 2)}
    state |= {f"noise_scheduler.{k}": v for k, v in schedule.published().items()}
    parts = split_published(state)
    assert set(parts.decoder) == {"lin1.bias"}
    assert set(parts.prior) == {"learned_query"}
    check_schedule(parts.schedule, schedule)
    with pytest.raises(CheckpointError, match="another schedule"):
        check_schedule(parts.schedule, NoiseSchedule.named("linear", 10))
    with pytest.raises(CheckpointError, match=r"missing noise_scheduler\.betas"):
        check_schedule({k: v for k, v in parts.schedule.items() if k != "betas"}, schedule)
    with pytest.raises(CheckpointError, match="unexpected key lin1"):
        split_published({"lin1.bias": torch.ones(1)})
