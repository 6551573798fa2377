from __future__ import annotations

import math

import pytest
import torch
from kept import kept_bytes
from torch import Tensor

from mindeye.config import PriorConfig
from mindeye.diffusion import NoiseSchedule, draw_prior, prior_loss
from mindeye.errors import ConfigError
from mindeye.models.attention import (
    GainNorm,
    SharedKeyAttention,
    blockwise_attention,
    explicit_attention,
)
from mindeye.models.positions import PositionBias, Rotary, position_buckets, rotate
from mindeye.models.prior_network import ContinuousTime, PriorNetwork, PriorVariant
from mindeye.models.sizes import Sizes

MODES = ["none", "token", "pos_emb", "all_pos_emb"]
TRIALS, TOKENS, DIM = 3, 5, 16
SMALL = {"depth": 2, "heads": 2, "dim_head": 8}


def _network(**options) -> PriorNetwork:
    torch.manual_seed(0)
    variant = {n: options.pop(n) for n in list(options) if n in PriorVariant.__dataclass_fields__}
    recompute = options.pop("recompute", False)
    config, sizes = PriorConfig(**{**SMALL, **options}), Sizes(1, TOKENS, DIM, (4, 8, 8))
    return PriorNetwork(config, sizes, PriorVariant(**variant), recompute=recompute)


def _inputs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x_t, condition = torch.randn(2, TRIALS, TOKENS, DIM, generator=rng)
    return x_t, torch.tensor([0, 3, 9]), condition


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_timesteps", [None, 10])
def test_every_mode_predicts_tokens(mode: str, num_timesteps: int | None) -> None:
    model = _network(learned_query_mode=mode, num_timesteps=num_timesteps)
    assert model(*_inputs()).shape == (TRIALS, TOKENS, DIM)


@pytest.mark.parametrize("mode", MODES[1:])
def test_learned_query_has_a_say(mode: str) -> None:
    model = _network(learned_query_mode=mode)
    before = model(*_inputs())
    with torch.no_grad():
        model.learned_query += torch.randn(
            model.learned_query.shape, generator=torch.Generator().manual_seed(1)
        )
    assert not torch.allclose(model(*_inputs()), before, atol=1e-3)


def test_sizes_of_the_small_models_work() -> None:
    model = PriorNetwork(PriorConfig(), Sizes(1, 65, 64, (4, 8, 8)))
    tokens = torch.randn(2, 65, 64)
    assert model(tokens, torch.tensor([0, 99]), tokens).shape == (2, 65, 64)


@pytest.mark.parametrize("side", ["keep_condition", "keep_target"])
def test_null_embedding_replaces_dropped_trials_only(side: str) -> None:
    model = _network()
    kept = model(*_inputs())
    mixed = model(*_inputs(), **{side: torch.tensor([True, False, True])})
    torch.testing.assert_close(mixed[[0, 2]], kept[[0, 2]])
    assert not torch.allclose(mixed[1], kept[1], atol=1e-3)


def test_a_network_that_keeps_nothing_sees_nothing() -> None:
    model, nobody = _network(), torch.zeros(TRIALS, dtype=torch.bool)
    keep = {"keep_condition": nobody, "keep_target": nobody}
    one, other = _inputs(0), _inputs(1)
    torch.testing.assert_close(model(*one, **keep), model(*other, **keep))


def test_time_and_condition_change_the_prediction() -> None:
    model = _network()
    x_t, times, condition = _inputs()
    prediction = model(x_t, times, condition)
    assert not torch.allclose(model(x_t, times + 20, condition), prediction, atol=1e-3)
    assert not torch.allclose(model(x_t, times, -condition), prediction, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_lower_precision_stays_near(mode: str) -> None:
    model = _network(learned_query_mode=mode)
    exact = model(*_inputs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(*_inputs())
    x_t, times, condition = _inputs()
    double = model.double()(x_t.double(), times, condition.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(mixed.float(), exact, atol=0.1, rtol=0.1)
    torch.testing.assert_close(double.float(), exact, atol=0.1, rtol=0.1)  # another epsilon


def test_trials_do_not_see_each_other() -> None:
    model = _network()
    x_t, times, condition = _inputs()
    alone = model(x_t[1:2], times[1:2], condition[1:2])
    torch.testing.assert_close(model(x_t, times, condition)[1:2], alone, atol=1e-5, rtol=1e-5)


def test_gradients_reach_every_parameter() -> None:
    model = _network()
    target = _inputs(1)[0]
    schedule = NoiseSchedule.named("cosine", 10)
    draw = draw_prior(target, schedule, rng=torch.Generator().manual_seed(5), drop=0.5)
    draw = draw._replace(keep_condition=torch.tensor([True, False, True]))
    draw = draw._replace(keep_target=torch.tensor([False, True, True]))
    result = prior_loss(model, schedule, target, condition=_inputs()[2], **draw._asdict())
    result.loss.backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_rotary_frequencies_are_not_trained_and_are_stored_once() -> None:
    model = _network(depth=3)
    names = [name for name in model.state_dict() if "frequencies" in name]
    assert names == ["transformer.rotary.frequencies"]
    assert "transformer.rotary.frequencies" not in dict(model.named_parameters())


def test_unknown_query_mode_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="none, token, pos_emb, all_pos_emb"):
        _network(learned_query_mode="both")


def test_time_embedding_wants_an_even_width() -> None:
    with pytest.raises(ValueError, match="even"):
        ContinuousTime(7)


def test_position_buckets_by_hand() -> None:
    relative = torch.tensor([5, 0, -1, -15, -16, -32, -127, -128, -10_000])
    # exact up to 15, then logarithmic: 32 lies a third of the way from 16 to 128
    assert position_buckets(relative).tolist() == [0, 0, 1, 15, 16, 21, 31, 31, 31]


def test_position_bias_is_one_number_for_all_later_tokens() -> None:
    bias = PositionBias(2)(4, 5)
    assert bias.shape == (2, 4, 5)
    later = torch.triu(torch.ones(4, 5, dtype=torch.bool))
    for head in bias:
        assert head[later].unique().numel() == 1


def test_rotary_keeps_lengths_and_depends_on_distance_only() -> None:
    turns = Rotary(8)(6)
    query, key = torch.randn(2, 1, 12, generator=torch.Generator().manual_seed(0))
    many_queries, many_keys = rotate(query.expand(6, 12), turns), rotate(key.expand(6, 12), turns)
    torch.testing.assert_close(many_queries.norm(dim=1), query.norm().expand(6))
    products = many_queries @ many_keys.T
    torch.testing.assert_close(products[1, 0], products[4, 3])
    assert not torch.isclose(products[1, 0], products[4, 2])
    assert torch.equal(many_queries[:, 8:], query.expand(6, 12)[:, 8:])


def test_rotary_turns_a_pair_by_its_angle() -> None:
    # frequencies 1 and 10000 ** -.5 = .01
    turned = rotate(torch.tensor([[1.0, 0, 1, 0, 5]]).expand(3, 5), Rotary(4)(3))
    expected = [math.cos(2), math.sin(2), math.cos(0.02), math.sin(0.02), 5]
    torch.testing.assert_close(turned[2], torch.tensor(expected))


@pytest.mark.parametrize("attention", ["sdpa", "explicit"])
def test_attention_is_the_formula_written_out(attention: str) -> None:
    torch.manual_seed(0)
    layer = SharedKeyAttention(PriorConfig(**SMALL, attention=attention), DIM)
    turns = Rotary(8)(4)
    tokens, bias = torch.randn(1, 4, DIM), torch.randn(2, 4, 5)
    hidden = layer.norm(tokens)
    key, value = layer.to_key_value(hidden)[0].chunk(2, dim=-1)
    key = torch.cat([layer.null_key_value[:1], rotate(key, turns)])
    value = torch.cat([layer.null_key_value[1:], value])
    heads = []
    for head, query in enumerate(layer.to_query(hidden)[0].chunk(2, dim=-1)):
        query = rotate(query, turns)
        cosine = torch.nn.functional.cosine_similarity(query[:, None], key[None], dim=-1)
        heads.append((16 * cosine + bias[head]).softmax(-1) @ value)
    expected = layer.norm_output(layer.to_output(torch.cat(heads, dim=-1)))
    torch.testing.assert_close(layer(tokens, bias, turns)[0], expected, atol=1e-5, rtol=1e-5)


def test_causal_attention_does_not_see_later_tokens() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(1, 4, DIM)
    changed = tokens.clone()
    changed[:, 2:] *= -1
    bias, turns = torch.zeros(2, 4, 5), Rotary(8)(4)
    for causal in (True, False):
        layer = SharedKeyAttention(PriorConfig(**SMALL), DIM, causal=causal)
        same = torch.allclose(
            layer(tokens, bias, turns)[:, :2], layer(changed, bias, turns)[:, :2], atol=1e-6
        )
        assert same is causal


def test_stable_norm_differs_from_the_plain_one_by_its_epsilon_only() -> None:
    rows = torch.randn(3, DIM, generator=torch.Generator().manual_seed(0))
    plain, stable = GainNorm(DIM), GainNorm(DIM, stable=True)
    torch.testing.assert_close(plain(rows), stable(rows), atol=1e-3, rtol=1e-3)
    assert not torch.equal(plain(rows), stable(rows))


def test_norm_epsilon_is_larger_outside_float32() -> None:
    rows = torch.full((1, 4), 1e-2) * torch.tensor([1, -1, 1, -1])
    variance = 1e-4
    for dtype, eps in ((torch.float32, 1e-5), (torch.float64, 1e-3)):
        expected = 1e-2 / (variance + eps) ** 0.5
        assert GainNorm(4).to(dtype)(rows.to(dtype))[0, 0].item() == pytest.approx(
            expected, rel=1e-4
        )


def _trained(model: PriorNetwork) -> tuple[Tensor, dict[str, Tensor]]:
    """Prediction, and the gradient of every parameter that has one."""
    output = model(*_inputs(), keep_condition=torch.tensor([True, False, True]))
    output.square().sum().backward()
    return output, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("causal", [False, True])
def test_both_kinds_of_attention_are_one_function(causal: bool) -> None:
    fused, explicit = (
        _trained(_network(attention=kind, causal=causal)) for kind in ("sdpa", "explicit")
    )
    torch.testing.assert_close(fused, explicit, atol=2e-5, rtol=1e-5)
    assert explicit[1]["transformer.position_bias.table.weight"].any()


def test_attention_of_blocks_is_that_of_all_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = torch.Generator().manual_seed(0)
    query, key, value, bias = (
        torch.randn(size, generator=rng) for size in [(5, 2, 4, 8), (5, 5, 8), (5, 5, 8), (2, 4, 5)]
    )
    for trials in (1, 2, 9):
        monkeypatch.setattr("mindeye.models.attention.LOGITS_AT_ONCE", trials * bias.numel())
        blocks = blockwise_attention(query, key, value, bias)
        whole = explicit_attention(query, key, value, bias)
        torch.testing.assert_close(blocks, whole, atol=2e-5, rtol=1e-5)


def test_unknown_attention_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="attention is 'flash'; it must be one of sdpa, explicit"):
        _network(attention="flash")


@pytest.mark.parametrize("attention", ["sdpa", "explicit"])
@pytest.mark.parametrize("autocast", [False, True])
def test_recomputing_changes_no_bit(attention: str, autocast: bool) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        kept = _trained(_network(attention=attention))
        again = _trained(_network(attention=attention, recompute=True))
    assert torch.equal(kept[0], again[0])
    assert kept[1].keys() == again[1].keys()
    assert all(torch.equal(kept[1][name], again[1][name]) for name in kept[1])


def test_recomputing_keeps_a_fraction_and_in_training_only() -> None:
    model = _network(depth=8, recompute=True)
    assert kept_bytes(model, *_inputs()) < 0.25 * kept_bytes(_network(depth=8), *_inputs())
    assert kept_bytes(model.eval(), *_inputs()) == kept_bytes(_network(depth=8).eval(), *_inputs())
