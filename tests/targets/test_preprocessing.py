"""Our preprocessing gives what the models' own processors give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_folders import as_images, natural

from mindeye.errors import CheckpointError
from mindeye.targets.encoders.preprocessing import Preprocessing, processor_preprocessing

MEAN, DEVIATION = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def ours(config: dict[str, Any], images: torch.Tensor) -> torch.Tensor:
    preprocessing = processor_preprocessing(config, Path("preprocessor_config.json"))
    fitted = preprocessing.fit(images)
    mean = torch.tensor(preprocessing.mean).view(1, 3, 1, 1)
    return (fitted - mean) / torch.tensor(preprocessing.deviation).view(1, 3, 1, 1)


PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "clip": ("CLIPImageProcessorPil", {}),
    "clip on tensors": ("CLIPImageProcessor", {}),
    "dinov2": (
        "BitImageProcessor",
        {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "resample": 3},
    ),
    "siglip": ("SiglipImageProcessor", {"size": {"height": 224, "width": 224}, "resample": 2}),
}


@pytest.mark.parametrize("processor", list(PROCESSORS))
@pytest.mark.parametrize("shape", [(128, 128), (425, 425), (300, 411), (411, 300)])
def test_it_is_within_a_hundredth_of_a_grey_level_of_the_processor(
    processor: str, shape: tuple[int, int]
) -> None:
    import transformers

    name, options = PROCESSORS[processor]
    own = getattr(transformers, name)(image_mean=MEAN, image_std=DEVIATION, **options)
    pictures = [p.resize(shape[::-1], 3) for p in natural(4)]
    expected = own(images=pictures, return_tensors="pt")["pixel_values"]
    found = ours(own.to_dict(), as_images(pictures))
    assert found.shape == expected.shape
    levels = (found - expected).abs() * torch.tensor(DEVIATION).view(1, 3, 1, 1) * 255
    assert levels.mean() < 0.01, "4e-3 of Pillow's, 4e-6 of torchvision's"
    assert levels.max() < 2.01


def test_fine_patterns_do_not_turn_into_coarse_ones() -> None:
    """A board of single black and white pixels is grey from afar."""
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    images = board.float().expand(1, 3, 64, 64)
    fitted = Preprocessing(20, (0.0,) * 3, (1.0,) * 3).fit(images)
    assert (fitted - 0.5).abs().max() < 0.1


def test_pictures_of_the_right_size_stay_as_they_are() -> None:
    images = torch.rand(2, 3, 30, 30)
    assert Preprocessing(30, (0.0,) * 3, (1.0,) * 3, edge=30).fit(images) is images
    assert Preprocessing(30, (0.0,) * 3, (1.0,) * 3).fit(images) is images
    centre = Preprocessing(20, (0.0,) * 3, (1.0,) * 3, edge=30).fit(images)
    assert torch.equal(centre, images[..., 5:25, 5:25])


@pytest.mark.parametrize(
    "fault",
    [
        {"size": {"height": 20, "width": 30}},
        {"size": {"longest_edge": 20}},
        {"image_mean": [0.5]},
        {"image_std": None},
        {"resample": 9},
        {"do_resize": False},
        {"crop_size": {"height": 300, "width": 300}, "do_center_crop": True},
    ],
)
def test_a_processor_that_is_not_understood_is_refused(fault: dict[str, Any]) -> None:
    sound = {"size": {"shortest_edge": 224}, "image_mean": MEAN, "image_std": DEVIATION}
    assert processor_preprocessing(sound, Path("p.json")).size == 224
    with pytest.raises(CheckpointError, match=r"p\.json describes no preprocessing"):
        processor_preprocessing({**sound, **fault}, Path("p.json"))


def test_grey_levels_are_whole_after_resizing() -> None:
    images = torch.from_numpy(np.random.default_rng(0).random((2, 3, 50, 50), dtype=np.float32))
    levels = Preprocessing(32, (0.0,) * 3, (1.0,) * 3).fit(images) * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
