from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.profiles import PROFILES, profile_config
from benchmarks.train import TrainBench, bench_train, table
from mindeye.config.fingerprints import config_dict, differing_fields
from mindeye.errors import ConfigError, MindEyeError

SMALL = """
high:
  decoder: {width: 64, blocks: 1, projector_width: 64}
  prior: {depth: 1, heads: 2, dim_head: 16}
  optim: {learning_rate: 0.0001}
"""
COSTS = {
    "high.optim.precision",
    "high.optim.fused",
    "high.optim.optimizer",
    "high.optim.recompute",
    "high.prior.attention",
}


@pytest.fixture
def small(tmp_path: Path) -> TrainBench:
    preset = tmp_path / "small.yaml"
    preset.write_text(SMALL)
    return TrainBench(
        preset=str(preset), batch_size=6, steps=2, voxels=40, tokens=5, width=16, device="cpu",
        threads=1,
    )  # fmt: skip


@pytest.mark.parametrize("profile", [p for p in PROFILES if p != "lean_head"])
def test_profiles_differ_in_cost_alone(profile: str) -> None:
    published = config_dict(profile_config("mindeye1", "as_published", batch_size=4))
    ours = config_dict(profile_config("mindeye1", profile, batch_size=4))
    assert set(differing_fields(published, ours)) <= COSTS


def test_the_published_profile_is_the_published_code() -> None:
    high = profile_config("mindeye1", "as_published", batch_size=4).high
    assert (high.optim.precision, high.optim.fused, high.optim.clip) == ("fp32", False, 0)
    assert (high.prior.attention, high.prior.standardise) == ("explicit", False)
    assert high.decoder.input_layer == "published"


@pytest.mark.slow
def test_every_profile_starts_from_the_same_losses(small: TrainBench) -> None:
    """Same data, weights, mixing, noise and dropout: only rounding differs before any update."""
    from dataclasses import replace

    names = ("as_published", "fast", "lean", "lean_adamw")
    content = bench_train(replace(small, profiles=names))
    results = content["profiles"]
    published = results["as_published"]
    for name in names[1:]:
        assert results[name]["parameters"] == published["parameters"]
        for loss, value in published["steps"][0]["losses"].items():
            assert results[name]["steps"][0]["losses"][loss] == pytest.approx(value, rel=0.02)
        assert results[name]["largest_loss_difference"] <= 0.02
        expected = published["seconds_per_step"] / results[name]["seconds_per_step"]
        assert results[name]["speed_up"] == pytest.approx(expected)
    first, second = (step["losses"]["prior"] for step in published["steps"])
    assert first != second  # weights did move
    for name in names:
        assert results[name]["peak_gib"] > results[name]["before_gib"] * 0.99
        assert name in table(content)


def test_an_unknown_profile_is_refused_before_anything_runs(small: TrainBench) -> None:
    from dataclasses import replace

    with pytest.raises(ConfigError, match="no profile 'fats'; known profiles: as_published"):
        bench_train(replace(small, profiles=("as_published", "fats")))


def test_a_process_that_fails_is_named_with_its_reason(small: TrainBench) -> None:
    from dataclasses import replace

    with pytest.raises(MindEyeError, match=r"bench profile fast failed: .*nonsense"):
        bench_train(replace(small, profiles=("fast",), device="nonsense"))
