from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest

from mindeye import config as config_module
from mindeye.config import RunConfig
from mindeye.config.fields import field_docs
from mindeye.config.fingerprints import config_dict, config_hash
from mindeye.config.settings import (
    dotted_fields,
    preset_content,
    preset_names,
    preset_path,
    read_yaml,
    run_config,
)
from mindeye.data.simulation import SimulateConfig
from mindeye.datasets.registry import DATASETS
from mindeye.errors import ConfigError
from mindeye.preparation.config import PrepareConfig


def test_every_field_of_every_config_has_a_doc_line() -> None:
    classes = [c for c in vars(config_module).values() if is_dataclass(c)]
    readers = [source.config for source in DATASETS.values()]
    classes += [PrepareConfig, SimulateConfig, *readers]
    assert len(classes) >= 9 + len(DATASETS) >= 9 + 8
    for cls in classes:
        docs = field_docs(cls)
        for field in fields(cls):
            assert docs.get(field.name), f"{cls.__name__}.{field.name}"


def test_every_shipped_preset_is_a_valid_run() -> None:
    names = preset_names()
    assert {"demo", "digit69", "miyawaki2008"} <= set(names)
    for name in names:
        assert isinstance(run_config(read_yaml(preset_path(name))), RunConfig)


def test_overrides_win_over_the_preset_and_keep_their_types() -> None:
    config = run_config(
        {"seed": 1, "high": {"optim": {"epochs": 9}}},
        ["high.optim.epochs=20", "high.optim.learning_rate=1e-4", "low_enabled=false"],
    )
    assert config.seed == 1
    assert config.high.optim.epochs == 20
    assert config.high.optim.learning_rate == pytest.approx(1e-4)
    assert config.low_enabled is False


def test_config_survives_the_way_through_a_plain_dictionary() -> None:
    config = run_config({}, ["targets.encoder=pixels:28:4", "targets.generator=pixels"])
    again = run_config(config_dict(config))
    assert again == config
    assert config_hash(again) == config_hash(config)
    assert config_hash(run_config({}, ["seed=1"])) != config_hash(run_config({}))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hihg.optim.epochs=3"], "did you mean high.optim.epochs"),
        (["high.optim.epochs=many"], "high.optim.epochs"),
        (["high.optim.epochs=0"], "high.optim.epochs is 0; it must be a whole number from 1"),
        (
            ["high.optim.batch_size=1"],
            "high.optim.batch_size is 1; it must be a whole number from 2",
        ),
        (["reconstruct.strength=1.5"], "strength"),
        (["high.prior.sample_steps=200"], "sample_steps"),
        (["high_enabled=false", "low_enabled=false"], "both false"),
        (["targets.tokens=pooled"], "draws from all tokens"),
        (["targets.tokens=pooled", "targets.encoder=pixels:28:4"], "no class token"),
        (["targets.tokens=pooled", "targets.generator=none"], "no maps to be contrasted"),
        (["high.contrastive.enabled=false", "high.prior.kind=none"], "nothing would be trained"),
        (["high.optim.micro_batch=65"], "between 0 .all at once. and batch_size=64"),
        (["high.optim.ema=1"], r"high.optim.ema is 1.0; it must be a number in \[0, 1\)"),
        (["high.contrastive.mixco_temperature=0"], r"a number in \(0, 100\]"),
        (["low.norm_groups=5"], "must divide low.channels=32"),
        (["high.weights=somewhere", "high.prior.kind=mse"], "leave one of them out"),
        (["targets.encoder=pixels:28:4"], "does not take the embeddings"),
        (["high.decoder.input_layer=fancy"], "input_layer"),
        (["seed"], "field=value"),
    ],
)
def test_a_bad_field_is_refused_by_name(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        run_config({}, words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", preset_names())
def test_one_switch_takes_the_published_choice_everywhere_and_changes_no_size(name: str) -> None:
    ours, theirs = (run_config(preset_content(name, as_published=p)) for p in (False, True))
    assert theirs.high.contrastive.published_targets
    assert not theirs.high.contrastive.gather
    assert theirs.high.optim.precision == theirs.low.optim.precision == "fp32"
    assert theirs.high.optim.repeats == "cycle"
    assert (theirs.high.prior.sampler, theirs.high.prior.standardise) == ("ddpm", False)
    assert theirs.high.decoder.input_layer == "published"
    for kept in ("width", "blocks", "projector_width"):
        assert getattr(theirs.high.decoder, kept) == getattr(ours.high.decoder, kept)
    assert theirs.high.optim.epochs == ours.high.optim.epochs
    assert theirs.high.contrastive.mixco_temperature == ours.high.contrastive.mixco_temperature


def test_a_misspelt_preset_is_met_by_its_name_and_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"did you mean demo.*mindeye1_pooled"):
        run_config("dmeo")


def test_a_run_is_configured_from_a_preset_a_file_or_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("high: {optim: {epochs: 3}}\nseed: 2\n")
    mapping = {"high": {"optim": {"epochs": 3}}, "seed": 2}
    assert run_config(path) == run_config(str(path)) == run_config(mapping)
    assert run_config("demo") == run_config(preset_content("demo"))
    assert run_config() == RunConfig()


def test_fields_given_in_python_lie_over_words_and_both_over_the_preset() -> None:
    config = run_config("demo", ["seed=1", "low.width=64"], seed=2, high={"decoder": {"width": 32}})
    assert (config.seed, config.low.width, config.high.decoder.width) == (2, 64, 32)
    assert config.high.decoder.projector_width == 256


def test_overrides_win_over_the_published_choices() -> None:
    config = run_config("demo", ["high.prior.sampler=ddim"], as_published=True)
    assert config.high.prior.sampler == "ddim"
    assert config.high.contrastive.published_targets


@pytest.mark.parametrize("value", ["%HOME%/clip", "@clip", "[clip", "a: b: c", "2024", "null"])
def test_text_is_taken_as_it_stands_whatever_yaml_would_make_of_it(value: str) -> None:
    assert run_config({}, [f"evaluate.weights={value}"]).evaluate.weights == value


@pytest.mark.parametrize("value", ["@", "[1", "%", "{", "", "1e3x", "'"])
def test_what_is_no_yaml_is_no_number_either_and_is_refused_in_one_line(value: str) -> None:
    for field in ("seed", "low.width", "low.dropout_in", "low_enabled"):
        with pytest.raises(ConfigError, match=f"^{field} is ") as caught:
            run_config({}, [f"{field}={value}"])
        assert "\n" not in str(caught.value)


def test_a_group_of_fields_is_not_a_value() -> None:
    for words, given in ((["high.optim=3"], {}), ([], {"high": {"optim": 3}})):
        with pytest.raises(ConfigError, match=r"set one in it, like high\.optim\.epochs"):
            run_config({}, words, **given)


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="demo"):
        preset_path("dmeo")


def test_a_preset_name_cannot_leave_the_presets_folder() -> None:
    with pytest.raises(ConfigError, match="no preset"):
        preset_path("../../../etc/passwd")


def test_yaml_objects_are_not_built(tmp_path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text("seed: !!python/object/apply:os.system ['true']")
    with pytest.raises(ConfigError, match="not readable YAML"):
        read_yaml(path)


def test_config_and_help_do_not_import_torch() -> None:
    code = (
        "import sys, contextlib, io\nfrom mindeye.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main(['run', '--help'])\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_dotted_fields_are_all_settable() -> None:
    names = [name for name, _, _ in dotted_fields(RunConfig)]
    assert "high.prior.loss_weight" in names
    assert len(names) == len(set(names))
    hints = get_type_hints(RunConfig)
    assert not any(is_dataclass(hints[n]) for n in names if n in hints)
