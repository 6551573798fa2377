"""Every number of a run has bounds; what lies outside is refused by name before anything runs."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal, get_origin

import pytest

from mindeye import config as configs
from mindeye.config import DecoderConfig, OptimConfig, RunConfig
from mindeye.config.bounds import Bound, Checked, allowed_names, base_type, bounds_of, typed_fields
from mindeye.config.fields import Field, fields_of
from mindeye.config.generate import GenerateConfig
from mindeye.config.settings import run_config
from mindeye.errors import ConfigError

FIELDS = list(fields_of(RunConfig))
NUMBERS = [field for field in FIELDS if base_type(field.hint) in (int, float)]
CLASSES = [
    *(c for c in vars(configs).values() if isinstance(c, type) and issubclass(c, Checked)),
    GenerateConfig,
]


def _bad_values(hint: Any) -> list[Any]:
    """Values that no field of this annotation may have."""
    (bound,) = bounds_of(hint)
    bad = [float("nan"), float("inf"), -float("inf"), 10**20, -(10**20), 1e200, True, "many", None]
    bad += [bound.low - 1, bound.high + 1]
    bad += [bound.low] if bound.above else []
    bad += [bound.high] if bound.below else []
    return bad + ([0.5] if base_type(hint) is int else [])


def test_every_number_of_a_run_has_bounds_and_its_default_lies_within() -> None:
    assert len(NUMBERS) > 50
    for field in NUMBERS:
        (bound,) = bounds_of(field.hint)
        assert bound.holds(field.default), field.name


@pytest.mark.parametrize("field", NUMBERS, ids=lambda field: field.name)
def test_a_number_out_of_bounds_is_refused_by_its_dotted_name(field: Field) -> None:
    for bad in _bad_values(field.hint):
        for words, given in (([f"{field.name}={bad}"], {}), ([], {field.name: bad})):
            if words and (bad is True and base_type(field.hint) is float):
                continue
            with pytest.raises(ConfigError) as caught:
                run_config(given, words)
            assert str(caught.value).startswith(f"{field.name} is "), caught.value
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_constructor_refuses_what_a_file_may_not_say(cls: type[Checked]) -> None:
    for name, hint in typed_fields(cls).items():
        bad: list[Any] = [object()]
        if base_type(hint) in (int, float):
            bad += _bad_values(hint)
        elif allowed_names(hint) is not None:
            bad += ["no such name", 3]
        for value in bad:
            with pytest.raises(ConfigError, match=rf"(^|\.){name} is "):
                cls(**{name: value})


@pytest.mark.parametrize(
    "word",
    [
        "high.decoder.width=-5", "high.decoder.blocks=-1", "high.prior.depth=0",
        "high.prior.heads=0", "low.width=0", "low.dropout_in=2", "high.decoder.dropout_block=1",
        "high.contrastive.mixco_beta=-1", "high.optim.batch_size=0", "low.optim.batch_size=0",
        "high.optim.learning_rate=nan", "low.optim.learning_rate=inf", "high.optim.epochs=-1",
        "high.optim.epochs=100000000000000000000", "seed=-1", "evaluate.resamples=0",
        "high.prior.dim_head=7",
    ],
)  # fmt: skip
def test_values_that_once_ran_into_torch_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=f"^{word.partition('=')[0]} is "):
        run_config("demo", [word])


def test_the_name_of_a_field_is_where_it_stands() -> None:
    for pipeline in ("high", "low"):
        with pytest.raises(ConfigError, match=rf"^{pipeline}\.optim\.micro_batch is 65"):
            run_config({}, [f"{pipeline}.optim.micro_batch=65"])
    with pytest.raises(ConfigError, match=r"^optim\.micro_batch is 65"):
        OptimConfig(micro_batch=65)
    with pytest.raises(ConfigError, match=r"^high\.decoder\.width is -5"):
        DecoderConfig(width=-5)


def test_every_word_of_a_choice_is_allowed_and_no_other() -> None:
    for field in FIELDS:
        if get_origin(base_type(field.hint)) is Literal:
            assert field.default in (allowed_names(field.hint) or ())
            with pytest.raises(
                ConfigError, match=f"^{field.name} is 'nonsense'; it must be one of"
            ):
                run_config({}, [f"{field.name}=nonsense"])


def test_every_config_is_checked_and_names_its_own_section() -> None:
    for field in fields(RunConfig):
        kind = base_type(typed_fields(RunConfig)[field.name])
        if isinstance(kind, type) and issubclass(kind, Checked):
            assert kind.section == field.name


def test_a_bound_holds_its_ends_unless_they_are_excluded() -> None:
    assert [Bound(0, 1).holds(v) for v in (-1, 0, 1, 2)] == [False, True, True, False]
    assert [Bound(0, 1, above=True, below=True).holds(v) for v in (0, 0.5, 1)] == [
        False, True, False,
    ]  # fmt: skip
    assert not Bound(0, 1).holds(float("nan"))
