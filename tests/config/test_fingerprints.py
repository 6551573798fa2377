"""Hashes that runs of version 0.1 left on disk are still those of the same configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mindeye.config import RunConfig
from mindeye.config.fingerprints import (
    RETIRED,
    config_dict,
    config_hash,
    differing_fields,
    filled,
)
from mindeye.config.settings import preset_names, run_config
from mindeye.errors import ConfigError
from mindeye.files import read_json

OLD_RUN = read_json(Path(__file__).with_name("run_0_1.json"))["config"]
"""`run.json` of the preset demo, written by version 0.1."""

HASHES = {
    "demo": ("466a02fb034e9555", "bccba526d53d2c61"),
    "digit69": ("ec3ff365b0a4f163", "c64b8862fe96cf49"),
    "ip_adapter_sdxl": ("1ccbdb4a66518b06", "254755590a64bf00"),
    "kandinsky": ("3c2214006cfd401d", "0dc4af79c2bd05d5"),
    "mindeye1": ("cc4e60788624d878", "3836e971f6e3f329"),
    "mindeye1_lowlevel": ("3864c36c69aba2c8", "5a6c9dc3d2c09438"),
    "mindeye1_pooled": ("3f13d4274e5bbf02", "d181fa65bda35d12"),
    "miyawaki2008": ("324702651c6ec4d0", "dfe5dcbf06d75283"),
}
"""By version 0.1: of every preset, and of it under the published choices."""


def test_every_preset_has_the_hash_that_version_0_1_gave_it() -> None:
    assert set(HASHES) == set(preset_names())
    for name, known in HASHES.items():
        ours = (config_hash(run_config(name, as_published=p)) for p in (False, True))
        assert tuple(ours) == known, name
    assert config_hash(RunConfig()) == "9ef5586e65e31107"


def test_parts_of_a_run_have_the_hashes_that_version_0_1_gave_them() -> None:
    config = run_config("demo")
    assert config_hash(config.targets) == "c9015efbb4d3e22d"
    assert config_hash(config.evaluate) == "211ac8871b2bfa2e"


def test_a_run_of_version_0_1_opens_and_is_the_same_run() -> None:
    assert run_config(OLD_RUN) == run_config("demo")
    assert not differing_fields(
        filled(OLD_RUN, config_dict(RunConfig())), config_dict(run_config("demo"))
    )


def test_a_field_that_does_nothing_now_is_ignored_in_a_file_and_refused_as_a_word() -> None:
    assert OLD_RUN["high"]["contrastive"]["chunk"] == 0
    old = {"high": {"contrastive": {"chunk": 64}}, "low": {"contrastive_chunk": 8}}
    assert run_config(old) == RunConfig()
    for name in RETIRED:
        with pytest.raises(ConfigError, match=f"no field '{name}'"):
            run_config({}, [f"{name}=64"])


def test_any_other_value_gives_another_hash() -> None:
    config = RunConfig()
    assert config_hash(replace(config, seed=1)) != config_hash(config)
    low = replace(config.low, contrastive_rows=1)
    assert config_hash(replace(config, low=low)) != config_hash(config)


def test_differences_go_into_groups_and_a_missing_field_is_one() -> None:
    a = {"seed": 0, "high": {"width": 1, "depth": 2}}
    assert differing_fields(a, {"seed": 0, "high": {"width": 3}}) == ["high.depth", "high.width"]
    assert filled({"high": {"width": 3}}, a) == {"seed": 0, "high": {"width": 3, "depth": 2}}
