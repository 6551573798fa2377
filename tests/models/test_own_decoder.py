"""A decoder of one's own: one entry in a dict, trained, saved and loaded as the shipped one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mindeye.config import DecoderConfig, OptimConfig, RunConfig
from mindeye.config.fingerprints import config_hash
from mindeye.config.settings import run_config
from mindeye.data.subject import Subject
from mindeye.errors import ConfigError
from mindeye.models import DECODERS
from mindeye.models.pipelines import HighLevel
from mindeye.models.sizes import Sizes
from mindeye.runs import run_all, start_run
from mindeye.runs.workspace import open_run
from mindeye.training.optim import decay_groups

SIZES = Sizes(voxels=9, tokens=3, width=8, latents=(3, 8, 8))
WORDS = [
    "targets.encoder=pixels:16:4", "targets.vae=pixels:16", "targets.generator=pixels",
    "high.decoder.kind=linear", "high.optim.epochs=1", "high.prior.timesteps=10",
    "high.prior.sample_steps=4", "low_enabled=false",
]  # fmt: skip


class Linear(nn.Module):
    """One linear map to tokens, which are contrasted themselves."""

    input_layer = "first"

    def __init__(self, config: DecoderConfig, sizes: Sizes) -> None:
        super().__init__()
        self.shape = (sizes.tokens, sizes.width)
        self.first = nn.Linear(sizes.voxels, config.width)
        self.second = nn.Linear(config.width, sizes.tokens * sizes.width)

    def forward(self, betas: Tensor) -> tuple[Tensor, None]:
        return self.second(self.first(betas)).unflatten(1, self.shape), None


class Nameless(Linear):
    """The same, which does not tell its layer over voxels."""

    input_layer = ""


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    DECODERS.update(linear=Linear, nameless=Nameless)
    yield
    del DECODERS["linear"], DECODERS["nameless"]


def _high(kind: str) -> HighLevel:
    config = run_config({}, [f"high.decoder.kind={kind}", "high.decoder.width=16"]).high
    return HighLevel(config, SIZES)


def test_a_run_trains_saves_and_loads_it(small_subject: Subject, tmp_path: Path) -> None:
    work = start_run(run_config("demo", WORDS), small_subject.path, tmp_path / "run")
    run_all(work, until="predict")
    again = open_run(tmp_path / "run", run_config)
    model = again.decoder.model_
    assert isinstance(model.decoder, Linear)
    assert not any(run_all(again, until="predict").values())


def test_what_it_predicts_is_contrasted_and_conditions_the_prior() -> None:
    output = _high("linear")(torch.zeros(2, SIZES.voxels))
    assert output.backbone.shape == (2, 3, 8)
    assert torch.equal(output.contrastive, output.backbone)


def test_its_name_is_known_once_it_is_registered_and_then_part_of_the_hash() -> None:
    own = run_config({}, ["high.decoder.kind=linear"])
    assert config_hash(own) != config_hash(RunConfig())
    del DECODERS["linear"]
    with pytest.raises(ConfigError, match=r"high\.decoder\.kind is 'linear'.*residual"):
        run_config({}, ["high.decoder.kind=linear"])
    DECODERS["linear"] = Linear


def test_its_layer_over_voxels_has_a_weight_decay_of_its_own() -> None:
    optim = OptimConfig(weight_decay=0.1, input_weight_decay=0.3)
    model = _high("linear")
    groups = {g["weight_decay"]: g["params"] for g in decay_groups(model, optim, model.input_layer)}
    assert [p is model.decoder.first.weight for p in groups[0.3]] == [True]


def test_a_layer_over_voxels_that_nobody_names_is_no_silent_miss() -> None:
    model, optim = _high("nameless"), OptimConfig(weight_decay=0.1, input_weight_decay=0.3)
    with pytest.raises(ConfigError, match=r"input_weight_decay.*input_layer = \"NAME\""):
        decay_groups(model, optim, model.input_layer)
    alike = replace(optim, input_weight_decay=0.1)
    assert {g["weight_decay"] for g in decay_groups(model, alike, model.input_layer)} == {0.0, 0.1}
