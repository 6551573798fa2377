"""A generator of one's own: one entry in a dict, or the object itself, wherever a name goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mindeye
from mindeye.config import ReconstructConfig
from mindeye.config.settings import run_config
from mindeye.data.subject import Subject
from mindeye.errors import ConfigError
from mindeye.generation.generators import Generator, Space, load_generator
from mindeye.runs import run_all, start_run
from mindeye.targets.autoencoders import PixelAutoencoder
from mindeye.targets.encoders import Encoder, PixelEncoder

WORDS = [
    "targets.encoder=pixels:16:4", "targets.vae=pixels:16", "targets.generator=mine",
    "low_enabled=false", "high.decoder.width=8", "high.decoder.blocks=1",
    "high.decoder.projector_width=8", "high.optim.epochs=1", "high.prior.kind=none",
    "reconstruct.candidates=1", "reconstruct.stimuli=4",
]  # fmt: skip


class Grey(Generator):
    """Draws one grey level, the mean of the tokens."""

    def __init__(self, encoder: Encoder) -> None:
        self.space = Space(encoder.tokens, encoder.width, "any")

    def generate(
        self, tokens: Tensor, *, seeds: Sequence[int], start: Tensor | None = None
    ) -> Tensor:
        return tokens.mean(dim=(1, 2)).clamp(0, 1).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    mindeye.GENERATORS["mine"] = Grey
    yield
    del mindeye.GENERATORS["mine"]


def _load(generator: Any) -> Generator | None:
    return load_generator(
        generator,
        PixelEncoder(16, 4),
        PixelAutoencoder(16),
        config=ReconstructConfig(),
        device=torch.device("cpu"),
    )


def test_a_run_draws_with_it(small_subject: Subject, tmp_path: Path) -> None:
    work = start_run(run_config("demo", WORDS), small_subject.path, tmp_path / "run")
    run_all(work, until="reconstruct")
    drawn = np.load(tmp_path / "run" / "reconstruct" / "high.npy")
    assert drawn.shape[-3:] == (16, 16, 3)
    assert np.array_equal(drawn, np.broadcast_to(drawn[..., :1, :1, :1], drawn.shape))


def test_a_reconstructor_takes_its_name_or_the_object(small_subject: Subject) -> None:
    seen = mindeye.RidgeDecoder("pixels:16:4").fit(small_subject).predict(small_subject)
    config = {"candidates": 1}
    named = mindeye.Reconstructor("mine", config=config).draw(seen)
    given = mindeye.Reconstructor(Grey(PixelEncoder(16, 4)), config=config).draw(seen)
    assert named.shape == (len(seen), 16, 16, 3)
    assert np.array_equal(named, given)


def test_an_object_is_taken_as_it_is_and_must_fit_the_encoder() -> None:
    fits = Grey(PixelEncoder(16, 4))
    assert _load(fits) is fits
    mindeye.GENERATORS["mine"] = fits
    assert _load("mine") is fits
    with pytest.raises(ConfigError, match="Grey takes embeddings of 4 x 64"):
        _load(Grey(PixelEncoder(16, 8)))
    with pytest.raises(ConfigError, match="object has no space, uses_start, generate"):
        _load(object())
