"""What a picture system is set against, and what the run's own encoder says of a picture."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mindeye.config.settings import run_config
from mindeye.data.subject import Subject
from mindeye.metrics.features import encoder_network
from mindeye.metrics.table import read_rows
from mindeye.runs.pipeline import run_all
from mindeye.runs.workspace import start_run
from mindeye.targets.encoders import Encoder, PixelEncoder
from small_zoo_run import WORDS


class Quarters(Encoder):
    """Four quarters of a picture, each as its mean colour."""

    tokens, width, size, fingerprint = 4, 3, 8, "quarters"

    def __init__(self, *, class_token: bool) -> None:
        self.has_class_token = class_token

    def encode(self, images: Tensor) -> Tensor:
        quarters = torch.nn.functional.adaptive_avg_pool2d(images, 2)
        return quarters.flatten(2).transpose(1, 2)


def test_a_grid_speaks_for_all_of_a_picture_and_not_for_its_corner() -> None:
    images = torch.zeros(2, 3, 8, 8)
    images[1, :, 4:, 4:] = 1  # the lower right corner alone tells them apart
    features = encoder_network(Quarters(class_token=False)).extract(images)
    torch.testing.assert_close(features, torch.tensor([[0.0] * 3, [0.25] * 3]))
    corner = encoder_network(Quarters(class_token=True)).extract(images)
    torch.testing.assert_close(corner[0], corner[1])


def test_pixel_tokens_are_compared_one_by_one() -> None:
    images = torch.rand(2, 3, 8, 8)
    features = encoder_network(PixelEncoder(8, 4)).extract(images)
    assert features.flatten(1).shape == (2, 64)


def test_ridge_is_set_against_what_draws_its_pictures(
    small_subject: Subject, tmp_path: Path
) -> None:
    pixels = ["targets.encoder=pixels:16:4", "targets.vae=pixels:16", "high_enabled=false"]
    for generator, ceiling in (("none", "ceiling_vae"), ("pixels", "ceiling_generator")):
        out = tmp_path / generator
        config = run_config({}, [*WORDS, *pixels, f"targets.generator={generator}"])
        run_all(start_run(config, small_subject.path, out))
        rows = {(r.metric, r.system): r for r in read_rows(out / "metrics.json")}
        ridge = rows["PixCorr", "ridge"]
        assert ridge.ceiling == rows["PixCorr", ceiling].value
        assert ridge.ceiling > ridge.value
