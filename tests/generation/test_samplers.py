"""The prior's samplers: the names, one by one against the direct call, alone as in a batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mindeye.config import DecoderConfig, HighConfig, PriorConfig
from mindeye.config.settings import run_config
from mindeye.data.subject import Subject
from mindeye.diffusion import SAMPLERS, NoiseSchedule, sample_ddim, sample_ddpm, sample_dpmpp_2m
from mindeye.errors import ConfigError
from mindeye.generation.predict import sample_prior
from mindeye.models.pipelines import HighLevel
from mindeye.models.sizes import Sizes
from mindeye.runs import start_run
from mindeye.runs.pipeline import stage_keys

SIZES = Sizes(voxels=4, tokens=3, width=8, latents=(3, 8, 8))
CPU = torch.device("cpu")
TIMESTEPS, STEPS = 10, 4
SEEDS = [11, 12, 13, 14, 15]
SCHEDULE = NoiseSchedule.named("cosine", TIMESTEPS)


def _config(sampler: str, steps: int = STEPS) -> PriorConfig:
    return PriorConfig(
        depth=1, heads=2, dim_head=4, timesteps=TIMESTEPS, sampler=sampler, sample_steps=steps
    )  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model() -> HighLevel:
    torch.manual_seed(0)
    config = HighConfig(decoder=DecoderConfig(width=8, blocks=1), prior=_config("dpmpp"))
    model = HighLevel(config, SIZES).eval()
    model.set_units(torch.randn(3, 8), 0.25)
    return model


def _condition() -> Tensor:
    return torch.randn(len(SEEDS), 3, 8, generator=torch.Generator().manual_seed(2))


def _draw(model: HighLevel, sampler: str, rows: list[int], **more: int) -> Tensor:
    config = _config(sampler, more.pop("steps", STEPS))
    seeds = [SEEDS[row] for row in rows]
    return sample_prior(
        model, _condition()[rows], config, seeds=seeds, device=CPU, precision="fp32", **more
    )


def denoiser(x: Tensor, times: Tensor, condition: Tensor) -> Tensor:
    """Row by row, so that a batch cannot matter."""
    return 0.7 * x + 0.1 * condition + 0.01 * times[:, None, None]


def _generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in SEEDS]


def _noise(steps: int) -> Tensor:
    return torch.stack([torch.randn(steps, 3, 8, generator=g) for g in _generators()], dim=1)


START = torch.randn(len(SEEDS), 3, 8, generator=torch.Generator().manual_seed(3))


def test_configurations_allow_every_sampler_and_no_other() -> None:
    assert len(SAMPLERS) >= 4
    for name in SAMPLERS:
        assert run_config({}, [f"high.prior.sampler={name}"]).high.prior.sampler == name
    with pytest.raises(ConfigError, match="sampler"):
        run_config({}, ["high.prior.sampler=euler"])


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sample_does_not_change_with_the_batch_it_is_drawn_in(
    name: str, model: HighLevel
) -> None:
    together = _draw(model, name, [0, 1, 2, 3, 4])
    assert together.std() > 0.1
    for other in (
        _draw(model, name, [0, 1, 2, 3, 4], batch_size=2),
        torch.cat([_draw(model, name, [row]) for row in range(5)]),
        _draw(model, name, [4, 2, 0, 1, 3])[[2, 3, 1, 4, 0]],
    ):
        torch.testing.assert_close(other, together, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_seed_gives_its_sample_again_and_another_seed_another(
    name: str, model: HighLevel
) -> None:
    first, again = (_draw(model, name, [0, 1]) for _ in range(2))
    assert torch.equal(first, again)
    same = _condition()[[0, 0]]
    config = _config(name)
    pair = sample_prior(model, same, config, seeds=[1, 2], device=CPU, precision="fp32")
    assert (pair[0] - pair[1]).abs().max() > 1e-3


def test_a_sampler_of_ones_own_is_used_by_name(
    model: HighLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SAMPLERS, "mine", lambda net, schedule, start, given, *, steps, rng: start)
    config = run_config({}, ["high.prior.sampler=mine"]).high.prior
    sample = sample_prior(model, _condition()[:2], config, seeds=[1, 2], device=CPU)
    assert sample.shape == (2, *_condition().shape[1:])


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_ddim_is_ddim_without_noise(steps: int) -> None:
    condition = _condition()
    found = SAMPLERS["ddim"](denoiser, SCHEDULE, START, condition, steps=steps, rng=_generators())
    wanted = sample_ddim(denoiser, SCHEDULE, START, condition, steps=steps, eta=0.0)
    assert torch.equal(found, wanted)
    if steps > 1:
        rng = torch.Generator().manual_seed(0)
        noisy = sample_ddim(denoiser, SCHEDULE, START, condition, steps=steps, rng=rng)
        assert not torch.allclose(found, noisy)


@pytest.mark.parametrize("steps", [2, 4, 10])
def test_ddim_as_published_replays_the_published_one(steps: int) -> None:
    condition = _condition()
    found = SAMPLERS["ddim_as_published"](
        denoiser, SCHEDULE, START, condition, steps=steps, rng=_generators()
    )
    wanted = sample_ddim(
        denoiser, SCHEDULE, START, condition, steps=steps, step_noise=_noise(steps),
        as_published=True,
    )  # fmt: skip
    assert torch.equal(found, wanted)
    if steps > 2:  # with two the one call gives x_0 at once, whatever the noise
        right = sample_ddim(
            denoiser, SCHEDULE, START, condition, steps=steps, step_noise=_noise(steps)
        )
        assert not torch.allclose(found, right)


def test_ddpm_takes_all_timesteps_whatever_the_steps() -> None:
    condition = _condition()
    found = [
        SAMPLERS["ddpm"](denoiser, SCHEDULE, START, condition, steps=steps, rng=_generators())
        for steps in (2, 4)
    ]
    wanted = sample_ddpm(denoiser, SCHEDULE, START, condition, step_noise=_noise(TIMESTEPS))
    assert torch.equal(found[0], wanted)
    assert torch.equal(found[1], wanted)


def test_dpmpp_is_the_solver_itself() -> None:
    condition = _condition()
    found = SAMPLERS["dpmpp"](denoiser, SCHEDULE, START, condition, steps=STEPS, rng=_generators())
    assert torch.equal(found, sample_dpmpp_2m(denoiser, SCHEDULE, START, condition, steps=STEPS))


def test_no_two_samplers_draw_the_same(model: HighLevel) -> None:
    drawn = [_draw(model, name, [0, 1, 2]) for name in SAMPLERS]
    for i, one in enumerate(drawn):
        for other in drawn[i + 1 :]:
            assert (one - other).abs().max() > 1e-3


def test_a_model_without_prior_is_not_sampled(model: HighLevel) -> None:
    config = HighConfig(decoder=DecoderConfig(width=8, blocks=1), prior=PriorConfig(kind="mse"))
    with pytest.raises(ConfigError, match="no prior to sample"):
        _draw(HighLevel(config, SIZES), "ddim", [0])


@pytest.mark.parametrize(
    "word", ["high.prior.sampler=ddim", "high.prior.sampler=ddpm", "high.prior.sample_steps=7"]
)
def test_another_sampler_draws_again_and_trains_nothing_again(
    word: str, small_subject: Subject, tmp_path
) -> None:
    keys = []
    for i, words in enumerate(([], [word])):
        config = run_config({}, ["targets.vae=pixels:16", *words])
        keys.append(stage_keys(start_run(config, small_subject.path, tmp_path / str(i))))
    same = {name for name in keys[0] if keys[0][name] == keys[1][name]}
    assert same == {"embed", "ridge", "high", "low", "predict", "conditions", "retrieve"}
