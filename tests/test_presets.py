"""Shipped presets: all are found, the paper's have the paper's sizes and settings."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mindeye
from mindeye.config import HighConfig, LowConfig, OptimConfig, RunConfig
from mindeye.config.settings import preset_content, preset_names, read_yaml, run_config
from mindeye.errors import ConfigError
from mindeye.files import read_json
from mindeye.models.lowlevel import LowLevel
from mindeye.models.pipelines import HighLevel
from mindeye.models.sizes import Sizes
from mindeye.published.names import (
    decoder_to_published,
    lowlevel_to_published,
    prior_to_published,
)
from parity.fixtures import golden_folder
from test_parity import absence

PRESETS = {
    "demo", "digit69", "miyawaki2008", "mindeye1", "mindeye1_lowlevel", "mindeye1_pooled",
    "kandinsky", "ip_adapter_sdxl",
}  # fmt: skip
VOXELS = 15724
"""Subject 1 of NSD, in the region nsdgeneral (published code)."""
LATENTS = (4, 64, 64)
FULL = Sizes(VOXELS, 257, 768, LATENTS)
POOLED = Sizes(VOXELS, 1, 768, LATENTS)
PUBLISHED_TOTAL, PUBLISHED_DECODER = 1_003_635_088, 947_579_904
ROTARY = 16
"""Rotary frequencies: one frozen parameter of the published prior, a buffer of ours."""
PUBLISHED_LOW, PUBLISHED_MAPS = 206_065_604, 512
PUBLISHED_POOLED_DECODER = 142_076_928


def _config(name: str, *, as_published: bool = False) -> RunConfig:
    return run_config(preset_content(name, as_published=as_published))


def _high(name: str, sizes: Sizes, *, as_published: bool = False) -> HighLevel:
    with torch.device("meta"):
        return HighLevel(_config(name, as_published=as_published).high, sizes)


def _low(name: str, maps: tuple[int, int], *, as_published: bool = False) -> LowLevel:
    with torch.device("meta"):
        return LowLevel(_config(name, as_published=as_published).low, FULL, maps)


def _count(*models: nn.Module | None) -> int:
    return sum(p.numel() for model in models if model is not None for p in model.parameters())


def _golden(name: str) -> dict[str, Any]:
    """A key list of the published models; absent only where that is allowed."""
    reason = absence(golden_folder().is_dir(), dict(os.environ))
    if reason is not None:
        pytest.skip(reason)
    content: dict[str, Any] = read_json(golden_folder() / "full_size" / name)
    return content


def _shapes(state: dict[str, Tensor]) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in state.items()}


def _under(prefix: str, keys: dict[str, list[int]]) -> dict[str, list[int]]:
    return {k.removeprefix(prefix): v for k, v in keys.items() if k.startswith(prefix)}


def test_all_presets_and_overlays_are_found_and_shipped() -> None:
    assert set(preset_names()) == PRESETS
    folder = Path(mindeye.__file__).parent / "presets"
    assert {p.stem for p in folder.glob("*.yaml")} == PRESETS
    assert [p.name for p in (folder / "overlays").iterdir()] == ["as_published.yaml"]


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("as_published", [False, True])
def test_every_preset_is_a_run_with_and_without_the_overlay(name: str, as_published: bool) -> None:
    config = _config(name, as_published=as_published)
    plain = read_yaml(Path(mindeye.__file__).parent / "presets" / f"{name}.yaml")
    assert (config.targets.augmentation == "recomputed") is as_published
    assert config.high_enabled is plain.get("high_enabled", True)
    assert config.low_enabled is plain.get("low_enabled", True)


def test_mindeye1_as_published_has_the_published_number_of_parameters() -> None:
    model = _high("mindeye1", FULL, as_published=True)
    assert _count(model.decoder) == PUBLISHED_DECODER
    assert _count(model) == PUBLISHED_TOTAL - ROTARY
    frequencies = [b for name, b in model.named_buffers() if name.endswith("frequencies")]
    assert sum(b.numel() for b in frequencies) == ROTARY


def test_mindeye1_by_default_lacks_the_norm_of_the_input_layer_alone() -> None:
    width = 4096
    model = _high("mindeye1", FULL)
    assert _count(model) == PUBLISHED_TOTAL - ROTARY - 2 * width


def test_mindeye1_as_published_has_every_published_name_and_shape() -> None:
    document = _golden("mindeye_subj01.json")
    model = _high("mindeye1", FULL, as_published=True)
    assert model.prior is not None
    decoder = _shapes(decoder_to_published(model.decoder.state_dict()))
    assert decoder == _under("voxel2clip.", document["keys"])
    assert _shapes(prior_to_published(model.prior.state_dict())) == _under("net.", document["keys"])
    assert model.schedule.timesteps == document["config"]["prior"]["timesteps"]
    assert document["n_parameters"] == PUBLISHED_TOTAL


@pytest.mark.parametrize("name", ["mindeye1", "mindeye1_lowlevel"])
@pytest.mark.parametrize("as_published", [False, True])
def test_the_low_level_has_the_published_number_of_parameters(
    name: str, as_published: bool
) -> None:
    model = _low(name, (256, PUBLISHED_MAPS), as_published=as_published)
    assert _count(model) == PUBLISHED_LOW
    assert model.seed_shape == (64, 16, 16)


@pytest.mark.parametrize("name", ["mindeye1", "mindeye1_lowlevel"])
def test_the_low_level_has_every_published_name_and_shape(name: str) -> None:
    document = _golden("lowlevel_subj01.json")["published_h4096_4x_cont"]
    model = _low(name, (256, PUBLISHED_MAPS))
    assert _shapes(lowlevel_to_published(model.state_dict())) == document["keys"]
    assert document["n_parameters"] == PUBLISHED_LOW


def test_with_clip_patches_the_low_level_differs_in_the_width_of_its_maps_alone() -> None:
    clip, vicregl = (_low("mindeye1_lowlevel", (256, width)) for width in (768, PUBLISHED_MAPS))
    assert _count(clip) - _count(clip.maps_projector) == _count(vicregl) - _count(
        vicregl.maps_projector
    )
    assert _count(clip) != _count(vicregl)


def test_the_pooled_variant_has_one_token_and_the_published_decoder() -> None:
    config = _config("mindeye1_pooled", as_published=True)
    assert config.targets.tokens == "pooled"
    model = _high("mindeye1_pooled", POOLED, as_published=True)
    assert (model.decoder.tokens, model.decoder.token_dim) == (1, 768)
    assert model.prior is not None
    assert (model.prior.num_tokens, model.schedule.timesteps) == (1, 1000)
    assert _count(model.decoder) == PUBLISHED_POOLED_DECODER
    assert config.high.prior.loss_weight == pytest.approx(0.03)


def test_the_pooled_decoder_has_every_published_name_and_shape() -> None:
    document = _golden("voxel2clip_1x768_subj01.json")
    model = _high("mindeye1_pooled", POOLED, as_published=True)
    assert _shapes(decoder_to_published(model.decoder.state_dict())) == document["keys"]
    assert sum(prod(shape) for shape in document["keys"].values()) == PUBLISHED_POOLED_DECODER


def _schedule(optim: OptimConfig) -> tuple[float, float, int, int, float]:
    return (
        optim.learning_rate, optim.warmup_share, optim.epochs, optim.batch_size, optim.weight_decay
    )  # fmt: skip


@pytest.mark.parametrize("name", ["mindeye1", "mindeye1_pooled"])
@pytest.mark.parametrize("as_published", [False, True])
def test_the_high_level_is_trained_as_in_the_paper(name: str, as_published: bool) -> None:
    high: HighConfig = _config(name, as_published=as_published).high
    assert _schedule(high.optim) == pytest.approx((3e-4, 2 / 240, 240, 32, 1e-2))
    losses = high.contrastive
    assert (losses.mixing, losses.soft, losses.enabled) == ("bimixco", "softclip", True)
    assert losses.mixco_share == pytest.approx(1 / 3)
    assert (losses.mixco_beta, losses.mixco_threshold) == (0.15, 0.5)
    temperatures = (
        losses.mixco_temperature, losses.soft_temperature_start, losses.soft_temperature_end
    )  # fmt: skip
    assert temperatures == (0.006, 0.004, 0.0075)
    prior, decoder = high.prior, high.decoder
    assert (prior.kind, prior.depth, prior.heads, prior.dim_head) == ("diffusion", 6, 12, 64)
    assert prior.condition_drop == pytest.approx(0.2)
    pooled = name == "mindeye1_pooled"
    assert (prior.timesteps, prior.loss_weight) == ((1000, 0.03) if pooled else (100, 30.0))
    assert (decoder.width, decoder.blocks, decoder.projector_width) == (4096, 4, 2048)
    assert (decoder.dropout_in, decoder.dropout_block, decoder.head) == (0.5, 0.15, "full")


@pytest.mark.parametrize("name", ["mindeye1", "mindeye1_lowlevel", "kandinsky", "ip_adapter_sdxl"])
@pytest.mark.parametrize("as_published", [False, True])
def test_the_low_level_is_trained_as_in_the_paper(name: str, as_published: bool) -> None:
    low: LowConfig = _config(name, as_published=as_published).low
    assert _schedule(low.optim) == pytest.approx((5e-4, 2 / 120, 120, 8, 1e-2))
    assert (low.contrastive_weight, low.contrastive_temperature) == (0.1, 0.075)
    assert (low.dropout_in, low.dropout_block) == (0.5, 0.25)
    assert low.contrastive_rows == 0


@pytest.mark.parametrize("name", ["kandinsky", "ip_adapter_sdxl"])
def test_other_generators_change_the_space_and_nothing_of_the_pooled_training(name: str) -> None:
    ours, pooled = _config(name), _config("mindeye1_pooled")
    assert ours.high == pooled.high
    assert ours.low == _config("mindeye1").low
    assert ours.targets.tokens == "pooled"
    assert ours.targets.maps == _config("mindeye1").targets.encoder
    drawn = ours.reconstruct
    assert (drawn.candidates, drawn.strength, drawn.start) == (16, 0.85, "image")
    # CLIP ViT-bigG's pooled embedding.
    with torch.device("meta"):
        model = HighLevel(ours.high, Sizes(VOXELS, 1, 1280, LATENTS))
    assert (model.decoder.tokens, model.decoder.token_dim) == (1, 1280)


def test_pooled_targets_need_an_encoder_of_maps_only_where_maps_are_contrasted() -> None:
    content = preset_content("kandinsky")
    with pytest.raises(ConfigError, match=r"name their encoder by targets\.maps"):
        run_config(content, ["targets.maps="])
    run_config(content, ["targets.maps=", "low.contrastive_weight=0"])


def test_pictures_are_drawn_and_scored_as_in_the_paper() -> None:
    config = _config("mindeye1")
    drawn, scored = config.reconstruct, config.evaluate
    assert (drawn.candidates, drawn.strength, drawn.guidance, drawn.steps) == (16, 0.85, 3.5, 20)
    assert (scored.nway, scored.draws, scored.picture_size) == (300, 30, 425)


def test_candidates_are_stated_where_more_than_one_is_drawn() -> None:
    drawn = {name: _config(name).reconstruct.candidates for name in PRESETS}
    several = {"mindeye1": 16, "kandinsky": 16, "ip_adapter_sdxl": 16, "demo": 4}
    assert drawn == {name: several.get(name, 1) for name in PRESETS}


def test_distractors_of_one_cluster_would_be_all_of_them() -> None:
    for clusters in ("1", "-3"):
        with pytest.raises(ConfigError, match=r"evaluate\.clusters"):
            run_config({}, [f"evaluate.clusters={clusters}"])
    assert run_config({}, ["evaluate.clusters=2"]).evaluate.clusters == 2
