from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mindeye.training.average import WeightAverage

DECAY = 0.75


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def move(model: nn.Module, seed: int) -> None:
    """Change parameters and buffers as a training step would."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=rng)
    model(torch.randn(8, 3, generator=rng)).sum().backward()


def test_parameters_follow_the_recursion_and_buffers_are_the_last_ones() -> None:
    model = network()
    average = WeightAverage(model, DECAY)
    by_hand: dict[str, Tensor] = {}
    for step in range(4):
        move(model, step)
        average.update(model)
        for name, value in model.named_parameters():
            before = by_hand.get(name, value.detach())
            by_hand[name] = DECAY * before + (1 - DECAY) * value.detach()
    averaged = dict(average.model.named_parameters())
    for name, expected in by_hand.items():
        torch.testing.assert_close(averaged[name], expected)
        assert not torch.allclose(averaged[name], model.get_parameter(name)), name
    buffers = dict(average.model.named_buffers())
    assert int(buffers["1.num_batches_tracked"]) == 4
    for name, value in model.named_buffers():
        assert torch.equal(buffers[name], value), name


def test_updates_leave_the_trained_model_alone() -> None:
    model = network()
    move(model, 0)
    average = WeightAverage(model, DECAY)
    average.update(model)
    move(model, 1)
    before = copy.deepcopy(model.state_dict())
    average.update(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_copy_holds_no_gradients() -> None:
    model = network()
    move(model, 0)
    assert all(parameter.grad is not None for parameter in model.parameters())
    average = WeightAverage(model, DECAY)
    assert all(parameter.grad is None for parameter in average.model.parameters())
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert not average.model.training


@pytest.mark.parametrize("stopped_after", [0, 1, 3])
def test_a_resumed_average_is_bit_identical(stopped_after: int) -> None:
    model = network()
    whole, first = WeightAverage(model, DECAY), WeightAverage(model, DECAY)
    for step in range(stopped_after):
        move(model, step)
        whole.update(model)
        first.update(model)
    state = {name: value.clone() for name, value in first.state_dict().items()}
    assert all(isinstance(value, Tensor) for value in state.values())
    second = WeightAverage(network(seed=9), DECAY)
    second.load_state_dict(state)
    for step in range(stopped_after, 5):
        move(model, step)
        whole.update(model)
        second.update(model)
    for name, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


def test_copy_to_makes_the_model_the_average_and_shares_no_memory() -> None:
    model, inputs = network(), torch.randn(8, 3)
    average = WeightAverage(model, DECAY)
    for step in range(3):
        move(model, step)
        average.update(model)
    target = network(seed=9).eval()
    average.copy_to(target)
    expected = average.model(inputs)
    assert torch.equal(target(inputs), expected)
    move(target, 4)
    assert torch.equal(average.model(inputs), expected)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_a_decay_outside_its_range_is_named(decay: float) -> None:
    with pytest.raises(ValueError, match="decay is"):
        WeightAverage(network(), decay)


def test_the_state_of_another_model_is_refused() -> None:
    average = WeightAverage(network(), DECAY)
    with pytest.raises(RuntimeError, match="size mismatch"):
        average.load_state_dict(WeightAverage(nn.Sequential(nn.Linear(2, 2)), 0.5).state_dict())
