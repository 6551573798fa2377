"""An encoder of one's own: one entry in a dict, or the object itself, wherever a name goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import mindeye
from mindeye.config.settings import run_config
from mindeye.data.subject import Subject
from mindeye.errors import ConfigError
from mindeye.runs import run_all, start_run
from mindeye.runs.workspace import open_run
from mindeye.targets.encoders import Encoder, load_encoder
from mindeye.weights.names import found_models

CPU = torch.device("cpu")
HIGH = {
    "decoder": {"width": 8, "blocks": 1, "projector_width": 8},
    "optim": {"epochs": 1},
    "prior": {"kind": "none"},
}
WORDS = [
    "targets.encoder=mine", "targets.vae=pixels:16", "targets.generator=none", "low_enabled=false",
    "high.decoder.width=8", "high.decoder.blocks=1", "high.decoder.projector_width=8",
    "high.optim.epochs=1", "high.prior.kind=none",
]  # fmt: skip


class Colours(Encoder):
    """Mean colours of the four quarters of a picture."""

    tokens, width, size, fingerprint = 4, 3, 16, "colours-1"

    def encode(self, images: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(2).mT.contiguous()


class Bare:
    """An object with what is needed and no base class."""

    tokens, width, size, fingerprint = 4, 3, 16, "bare-1"

    def encode(self, images: Tensor) -> Tensor:
        return Colours().encode(images)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    mindeye.ENCODERS["mine"] = Colours
    yield
    del mindeye.ENCODERS["mine"]


def test_a_run_embeds_trains_and_opens_with_it(small_subject: Subject, tmp_path: Path) -> None:
    config = run_config("demo", WORDS)
    assert found_models(config) == []
    run_all(start_run(config, small_subject.path, tmp_path / "run"), until="predict")
    again = open_run(tmp_path / "run", run_config)
    assert isinstance(again.encoder, Colours)
    assert not any(run_all(again, until="predict").values())
    decoder = mindeye.BrainDecoder.load(tmp_path / "run")
    assert decoder.predict(small_subject).tokens.shape[1:] == (4, 3)


def test_an_estimator_takes_its_name_or_the_object(small_subject: Subject, tmp_path: Path) -> None:
    named = mindeye.BrainDecoder("mine", config=HIGH).fit(small_subject)
    given = mindeye.BrainDecoder(Colours(), config=HIGH).fit(small_subject)
    expected = named.predict(small_subject)
    assert np.array_equal(given.predict(small_subject).tokens, expected.tokens)
    for decoder, encoder in ((named, None), (given, Colours())):
        folder = decoder.save(tmp_path / str(encoder is None))
        again = mindeye.BrainDecoder.load(folder, encoder=encoder)
        assert np.array_equal(again.predict(small_subject).tokens, expected.tokens)


def test_an_object_is_an_entry_too_and_needs_no_base_class() -> None:
    mindeye.ENCODERS["mine"] = Bare()
    encoder, images = load_encoder("mine", device=CPU), torch.rand(2, 3, 16, 16)
    assert (encoder.id, encoder.has_class_token, encoder.normalisation) == ("mine", False, "none")
    assert torch.equal(encoder.encode(images), Colours().encode(images))
    assert torch.equal(encoder.features(images), encoder.encode(images).mean(dim=1))
    assert load_encoder(Bare(), device=CPU).id == "Bare"


def test_what_is_no_encoder_or_lies_about_its_tokens_is_refused() -> None:
    with pytest.raises(ConfigError, match="object has no encode, tokens"):
        load_encoder(object(), device=CPU)
    lying = Bare()
    lying.width = 5
    with pytest.raises(ConfigError, match=r"Bare gave tokens \(1, 4, 3\); it says 4 x 5"):
        load_encoder(lying, device=CPU).encode(torch.rand(1, 3, 16, 16))
    with pytest.raises(ConfigError, match=r"Colours has no class token.*tokens=all"):
        load_encoder("mine", device=CPU, tokens="pooled")


def test_an_autoencoder_of_ones_own_goes_the_same_way(small_subject: Subject) -> None:
    class Halves:
        """Latents are pixels minus a half."""

        id, shape, fingerprint = "halves", (3, 16, 16), "halves-1"

        def encode(self, images: Tensor) -> Tensor:
            return torch.nn.functional.adaptive_avg_pool2d(images, 16) - 0.5

        def decode(self, latents: Tensor) -> Tensor:
            return (latents + 0.5).clamp(0, 1)

    mindeye.AUTOENCODERS["mine"] = Halves
    config = {
        "targets": {"vae": "mine"}, "width": 8, "blocks": 1, "seed_channels": 8, "channels": 8,
        "contrastive_weight": 0, "optim": {"epochs": 1},
    }  # fmt: skip
    try:
        low = mindeye.LowLevelDecoder("mine", config=config).fit(small_subject)
        assert low.predict(small_subject).shape[1:] == (3, 16, 16)
    finally:
        del mindeye.AUTOENCODERS["mine"]
