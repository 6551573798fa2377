from __future__ import annotations

import importlib.util
import json
import math
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from mindeye.config import OptimConfig
from mindeye.errors import MissingDependencyError
from mindeye.training.optim import make_optimizer

CONFIG = OptimConfig(learning_rate=0.01, weight_decay=0.1, input_weight_decay=0.3)
STEPS = 20
OPTIMIZERS = [
    pytest.param(replace(CONFIG, fused=True), id="adamw-fused"),
    pytest.param(replace(CONFIG, fused=False), id="adamw-loop"),
    pytest.param(replace(CONFIG, optimizer="adafactor"), id="adafactor"),
    pytest.param(
        replace(CONFIG, optimizer="adamw_8bit"),
        id="adamw_8bit",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("bitsandbytes") is None, reason="needs the extra 8bit"
        ),
    ),
]


class Network(nn.Module):
    """Has every kind of parameter; the matrix has enough numbers to be kept in 8 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Linear(6, 96)
        self.norm = nn.LayerNorm(96)
        self.hidden = nn.Linear(96, 96)
        self.conv = nn.Conv2d(2, 3, 3)
        self.token = nn.Parameter(torch.randn(1, 2, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.hidden(self.norm(self.input(inputs)))
        maps = self.conv(hidden.reshape(-1, 2, 6, 8))
        return hidden.square().mean() + maps.square().mean() + self.token.square().mean()


def network() -> Network:
    torch.manual_seed(0)
    return Network()


def descend(
    model: Network, optimizer: torch.optim.Optimizer, schedule: OneCycleLR, steps: range
) -> list[float]:
    losses = []
    for step in steps:
        inputs = torch.randn(8, 6, generator=torch.Generator().manual_seed(step))
        loss = model(inputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def one_step(config: OptimConfig, weight: Tensor, gradient: Tensor) -> Tensor:
    """Return the weight of a linear layer (the input layer) after first of all steps."""
    model = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0], bias=False))
    with torch.no_grad():
        model[0].weight.copy_(weight)
    optimizer, _ = make_optimizer(model, config, STEPS, input_layer="0")
    model[0].weight.grad = gradient.clone()
    optimizer.step()
    return model[0].weight.detach()


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_of_adamw_by_hand(fused: bool) -> None:
    weight, gradient = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, -4.0]])
    rate = 0.01 / 25  # the one-cycle schedule starts at a 25th of its peak
    # first step: the corrected moments are the gradient and its square, so the step is its sign
    expected = weight * (1 - rate * 0.3) - rate * gradient.sign()
    got = one_step(replace(CONFIG, fused=fused), weight, gradient)
    torch.testing.assert_close(got, expected, atol=1e-7, rtol=0)


def test_fused_adamw_is_the_plain_loop() -> None:
    ends = []
    for fused in (True, False):
        model = network()
        parts = make_optimizer(model, replace(CONFIG, fused=fused), STEPS, input_layer="input")
        assert parts[0].defaults["fused"] is fused
        assert parts[0].defaults["foreach"] is False
        descend(model, *parts, range(STEPS))
        ends.append(model.state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], atol=1e-6, rtol=1e-6)


def test_a_step_of_adafactor_by_hand() -> None:
    weight = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    gradient = torch.tensor([[1.0, 2.0, 3.0], [1.0, -1.0, 1.0]])
    rows = [14 / 3, 1.0]  # means of squares over a row
    columns = [1.0, 2.5, 5.0]
    update = [
        [
            float(gradient[i, j]) / math.sqrt(rows[i] * columns[j] / (sum(rows) / 2))
            for j in range(3)
        ]
        for i in range(2)
    ]
    size = math.sqrt(sum(u * u for row in update for u in row) / 6)
    assert size > 1  # so that the update is clipped
    rate = 0.01 / 25
    expected = weight * (1 - rate * 0.3) - rate * torch.tensor(update) / size
    got = one_step(replace(CONFIG, optimizer="adafactor"), weight, gradient)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


def test_no_weight_moves_further_in_adafactor_than_the_learning_rate_in_the_mean() -> None:
    for size in (1e-6, 1.0, 1e6):
        weight = torch.zeros(30, 20)
        gradient = size * torch.randn(30, 20, generator=torch.Generator().manual_seed(0))
        moved = one_step(replace(CONFIG, optimizer="adafactor"), weight, gradient)
        assert moved.square().mean().sqrt().item() == pytest.approx(0.01 / 25, rel=0.05)


def test_adafactor_keeps_a_row_and_a_column_for_a_matrix() -> None:
    model = network()
    parts = make_optimizer(
        model, replace(CONFIG, optimizer="adafactor"), STEPS, input_layer="input"
    )
    descend(model, *parts, range(1))
    values = parts[0].state[model.hidden.weight].values()
    assert sum(value.numel() for value in values if isinstance(value, Tensor)) <= 96 + 96 + 1


@pytest.mark.parametrize("config", OPTIMIZERS)
def test_the_learning_rate_is_one_cycle_of_the_config(config: OptimConfig) -> None:
    config = replace(config, warmup_share=0.3)
    model = network()
    optimizer, schedule = make_optimizer(model, config, STEPS, input_layer="input")
    rates = []
    for step in range(STEPS):
        assert len({group["lr"] for group in optimizer.param_groups}) == 1
        rates.append(float(optimizer.param_groups[0]["lr"]))
        if step + 1 < STEPS:
            descend(model, optimizer, schedule, range(step, step + 1))
    top, first, last, peak = 0.01, 0.01 / 25, 0.01 / 25 / 1000, 0.3 * STEPS - 1

    def between(start: float, end: float, share: float) -> float:
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    for step, found in enumerate(rates):
        expected = (
            between(first, top, step / peak)
            if step <= peak
            else between(top, last, (step - peak) / (STEPS - 1 - peak))
        )
        assert found == pytest.approx(expected)
    assert max(rates) == rates[5] == pytest.approx(top)


@pytest.mark.parametrize("steps", [2, 10])
def test_a_warm_up_of_one_step_begins_at_the_peak(steps: int) -> None:
    config = replace(CONFIG, warmup_share=1 / steps)
    optimizer, _ = make_optimizer(network(), config, steps, input_layer="input")
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


@pytest.mark.parametrize("config", OPTIMIZERS)
def test_training_lowers_the_loss(config: OptimConfig) -> None:
    model = network()
    parts = make_optimizer(model, config, STEPS, input_layer="input")
    losses = descend(model, *parts, range(STEPS))
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("config", OPTIMIZERS)
def test_biases_norms_and_tokens_do_not_decay(config: OptimConfig) -> None:
    """Without gradients of size, only the decay moves a weight."""
    model = network()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer, _ = make_optimizer(model, config, STEPS, input_layer="input")
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    decays = {"input.weight": 0.3, "hidden.weight": 0.1, "conv.weight": 0.1}
    for name, value in model.named_parameters():
        expected = before[name] * (1 - 0.01 / 25 * decays.get(name, 0.0))
        torch.testing.assert_close(value.detach(), expected, atol=1e-8, rtol=1e-6)


def flattened(state: dict[str, Any]) -> tuple[dict[str, Tensor], str]:
    """Tensors by name and settings as JSON, the way a checkpoint keeps them."""
    tensors = {
        f"optimizer/{index}/{entry}": torch.as_tensor(value).detach().clone()
        for index, values in state["state"].items()
        for entry, value in values.items()
    }
    return tensors, json.dumps(state["param_groups"])


def restored(tensors: dict[str, Tensor], groups: str) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        _, index, entry = name.split("/")
        state.setdefault(int(index), {})[entry] = value
    return {"state": state, "param_groups": json.loads(groups)}


@pytest.mark.parametrize("config", OPTIMIZERS)
@pytest.mark.parametrize("stopped_after", [1, 7])
def test_a_resumed_optimiser_gives_bit_identical_weights(
    config: OptimConfig, stopped_after: int
) -> None:
    whole = network()
    whole_parts = make_optimizer(whole, config, STEPS, input_layer="input")
    descend(whole, *whole_parts, range(STEPS))

    first = network()
    parts = make_optimizer(first, config, STEPS, input_layer="input")
    descend(first, *parts, range(stopped_after))
    tensors, groups = flattened(parts[0].state_dict())

    second = network()
    second.load_state_dict(first.state_dict())
    again = make_optimizer(second, config, STEPS, input_layer="input")
    again[0].load_state_dict(restored(tensors, groups))
    again[1].load_state_dict(parts[1].state_dict())
    kept, _ = flattened(again[0].state_dict())
    assert {n: v.dtype for n, v in kept.items()} == {n: v.dtype for n, v in tensors.items()}
    descend(second, *again, range(stopped_after, STEPS))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    end, expected = (flattened(o.state_dict())[0] for o in (again[0], whole_parts[0]))
    assert all(torch.equal(end[name], value) for name, value in expected.items())


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs the extra 8bit")
def test_8_bit_moments_take_a_byte_each_and_follow_adamw() -> None:
    ends = []
    for kind in ("adamw_8bit", "adamw"):
        model = network()
        optimizer, schedule = make_optimizer(
            model, replace(CONFIG, optimizer=kind), STEPS, input_layer="input"
        )
        descend(model, optimizer, schedule, range(STEPS))
        ends.append(model.hidden.weight.detach())
        if kind == "adamw_8bit":
            state = optimizer.state_dict()["state"]
            index = [p is model.hidden.weight for g in optimizer.param_groups for p in g["params"]]
            moments = state[index.index(True)]
            assert moments["state1"].dtype == moments["state2"].dtype == torch.uint8
    moved = (ends[1] - network().hidden.weight.detach()).norm()
    assert (ends[0] - ends[1]).norm() < 0.05 * moved


def test_the_missing_8_bit_library_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    config = replace(CONFIG, optimizer="adamw_8bit")
    with pytest.raises(MissingDependencyError, match=r"bitsandbytes.*mindeye\[8bit\]"):
        make_optimizer(network(), config, STEPS, input_layer="input")
