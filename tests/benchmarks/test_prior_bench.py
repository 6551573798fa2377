"""The prior bench: what it measures is what it says, and a sampler that cheats is exposed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.paper_size import LABEL, time_paper_size
from benchmarks.prior import bench_prior, choose
from benchmarks.prior import main as prior_main
from benchmarks.prior_table import prior_text
from benchmarks.quality import compare, gauge
from benchmarks.systems import all_systems
from benchmarks.timing import alternate, machine
from benchmarks.trained import (
    Bench,
    PriorBenchConfig,
    opened_run,
    prepare_bench,
    trained_run,
)
from mindeye.cli import run_verb
from mindeye.config import PriorConfig
from mindeye.config.settings import run_config
from mindeye.data.simulation import SimulateConfig
from mindeye.data.subject import Subject
from mindeye.errors import ConfigError
from mindeye.files import read_json
from mindeye.generation.predict import sample_prior
from mindeye.models.sizes import Sizes
from mindeye.runs import Workspace, run_all, start_run

PIXELS = [
    "targets.encoder=pixels:16:4",
    "targets.vae=pixels:16",
    "targets.generator=pixels",
    "high.decoder.width=32",
    "high.decoder.blocks=1",
    "high.decoder.projector_width=16",
    "high.prior.depth=1",
    "high.prior.heads=2",
    "high.prior.dim_head=8",
    "high.prior.timesteps=10",
    "high.prior.sample_steps=4",
    "high.optim.epochs=6",
]
CONFIG = PriorBenchConfig(
    samples=3, steps=(2, 4, 20), repetitions=2, singles=2, batch=8, paper_size=False
)
TINY = {
    "config": PriorConfig(depth=1, heads=2, dim_head=8),
    "sizes": Sizes(voxels=0, tokens=4, width=16, latents=(0, 0, 0)),
}


@pytest.fixture(scope="module")
def work(small_subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("bench") / "run"
    work = start_run(run_config({}, [*PIXELS, "low_enabled=false"]), small_subject.path, folder)
    run_all(work, until="high")
    return work


@pytest.fixture(scope="module")
def bench(work: Workspace) -> Bench:
    return prepare_bench(work, CONFIG)


@pytest.fixture(scope="module")
def content(work: Workspace) -> dict[str, Any]:
    return bench_prior(work, CONFIG)


def rows(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in content["systems"]}


def test_every_system_that_fits_is_there_with_intervals_and_seconds(
    content: dict[str, Any],
) -> None:
    names = set(rows(content))
    assert {"as published", "published, new noise", "one network call"} <= names
    for sampler in ("dpmpp", "ddim"):
        for steps in (2, 4):
            assert {f"{sampler}-{steps} fp32", f"{sampler}-{steps} bf16"} <= names
        assert f"{sampler}-20 fp32" not in names  # T is 10
    for row in content["systems"]:
        for found in row["against_published"].values():
            assert found["low"] <= found["value"] <= found["high"]
        if row["role"] != "noise floor":
            assert set(row["seconds_a_sample"]) == {"single", "batched"}
            assert len(row["seconds"]["single"]) == CONFIG.repetitions
    assert content["machine"]["threads"] == torch.get_num_threads()


def test_cosines_are_those_of_sample_prior(
    work: Workspace, bench: Bench, content: dict[str, Any]
) -> None:
    for name, sampler, precision in (
        ("dpmpp-4 fp32", "dpmpp", "fp32"),
        ("ddim-4 bf16", "ddim", "bf16"),
        ("as published", "ddpm", "fp32"),
    ):
        found = []
        for draw in range(CONFIG.samples):
            samples = sample_prior(
                bench.models["explicit" if sampler == "ddpm" else "sdpa"],
                bench.condition,
                replace(work.config.high.prior, sampler=sampler, sample_steps=4),
                seeds=bench.seeds(draw, again=False),
                device=work.device,
                precision=precision,
            )
            found.append(torch.cosine_similarity(samples.flatten(1), bench.truth.flatten(1)))
        assert rows(content)[name]["cosine"] == pytest.approx(float(torch.cat(found).mean()))


def test_the_two_ways_of_attention_are_the_same_prior(bench: Bench) -> None:
    ours = all_systems((4,), 10)[4]
    seeds = bench.seeds(0, again=False)
    explicit = bench.sample(replace(ours, attention="explicit"), seeds)
    torch.testing.assert_close(bench.sample(ours, seeds), explicit, atol=1e-4, rtol=1e-4)
    kinds = {k: m.prior.transformer.layers[0].attention.attention for k, m in bench.models.items()}
    assert kinds == {"explicit": "explicit", "sdpa": "sdpa"}
    assert bench.models["sdpa"].decoder is bench.models["explicit"].decoder


def test_the_published_sampler_against_itself_is_no_difference(content: dict[str, Any]) -> None:
    itself = rows(content)["as published"]["against_published"]
    assert itself["cosine"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert itself["spread_ratio"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    again = rows(content)["published, new noise"]["against_published"]
    assert again["spread_ratio"]["value"] == pytest.approx(1, abs=0.2)
    assert again["cosine"]["value"] != 0


def test_one_start_gives_a_deterministic_sampler_no_spread(bench: Bench) -> None:
    dpmpp = all_systems((4,), 10)[4]
    assert dpmpp.sampler == "dpmpp"
    draws = [bench.sample(dpmpp, bench.seeds(0, again=False)) for _ in range(3)]
    assert (gauge(draws, bench.truth, bench.mean).spread == 0).all()


def plausible(draws: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Centres, truths and draws: truth and draws lie around the centre alike."""
    rng = torch.Generator().manual_seed(1)
    shape = (200, 3, 8)
    centre = torch.randn(shape, generator=rng)
    truth, *drawn = (centre + 0.5 * torch.randn(shape, generator=rng) for _ in range(draws + 1))
    return centre, truth, drawn


def test_a_sampler_that_returns_the_mean_has_the_cosine_but_not_the_spread() -> None:
    centre, truth, drawn = plausible(6)
    mean = torch.zeros(truth.shape[1:])
    honest = gauge(drawn[:3], truth, mean)
    again = compare(gauge(drawn[3:], truth, mean), honest, seed=0)
    cheat = compare(gauge([centre] * 3, truth, mean), honest, seed=0)
    assert cheat["cosine"].low > 0.03  # higher for no merit
    assert cheat["spread_ratio"].value == 0
    assert cheat["norm"].high < -0.05
    assert again["spread_ratio"].value == pytest.approx(1, abs=0.05)
    assert again["cosine"].low < 0 < again["cosine"].high


def test_spread_norm_and_top1_by_hand() -> None:
    truth = torch.tensor([[[2.0, 0.0]], [[0.0, 2.0]]])
    first = torch.tensor([[[1.0, 0.0]], [[3.0, 0.0]]])
    second = torch.tensor([[[3.0, 0.0]], [[0.0, 3.0]]])
    found = gauge([first, second], truth, torch.zeros(1, 2))
    assert found.cosine.tolist() == [1.0, 0.5]
    assert found.top1.tolist() == [1.0, 0.5]
    assert found.norm.tolist() == [1.0, 1.5]
    assert found.spread.tolist() == [1.0, 4.5]  # variances (2, 0) and (4.5, 4.5)


def test_a_point_estimate_is_never_chosen() -> None:
    def row(name: str, role: str, steps: int, spread: bool) -> dict[str, Any]:
        return {
            "name": name, "role": role, "steps": steps, "still_samples": spread,
            "same_cosine": True, "fast_enough": True,
            "against_published": {"cosine": {"value": 0.0}},
        }  # fmt: skip

    table = [row("mean", "point estimate", 1, True), row("flat", "ours", 2, False)]
    assert choose(table) is None
    chosen = choose([*table, row("slow", "ours", 12, True), row("good", "ours", 8, True)])
    assert chosen is not None
    assert chosen["name"] == "good"


def test_jobs_take_turns_after_a_warm_up() -> None:
    seen: list[str] = []
    jobs = {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}
    seconds = alternate(jobs, 3)
    assert seen == ["a", "b"] * 4
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 3, "b": 3}
    assert {"processor", "threads", "torch", "load"} <= set(machine())


def test_the_paper_size_is_labelled_as_timing_only() -> None:
    found = time_paper_size(
        "dpmpp", 2, device=torch.device("cpu"), repetitions=1, batch=2, timesteps=5, **TINY
    )
    assert found["label"] == LABEL
    assert found["rows"][0]["attention"] == "explicit"
    assert [row["batch"] for row in found["rows"]] == [1, 1, 1, 1, 2, 2]


def test_the_command_writes_json_and_says_what_columns_mean(
    work: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bench.json"
    words = [f"--run={work.folder}", f"--json={path}", "--samples=2"]
    assert (
        run_verb("prior", prior_main, [*words, "--stimuli=5", "--repetitions=1", "--no-paper-size"])
        == 0
    )
    printed, written = capsys.readouterr().out, read_json(path)
    assert printed.strip() == prior_text(written)
    for word in ("spread", "d cosine", "s batched", "top-1", "norm"):
        assert f"\n{word} " in printed
    assert written["run"]["stimuli"] == 5


def test_a_training_can_be_kept_and_is_not_done_twice(tmp_path: Path) -> None:
    simulation = SimulateConfig(train=30, test=6, voxels=40, sessions=3, noise_factors=5)
    first = trained_run(tmp_path, "demo", 0, PIXELS, simulation)
    before = (first.folder / "high" / "stage.json").read_text()
    with opened_run(None, tmp_path, "demo", 0, PIXELS) as again:
        assert (again.folder / "high" / "stage.json").read_text() == before
    with pytest.raises(ConfigError, match="another seed"):
        trained_run(tmp_path, "demo", 1, PIXELS, simulation)


def test_bad_requests_are_refused_by_name(work: Workspace) -> None:
    with pytest.raises(ConfigError, match="samples is 1"):
        PriorBenchConfig(samples=1)
    low_only = replace(work, config=replace(work.config, high_enabled=False, low_enabled=True))
    with pytest.raises(ConfigError, match="no high-level pipeline"):
        prepare_bench(low_only, CONFIG)
    path = work.folder / "bench.json"
    words = [f"--run={work.folder}", f"--json={path}"]
    assert run_verb("prior", prior_main, [*words, "high.prior.depth=2"]) == 2
    assert run_verb("prior", prior_main, [*words, "--samples=1"]) == 2
