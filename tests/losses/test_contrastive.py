from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mindeye.losses.contrastive import (
    bimixco_loss,
    cosine_between,
    info_nce_loss,
    soft_clip_loss,
    soft_contrastive_loss,
    unit_rows,
)
from mindeye.losses.mixco import MixCo

AXES = torch.eye(2)


def _rows(count: int, width: int, seed: int) -> Tensor:
    return unit_rows(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)))


def test_info_nce_of_orthogonal_pairs_by_hand() -> None:
    # logits are 1/t on the diagonal and 0 off it
    expected = math.log(1 + math.exp(-1 / 0.5))
    assert info_nce_loss(AXES, AXES, temperature=0.5).item() == pytest.approx(expected)


def test_info_nce_of_a_constant_prediction_is_log_of_the_gallery() -> None:
    constant = torch.tensor([[1.0, 0.0, 0.0]]).expand(2, 3)
    targets = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    loss = info_nce_loss(constant, targets, temperature=0.1)
    assert loss.item() == pytest.approx(math.log(2))


def test_extra_targets_are_distractors_of_the_brain_to_image_direction_only() -> None:
    gallery = torch.cat([torch.eye(3)[:2], torch.eye(3)[2:]])
    both = info_nce_loss(torch.eye(3)[:2], gallery, temperature=1.0)
    alone = info_nce_loss(torch.eye(3)[:2], gallery, temperature=1.0, bidirectional=False)
    e = math.e
    to_image, to_brain = -math.log(e / (e + 2)), -math.log(e / (e + 1))
    assert alone.item() == pytest.approx(to_image)
    assert both.item() == pytest.approx((to_image + to_brain) / 2)


def test_bimixco_by_hand() -> None:
    mix = MixCo(torch.tensor([1, 0]), torch.tensor([0.25, 1.0]), torch.tensor([True, False]))
    on, off = -math.log(math.e / (math.e + 1)), -math.log(1 / (math.e + 1))
    to_image = (0.25 * on + 0.75 * off + on) / 2
    to_brain = (0.25 * on + 0.75 * off + on) / 2  # columns of the labels: (.25, 0) and (.75, 1)
    loss = bimixco_loss(AXES, AXES, mix, temperature=1.0)
    assert loss.item() == pytest.approx((to_image + to_brain) / 2)


def test_bimixco_without_a_mix_is_info_nce() -> None:
    prediction, target = _rows(6, 5, 0), _rows(6, 5, 1)
    unmixed = MixCo(torch.arange(6).flip(0), torch.ones(6), torch.zeros(6, dtype=torch.bool))
    torch.testing.assert_close(
        bimixco_loss(prediction, target, unmixed, temperature=0.1),
        info_nce_loss(prediction, target, temperature=0.1),
    )


def test_published_bimixco_differs_only_where_a_trial_stays_in_place() -> None:
    prediction, target = _rows(3, 5, 0), _rows(3, 5, 1)
    weight, selected = torch.tensor([0.3, 0.6, 1.0]), torch.tensor([True, True, False])
    for permutation, agrees in (([1, 2, 0], True), ([1, 0, 2], False)):
        mix = MixCo(torch.tensor(permutation), weight, selected)
        right, published = (
            bimixco_loss(prediction, target, mix, temperature=0.1, as_published=flag)
            for flag in (False, True)
        )
        assert torch.isclose(right, published).item() is agrees


def test_soft_clip_by_hand() -> None:
    # labels and predictions both are softmax(1, 0): the loss is their entropy
    share = math.e / (math.e + 1)
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert soft_clip_loss(AXES, AXES, temperature=1.0).item() == pytest.approx(entropy)


def test_soft_clip_is_least_at_the_targets_themselves() -> None:
    target = _rows(8, 6, 0)
    prediction = target.clone().requires_grad_()
    loss = soft_clip_loss(prediction, target, temperature=0.1)
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert gradient.abs().max().item() < 1e-6
    assert soft_clip_loss(_rows(8, 6, 1), target, temperature=0.1) > loss


def test_soft_clip_takes_more_targets_than_predictions() -> None:
    target = _rows(8, 6, 0)
    prediction = target[:3].clone().requires_grad_()
    loss = soft_clip_loss(prediction, target, temperature=0.1)
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert gradient.abs().max().item() < 1e-6


def test_soft_contrastive_with_one_view_is_soft_clip() -> None:
    prediction, target = _rows(5, 6, 0), _rows(5, 6, 1)
    torch.testing.assert_close(
        soft_contrastive_loss(prediction, target, target, temperature=0.2),
        soft_clip_loss(prediction, target, temperature=0.2),
    )


def test_soft_contrastive_wants_the_answer_of_the_first_view_to_the_second() -> None:
    first, second = _rows(5, 6, 0), _rows(5, 6, 1)
    as_first = soft_contrastive_loss(first, first, second, temperature=0.2)
    as_second = soft_contrastive_loss(second, first, second, temperature=0.2)
    assert as_first < as_second


def test_a_step_down_the_gradient_lowers_every_loss() -> None:
    target, mix = (
        _rows(6, 5, 1),
        MixCo(
            torch.tensor([1, 2, 3, 4, 5, 0]), torch.full((6,), 0.7), torch.ones(6, dtype=torch.bool)
        ),
    )
    losses = [
        lambda p: bimixco_loss(p, target, mix, temperature=0.1),
        lambda p: soft_clip_loss(p, target, temperature=0.1),
        lambda p: soft_contrastive_loss(p, target, _rows(6, 5, 2), temperature=0.1),
    ]
    for loss in losses:
        prediction = _rows(6, 5, 0).requires_grad_()
        (gradient,) = torch.autograd.grad(loss(prediction), prediction)
        assert loss(prediction - 0.01 * gradient) < loss(prediction)


def test_gradients_agree_with_finite_differences() -> None:
    target = _rows(4, 3, 1).double()
    prediction = _rows(4, 3, 0).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: soft_clip_loss(p, target, temperature=0.3), (prediction,)
    )


def test_temperature_anneals_along_half_a_cosine() -> None:
    values = [cosine_between(0.004, 0.0075, i / 4) for i in range(5)]
    assert values[0] == pytest.approx(0.004)
    assert values[2] == pytest.approx((0.004 + 0.0075) / 2)
    assert values[-1] == pytest.approx(0.0075)
    assert values == sorted(values)
    assert cosine_between(0.004, 0.0075, -1.0) == pytest.approx(0.004)
    assert cosine_between(0.004, 0.0075, 2.0) == pytest.approx(0.0075)


def test_unit_rows_flattens_tokens() -> None:
    rows = unit_rows(torch.ones(2, 2, 2))
    assert rows.shape == (2, 4)
    torch.testing.assert_close(rows, torch.full((2, 4), 0.5))


def test_shapes_that_do_not_pair_are_named() -> None:
    with pytest.raises(ValueError, match="unit_rows"):
        soft_clip_loss(torch.ones(2, 3, 4), torch.ones(2, 3, 4), temperature=0.1)
    with pytest.raises(ValueError, match="3 predictions but only 2 targets"):
        soft_clip_loss(torch.ones(3, 4), torch.ones(2, 4), temperature=0.1)
    with pytest.raises(ValueError, match="two views"):
        soft_contrastive_loss(AXES, AXES, torch.eye(3)[:, :2], temperature=0.1)
