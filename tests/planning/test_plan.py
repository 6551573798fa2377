from __future__ import annotations

from dataclasses import replace

import pytest

from mindeye.config import (
    ContrastiveConfig,
    DecoderConfig,
    HighConfig,
    LowConfig,
    OptimConfig,
    PriorConfig,
    RunConfig,
)
from mindeye.errors import ConfigError
from mindeye.models.sizes import Sizes
from mindeye.planning.plan import Plan, make_plans, parse_memory, plan_content, table
from mindeye.planning.steps import footprint_of, parameter_count

SIZES = Sizes(voxels=300, tokens=17, width=32, latents=(4, 16, 16))
HIGH = HighConfig(
    decoder=DecoderConfig(width=64, blocks=1, projector_width=64),
    prior=PriorConfig(depth=2, heads=2, dim_head=16),
    optim=OptimConfig(batch_size=16, precision="fp32"),
)
LOW = LowConfig(
    width=32, blocks=1, seed_channels=16, channels=16, contrastive_rows=0,
    optim=OptimConfig(batch_size=8, precision="fp32"),
)  # fmt: skip
OPTIONS = {
    "as it is": HIGH,
    "bf16": replace(HIGH, optim=replace(HIGH.optim, precision="bf16")),
    "loop over parameters": replace(HIGH, optim=replace(HIGH.optim, fused=False)),
    "recompute": replace(HIGH, optim=replace(HIGH.optim, recompute=True)),
    "micro-batches": replace(HIGH, optim=replace(HIGH.optim, micro_batch=4)),
    "adafactor": replace(HIGH, optim=replace(HIGH.optim, optimizer="adafactor")),
    "average": replace(HIGH, optim=replace(HIGH.optim, ema=0.9)),
    "explicit": replace(HIGH, prior=replace(HIGH.prior, attention="explicit")),
    "mse": replace(HIGH, prior=replace(HIGH.prior, kind="mse")),
    "contrast alone": replace(HIGH, prior=replace(HIGH.prior, kind="none")),
    "prior alone": replace(HIGH, contrastive=ContrastiveConfig(enabled=False)),
    "shared head": replace(HIGH, decoder=replace(HIGH.decoder, head="shared", head_width=8)),
    "low": LOW,
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_plan_counts_what_a_real_step_allocates(name: str) -> None:
    """The same ledger, on tensors without data and on a step that is really run."""
    planned = footprint_of(SIZES, OPTIONS[name])
    counted = footprint_of(SIZES, OPTIONS[name], real=True)
    assert planned.peak == pytest.approx(counted.peak, rel=0.03)
    assert planned.largest.parameters == counted.largest.parameters
    assert planned.largest.optimizer == pytest.approx(counted.largest.optimizer, rel=0.01)
    assert planned.largest.parameters == 4 * parameter_count(SIZES, OPTIONS[name])


def test_adamw_state_is_twice_the_parameters_and_adafactor_next_to_nothing() -> None:
    adamw, adafactor = (footprint_of(SIZES, OPTIONS[n]) for n in ("as it is", "adafactor"))
    weights = adamw.largest.parameters
    assert adamw.largest.optimizer == pytest.approx(2 * weights, rel=0.01)
    assert adafactor.largest.optimizer < 0.05 * weights


def test_recomputing_and_micro_batches_keep_fewer_activations() -> None:
    found = {n: footprint_of(SIZES, OPTIONS[n]).saved for n in OPTIONS}
    assert found["recompute"] < 0.5 * found["as it is"]
    assert found["micro-batches"] < 0.5 * found["as it is"]


def plans(limit: float | None, **changes: object) -> list[Plan]:
    config = RunConfig(high=HIGH, low=LOW)
    return make_plans(replace(config, **changes), SIZES, limit)  # type: ignore[arg-type]


def test_a_plan_without_a_device_tells_and_advises_nothing() -> None:
    found = plans(None)
    assert [p.name for p in found] == ["high", "low"]
    assert all(len(p.lines) == 1 for p in found)
    assert "add:" not in table(found, SIZES)


def test_options_are_added_until_it_fits_and_each_lowers_the_peak() -> None:
    whole = plans(None)[0].lines[0].footprint.peak
    high = plans(0.6 * whole)[0]
    peaks = [line.footprint.peak for line in high.lines]
    assert len(peaks) > 1
    assert peaks == sorted(peaks, reverse=True)
    assert len(set(peaks)) == len(peaks)
    assert high.fits(high.lines[-1])
    assert not any(high.fits(line) for line in high.lines[:-1])
    text = table([high], SIZES)
    assert f"add: {' '.join(high.lines[-1].words)}" in text
    assert plan_content([high])[0]["lines"][-1]["fits"] is True


def test_the_words_of_a_plan_make_the_planned_configuration() -> None:
    """What is advised, given to a run as it stands, has the planned peak."""
    from mindeye.config.fingerprints import config_dict
    from mindeye.config.settings import run_config

    whole = plans(None)[0].lines[0].footprint.peak
    line = plans(0.6 * whole)[0].lines[-1]
    content = config_dict(RunConfig(high=HIGH, low=LOW))
    config = run_config(content, list(line.words))
    assert footprint_of(SIZES, config.high).peak == line.footprint.peak


def test_what_cannot_fit_is_said_so() -> None:
    text = table(plans(1e5), SIZES)
    assert "nothing here makes it fit" in text


def test_only_pipelines_that_are_trained_are_planned() -> None:
    assert [p.name for p in plans(None, low_enabled=False)] == ["high"]
    assert [p.name for p in plans(None, high=replace(HIGH, weights="somewhere"))] == ["low"]


@pytest.mark.parametrize(
    ("text", "size"), [("24GB", 24e9), ("24GiB", 24 * 2**30), ("1.5 gb", 1.5e9), ("800MB", 8e8)]
)
def test_sizes_of_memory_are_read(text: str, size: float) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["24", "GB", "-3GB", "24XB", "", "0GB"])
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match="write it like 24GB"):
        parse_memory(text)
