"""The table of models holds together and every shipped preset is in it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from mindeye.config.settings import preset_content, preset_names, run_config
from mindeye.weights.names import models_of, requests_of
from mindeye.weights.table import ADAPTER_BASES, MODELS, pickle_of, split_name


@pytest.mark.parametrize("identity", MODELS)
def test_every_entry_is_complete(identity: str) -> None:
    model = MODELS[identity]
    assert re.fullmatch(r"[\w-]+/[\w.-]+", model.id)
    assert model.pinned == bool(re.fullmatch("[0-9a-f]{40}", model.revision))
    assert model.pinned or "no commit found" in model.note or "tag" in model.note
    assert all(file.path.endswith(".safetensors") for file in model.weights)
    assert model.size == sum(file.about for file in model.weights) > 0
    assert model.licence
    assert model.use


def test_adapters_and_their_bases_are_in_the_table() -> None:
    names = [*ADAPTER_BASES, *(n for pair in ADAPTER_BASES.values() for n in pair)]
    for name in names:
        identity, inside = split_name(name)
        assert MODELS[identity].wanted(inside)


def test_a_generator_with_a_base_names_two_models() -> None:
    adapter = next(iter(ADAPTER_BASES))
    base = ADAPTER_BASES[adapter][0]
    requests, _ = requests_of([f"ip_adapter:{base}:{adapter}"])
    assert [r.model.id for r in requests] == [base, "h94/IP-Adapter"]
    assert [w.path for w in requests[1].weights] == [split_name(adapter)[1]]


def test_names_are_split_after_the_second_part() -> None:
    assert split_name("a/b") == ("a/b", "")
    assert split_name("a/b/c/d.safetensors") == ("a/b", "c/d.safetensors")


def test_pickles_have_the_names_that_the_libraries_give_them() -> None:
    assert pickle_of("model.safetensors") == "pytorch_model.bin"
    assert pickle_of("open_clip_model.safetensors") == "open_clip_pytorch_model.bin"
    expected = "vae/diffusion_pytorch_model.bin"
    assert pickle_of("vae/diffusion_pytorch_model.safetensors") == expected


@pytest.mark.parametrize("preset", preset_names())
def test_every_model_that_a_preset_names_can_be_fetched(preset: str) -> None:
    named = models_of(run_config(preset_content(preset)))
    if not named:
        return
    requests, local = requests_of([preset])
    assert not local
    assert {split_name(name)[0] for name in named} <= {r.model.id for r in requests}


def test_the_documentation_is_written_from_the_table() -> None:
    script = Path(__file__).parents[2] / "scripts" / "models_table.py"
    assert runpy.run_path(str(script))["main"](["--check"]) == 0
