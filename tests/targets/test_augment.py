"""The training augmentation does what the published one does, as often as it does it."""

from __future__ import annotations

import torch

from mindeye.data.images import resize
from mindeye.targets.augment import augment

COUNT = 2000


def views(image: torch.Tensor, count: int = COUNT, size: int | None = None) -> torch.Tensor:
    return augment(image.expand(count, *image.shape), seeds=range(count), size=size)


def flat(red: float, green: float, blue: float) -> torch.Tensor:
    """One colour everywhere: crops and flips leave it as it is."""
    return torch.tensor([red, green, blue]).view(3, 1, 1).expand(3, 4, 4)


def checkerboard() -> torch.Tensor:
    """Pure black and white at 32 px: only a crop, which interpolates, makes values in between."""
    fields = (torch.arange(32)[:, None] + torch.arange(32)[None]) % 2
    return fields.float().expand(3, 32, 32)


def ramps(side: int = 64) -> torch.Tensor:
    """Red rises to the right, green downwards, blue is the same everywhere."""
    rise = torch.linspace(0, 1, side)
    red, green = rise.expand(side, side), rise[:, None].expand(side, side)
    return torch.stack([red, green, torch.full((side, side), 0.25)])


def agrees(happened: torch.Tensor, probability: float) -> bool:
    """Whether a share lies within four binomial standard deviations of a probability."""
    deviation = (probability * (1 - probability) / len(happened)) ** 0.5
    return abs(happened.float().mean().item() - probability) < 4 * deviation


def test_half_of_all_pictures_are_flipped() -> None:
    changed = views(ramps(8).mean(dim=0).expand(3, 8, 8))  # brighter to the right, in grey
    left, right = changed[..., :4].mean(dim=(1, 2, 3)), changed[..., 4:].mean(dim=(1, 2, 3))
    assert agrees(left > right, 0.5)


def test_three_in_ten_are_cropped() -> None:
    values = [view.unique().numel() for view in views(checkerboard())]
    assert agrees(torch.tensor(values) > 2, 0.3)


def test_three_in_ten_lose_their_colour_and_of_the_others_three_in_ten_are_jittered() -> None:
    image = flat(0.6, 0.4, 0.2)
    changed = views(image)
    grey = (changed == changed[:, :1]).flatten(1).all(dim=1)
    assert agrees(grey, 0.3)
    moved = (changed[~grey] - image).abs().amax(dim=(1, 2, 3)) > 1e-4
    assert agrees(moved, 0.3)


def test_some_views_are_the_picture_itself_and_as_many_its_mirror_image() -> None:
    """Nothing but a flip happens with probability .7 x .7 x .7, and then half are flipped."""
    image = ramps(8)
    changed = views(image)
    for untouched in (image, image.flip(-1)):
        assert agrees((changed == untouched).flatten(1).all(dim=1), 0.7**3 / 2)


def test_crops_take_six_tenths_of_the_picture_or_more_at_most_four_to_three() -> None:
    changed = views(ramps())
    red, green, blue = changed.unbind(dim=1)
    plain = ((blue - 0.25).abs() < 1e-4).flatten(1).all(dim=1)
    across, down = ((c.amax(dim=(1, 2)) - c.amin(dim=(1, 2)))[plain] for c in (red, green))
    cropped = (across < 0.999) | (down < 0.999)
    assert cropped.sum() > 100
    area, ratio = (across * down)[cropped], (across / down)[cropped]
    assert area.min() > 0.57
    assert area.min() < 0.65
    assert ratio.min() > 3 / 4 - 0.04
    assert ratio.max() < 4 / 3 + 0.04
    assert ratio.max() > 1.2
    assert ratio.min() < 0.83


def test_crops_lie_anywhere_in_the_picture() -> None:
    changed = views(ramps())
    red, _, blue = changed.unbind(dim=1)
    plain = ((blue - 0.25).abs() < 1e-4).flatten(1).all(dim=1)
    left, right = red.amin(dim=(1, 2))[plain], 1 - red.amax(dim=(1, 2))[plain]
    margins = (left + right) > 0.1
    assert agrees((left > right)[margins], 0.5)
    assert left[margins].min() < 0.02


def test_brightness_moves_by_two_fifths_either_way() -> None:
    """A flat mid-grey knows no contrast, saturation or hue: it ends in [.5 x .6, .5 x 1.4]."""
    values = views(flat(0.5, 0.5, 0.5))[:, 0, 0, 0]
    moved = values[(values - 0.5).abs() > 1e-4]
    assert 0.3 - 1e-5 <= moved.min() < 0.31
    assert 0.69 < moved.max() <= 0.7 + 1e-5
    assert agrees(moved > 0.5, 0.5)


def test_hue_turns_by_a_tenth_of_the_circle() -> None:
    """A turn of red by h < 1/6 makes green (or blue) 6 h of it: .6 at most.

    Dark red, since a bright one would be cut off at 1 by a change of brightness.
    """
    changed = views(flat(0.4, 0.0, 0.0))[:, :, 0, 0]
    low = changed.amin(dim=1, keepdim=True)
    turned = (changed - low)[:, 1:] / (changed - low)[:, :1].clamp_min(1e-6)
    assert 0.55 < turned[:, 0].max() <= 0.6 + 1e-4
    assert 0.55 < turned[:, 1].max() <= 0.6 + 1e-4


def test_a_view_depends_on_its_own_seed_and_not_on_its_batch() -> None:
    images = torch.rand(5, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    seeds = [7, 2**63 + 5, 11, 7, 3]
    together = augment(images, seeds=seeds)
    alone = [augment(i[None], seeds=[s])[0] for i, s in zip(images, seeds, strict=True)]
    assert torch.equal(together, torch.stack(alone))
    assert not torch.equal(augment(images, seeds=[s + 1 for s in seeds]), together)


def test_values_stay_in_range_and_the_images_given_as_they_were() -> None:
    images = (torch.rand(400, 3, 9, 7, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    before = images.clone()
    changed = augment(images, seeds=range(400))
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert torch.equal(images, before)


def test_global_random_state_is_neither_read_nor_moved() -> None:
    torch.manual_seed(1)
    first = views(ramps(8), 50)
    state = torch.get_rng_state()
    assert torch.equal(first, views(ramps(8), 50))
    assert torch.equal(state, torch.get_rng_state())


def test_a_picture_left_alone_is_resized_like_any_other() -> None:
    image = ramps(20)
    changed, wanted = views(image, 200, size=8), resize(image[None], 8)[0]
    assert (changed == wanted).flatten(1).all(dim=1).any()
    assert changed.shape[-2:] == (8, 8)
