from __future__ import annotations

import pytest
import torch
from torch import Tensor

import published_models
from mindeye.diffusion import NoiseSchedule
from mindeye.errors import CheckpointError
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
    check_schedule,
    decoder_sizes,
    fit_decoder,
    fit_low,
    fit_prior,
    low_sizes,
    prior_sizes,
)


def _assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert set(one) == set(other)
    assert all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize("activation_first", [False, True])
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_decoder_rebuilds_from_its_published_names(norm: str, activation_first: bool) -> None:
    options = {"norm": norm, "activation_first": activation_first}
    model = published_models.decoder(**options)
    state = decoder_to_published(model.state_dict(), activation_first=activation_first)
    assert ("lin0.2.weight" in state) is activation_first
    rebuilt, sizes = fit_decoder(state)
    assert sizes == {**published_models.DECODER, **options}
    _assert_same(rebuilt.state_dict(), model.state_dict())
    betas = torch.randn(2, 5)
    assert torch.equal(rebuilt.eval()(betas).contrastive, model(betas).contrastive)


def test_token_width_comes_from_the_projector_or_is_the_published_one() -> None:
    bare = decoder_to_published(published_models.decoder(projector=False).state_dict())
    assert (decoder_sizes(bare)["tokens"], decoder_sizes(bare)["token_dim"]) == (1, 24)
    state = decoder_to_published(published_models.decoder().state_dict())
    state["projector.0.weight"] = torch.ones(7)
    with pytest.raises(CheckpointError, match=r"lin1\.weight has 24 rows, no multiple of 7"):
        decoder_sizes(state)


@pytest.mark.parametrize("mode", ["none", "pos_emb", "all_pos_emb", "token"])
@pytest.mark.parametrize("num_timesteps", [None, 7])
def test_prior_network_rebuilds_from_its_published_names(
    mode: str, num_timesteps: int | None
) -> None:
    options = {"learned_query_mode": mode, "num_timesteps": num_timesteps, "ff_mult": 1.5}
    model = published_models.prior(**options)
    state = prior_to_published(model.state_dict())
    if mode == "token":  # looks like pos_emb
        assert prior_sizes(state)["learned_query_mode"] == "pos_emb"
        return
    rebuilt, sizes = fit_prior(state)
    assert sizes == {**published_models.PRIOR, **options}
    _assert_same(rebuilt.state_dict(), model.state_dict())


def test_rotary_frequencies_of_all_layers_must_agree() -> None:
    state = prior_to_published(published_models.prior().state_dict())
    name = "causal_transformer.layers.1.0.rotary_emb.freqs"
    state[name] = state[name] + 1
    with pytest.raises(CheckpointError, match=r"layers\.1\.0\.rotary_emb\.freqs differs"):
        prior_from_published(state)


@pytest.mark.parametrize("maps_width", [None, 6])
def test_low_level_model_rebuilds_from_its_published_names(maps_width: int | None) -> None:
    model = published_models.low_level(maps_width=maps_width)
    state = lowlevel_to_published(model.state_dict())
    assert any(".proj_attn." in key for key in state)
    rebuilt, sizes = fit_low(state)
    assert sizes == low_sizes(state) == {**published_models.LOW, "maps_width": maps_width}
    _assert_same(rebuilt.state_dict(), model.state_dict())


def test_low_level_model_reads_new_diffusers_names_too() -> None:
    state = lowlevel_to_published(published_models.low_level().state_dict())
    new = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
    renamed = {}
    for key, value in state.items():
        for old, now in new.items():
            key = key.replace(old, now)
        renamed[key] = value
    assert set(renamed) != set(state)
    _assert_same(lowlevel_from_published(renamed), lowlevel_from_published(state))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("lin1.bias", None, "missing x.lin1.bias"),
        ("lin1.gain", torch.ones(1), "unexpected x.lin1.gain"),
        ("lin1.bias", torch.ones(5), r"x.lin1.bias is \(5,\), expected \(24,\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    key: str, value: Tensor | None, message: str
) -> None:
    state = decoder_to_published(published_models.decoder().state_dict())
    state.pop(key, None)
    if value is not None:
        state[key] = value
    with pytest.raises(CheckpointError, match=message):
        fit_decoder(state, "x.")


@pytest.mark.parametrize(
    "rename", [decoder_from_published, prior_from_published, lowlevel_from_published]
)
def test_a_key_that_no_rule_knows_is_refused_by_name(rename) -> None:
    with pytest.raises(CheckpointError, match=r"unexpected key surprise\.weight"):
        rename({"surprise.weight": torch.ones(1)})


def test_a_state_without_sizes_is_refused_by_name() -> None:
    with pytest.raises(CheckpointError, match=r"missing x\.lin0\.0\.weight"):
        decoder_sizes({}, "x.")


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
