from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mindeye.diffusion import (
    Guided,
    NoiseSchedule,
    PredictsX0,
    draw_prior,
    embedding_scale,
    few_step_times,
    prior_loss,
    sample_ddim,
    sample_ddpm,
    sample_dpmpp_2m,
)

SHAPE = (3, 2, 4)


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, generator=_rng(seed))


@pytest.fixture(scope="module")
def schedule() -> NoiseSchedule:
    return NoiseSchedule.named("cosine", 100)


class Knows:
    """A perfect denoiser: knows `x_0`, counts its calls and keeps the times it was asked at."""

    def __init__(self, x0: Tensor) -> None:
        self.x0, self.asked = x0, []

    def __call__(self, x_t, times, condition, *, keep_condition=None, keep_target=None):
        self.asked.append(int(times[0]))
        return self.x0


class PosteriorMean:
    """The best denoiser for data distributed as normal(mean, deviation)."""

    def __init__(self, schedule: NoiseSchedule, mean: float, deviation: float) -> None:
        self.schedule, self.mean, self.variance = schedule, mean, deviation**2

    def __call__(self, x_t, times, condition, *, keep_condition=None, keep_target=None):
        kept = self.schedule.alphas_cumprod[times][:, None, None]
        gain = kept.sqrt() * self.variance / (kept * self.variance + 1 - kept)
        return self.mean + gain * (x_t - kept.sqrt() * self.mean)


class SeesKeep:
    """Answers 1 where the condition is kept and 0 where it is not, plus 10 for a kept target."""

    def __call__(self, x_t, times, condition, *, keep_condition=None, keep_target=None):
        ones = torch.ones(len(x_t))
        total = (ones if keep_condition is None else keep_condition) + 10 * (
            ones if keep_target is None else keep_target
        )
        return total[:, None, None].expand_as(x_t)


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_every_schedule_destroys_the_signal_step_by_step(name: str) -> None:
    schedule = NoiseSchedule.named(name, 50)
    assert schedule.timesteps == 50
    assert (schedule.alphas_cumprod.diff() < 0).all()
    assert schedule.alphas_cumprod[0] > 0.5
    assert schedule.alphas_cumprod[-1] < 1e-2
    assert ((schedule.step_variances > 0) & (schedule.step_variances <= 1)).all()


def test_unknown_schedule_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="cosine, linear"):
        NoiseSchedule.named("cubic", 10)


def test_schedule_cannot_be_edited(schedule: NoiseSchedule) -> None:
    with pytest.raises(AttributeError):
        schedule.alphas_cumprod = torch.ones(3)  # type: ignore[misc]


def test_noising_keeps_unit_variance_and_inverts(schedule: NoiseSchedule) -> None:
    times = torch.tensor([0, 50, 80])
    x0, noise = _normal(0), _normal(1)
    x_t = schedule.q_sample(x0, times, noise)
    torch.testing.assert_close(schedule.x0_from_noise(x_t, times, noise), x0, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(schedule.noise_from_x0(x_t, times, x0), noise, atol=1e-4, rtol=1e-4)
    velocity = schedule.velocity(x0, times, noise)
    torch.testing.assert_close(
        schedule.x0_from_velocity(x_t, times, velocity), x0, atol=1e-4, rtol=1e-4
    )
    both = schedule.sqrt_alphas_cumprod**2 + schedule.sqrt_one_minus_alphas_cumprod**2
    torch.testing.assert_close(both, torch.ones(100))


def test_two_linear_steps_by_hand() -> None:
    schedule = NoiseSchedule.from_variances(torch.tensor([0.5, 0.5]))
    assert schedule.alphas_cumprod.tolist() == [0.5, 0.25]
    # variance of q(x_0 | x_1, x_0-estimate) = b (1 - a_prev) / (1 - a)
    assert schedule.posterior_variance[1].item() == pytest.approx(0.5 * 0.5 / 0.75)
    x0, x_t = torch.ones(1, 1), torch.full((1, 1), 2.0)
    mean, _, _ = schedule.posterior(x0, x_t, torch.tensor([1]))
    by_hand = (0.5 * math.sqrt(0.5) * 1 + 0.5 * math.sqrt(0.5) * 2) / 0.75
    assert mean.item() == pytest.approx(by_hand)


def test_prior_loss_by_hand(schedule: NoiseSchedule) -> None:
    target = _normal(0)
    result = prior_loss(
        Knows(target + 0.5),
        schedule,
        target,
        condition=target,
        times=torch.tensor([1, 2, 3]),
        noise=_normal(1),
    )
    assert result.loss.item() == pytest.approx(0.25)
    assert torch.equal(result.prediction, target + 0.5)


@pytest.mark.parametrize("predicts", ["noise", "v"])
def test_prior_loss_vanishes_for_what_it_asks_for(schedule: NoiseSchedule, predicts: str) -> None:
    target, noise, times = _normal(0), _normal(1), torch.tensor([1, 50, 99])
    wanted = {"noise": noise, "v": schedule.velocity(target, times, noise)}
    losses = {
        name: prior_loss(
            Knows(value),
            schedule,
            target,
            condition=target,
            times=times,
            noise=noise,
            predicts=predicts,
        ).loss.item()
        for name, value in wanted.items()
    }
    assert losses.pop(predicts) == 0
    assert all(loss > 0.1 for loss in losses.values())


def test_prior_draw_drops_each_side_on_its_own(schedule: NoiseSchedule) -> None:
    target = torch.zeros(20_000, 1, 1)
    draw = draw_prior(target, schedule, rng=_rng(), drop=0.2)
    assert draw.keep_condition.float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert draw.keep_target.float().mean().item() == pytest.approx(0.8, abs=0.01)
    both = (draw.keep_condition & draw.keep_target).float().mean().item()
    assert both == pytest.approx(0.64, abs=0.015)
    assert draw.times.min() == 0
    assert draw.times.max() == 99
    none = draw_prior(target, schedule, rng=_rng(), drop=0.0)
    assert none.keep_condition.all()
    assert none.keep_target.all()


def test_prior_loss_takes_a_draw_and_edits_nothing(schedule: NoiseSchedule) -> None:
    target, condition = _normal(0), _normal(1)
    copies = target.clone(), condition.clone()
    draw = draw_prior(target, schedule, rng=_rng())
    prior_loss(SeesKeep(), schedule, target, condition=condition, **draw._asdict())
    assert torch.equal(target, copies[0])
    assert torch.equal(condition, copies[1])


def test_embedding_scale_gives_unit_embeddings_unit_variance() -> None:
    unit = torch.nn.functional.normalize(_normal(0, (50, 64)), dim=-1)
    assert (unit * embedding_scale(64)).var().item() == pytest.approx(1.0, abs=0.05)


def test_ddpm_recovers_what_a_perfect_denoiser_knows(schedule: NoiseSchedule) -> None:
    denoiser = Knows(_normal(0))
    sample = sample_ddpm(denoiser, schedule, _normal(1), _normal(2), rng=_rng())
    torch.testing.assert_close(sample, denoiser.x0, atol=1e-4, rtol=1e-4)
    assert denoiser.asked == list(range(99, -1, -1))


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_recovers_what_a_perfect_denoiser_knows(
    schedule: NoiseSchedule, eta: float, as_published: bool
) -> None:
    denoiser = Knows(_normal(0))
    sample = sample_ddim(
        denoiser,
        schedule,
        _normal(1),
        _normal(2),
        steps=8,
        eta=eta,
        rng=_rng() if eta else None,
        as_published=as_published,
    )
    assert torch.equal(sample, denoiser.x0)
    assert len(denoiser.asked) == (7 if as_published else 8)
    assert (denoiser.asked[0] == 99) is not as_published


def test_ddim_with_all_steps_and_eta_one_is_ddpm(schedule: NoiseSchedule) -> None:
    denoiser = PosteriorMean(schedule, mean=2.0, deviation=0.5)
    start, noise = _normal(1), _normal(2, (100, *SHAPE))
    ddpm = sample_ddpm(denoiser, schedule, start, start, step_noise=noise)
    ddim = sample_ddim(denoiser, schedule, start, start, steps=100, step_noise=noise)
    torch.testing.assert_close(ddim, ddpm, atol=1e-3, rtol=1e-3)


def test_published_ddim_drifts_away_from_the_data_and_ours_does_not(
    schedule: NoiseSchedule,
) -> None:
    denoiser = PosteriorMean(schedule, mean=2.0, deviation=0.5)
    start = _normal(1, (4000, 1, 1))
    ours, published = (
        sample_ddim(
            denoiser, schedule, start, start, steps=100, rng=_rng(3), as_published=flag
        ).mean()
        for flag in (False, True)
    )
    assert ours.item() == pytest.approx(2.0, abs=0.03)
    assert published.item() > 2.2


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_few_step_sampler_recovers_what_a_perfect_denoiser_knows(
    schedule: NoiseSchedule, steps: int
) -> None:
    denoiser = Knows(_normal(0))
    sample = sample_dpmpp_2m(denoiser, schedule, _normal(1), _normal(2), steps=steps)
    assert torch.equal(sample, denoiser.x0)
    assert len(denoiser.asked) == steps
    assert denoiser.asked[0] == 99


def test_few_step_sampler_stays_on_the_path_of_a_perfect_denoiser(
    schedule: NoiseSchedule,
) -> None:
    x0, noise = _normal(0), _normal(1)
    start = schedule.q_sample(x0, torch.full((3,), 99), noise)
    path: list[Tensor] = []
    sample_dpmpp_2m(
        Knows(x0), schedule, start, x0, steps=12, on_step=lambda step, x: path.append(x)
    )
    times = torch.tensor(few_step_times(100, 12))
    for time, x in zip(times[1:], path, strict=False):
        expected = schedule.q_sample(x0, time.expand(3), noise)
        torch.testing.assert_close(x, expected, atol=1e-4, rtol=1e-4)


def test_all_samplers_give_the_moments_of_gaussian_data(schedule: NoiseSchedule) -> None:
    denoiser = PosteriorMean(schedule, mean=2.0, deviation=0.5)
    start = _normal(1, (4000, 1, 1))
    ddpm = sample_ddpm(denoiser, schedule, start, start, rng=_rng(2))
    ddim = sample_ddim(denoiser, schedule, start, start, steps=100, rng=_rng(3))
    few = sample_dpmpp_2m(denoiser, schedule, start, start, steps=20)
    for sample in (ddpm, ddim, few):
        assert sample.mean().item() == pytest.approx(2.0, abs=0.03)
        assert sample.std().item() == pytest.approx(0.5, abs=0.03)


def _euler(denoiser, schedule, start, condition, *, steps):
    return sample_ddim(denoiser, schedule, start, condition, steps=steps, eta=0.0)


def test_few_step_sampler_converges_to_the_flow_faster_than_first_order(
    schedule: NoiseSchedule,
) -> None:
    denoiser = PosteriorMean(schedule, mean=2.0, deviation=0.5)
    start = _normal(1)
    exact = 2.0 + 0.5 * start  # the flow that takes a standard normal to normal(2, .5)
    even, few, more = (
        (sample(denoiser, schedule, start, start, steps=steps) - exact).abs().max().item()
        for sample, steps in ((_euler, 10), (sample_dpmpp_2m, 10), (sample_dpmpp_2m, 40))
    )
    assert more < few < even
    assert few < 0.1
    assert more < 0.03


def test_samplers_follow_their_seed_and_do_not_edit_their_start(schedule: NoiseSchedule) -> None:
    denoiser = PosteriorMean(schedule, mean=0.0, deviation=1.0)
    start = _normal(1)
    before = start.clone()
    one, same, other = (
        sample_ddpm(denoiser, schedule, start, start, rng=_rng(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    few = [sample_dpmpp_2m(denoiser, schedule, start, start, steps=5) for _ in range(2)]
    assert torch.equal(few[0], few[1])
    assert torch.equal(start, before)


def test_recorded_noise_replays_a_run(schedule: NoiseSchedule) -> None:
    denoiser = PosteriorMean(schedule, mean=0.0, deviation=1.0)
    start = _normal(1)
    rng = _rng(7)
    recorded = torch.stack([torch.randn(SHAPE, generator=rng) for _ in range(100)])
    replayed = sample_ddpm(denoiser, schedule, start, start, step_noise=recorded)
    drawn = sample_ddpm(denoiser, schedule, start, start, rng=_rng(7))
    torch.testing.assert_close(replayed, drawn)


def test_stochastic_samplers_want_exactly_one_source_of_noise(schedule: NoiseSchedule) -> None:
    with pytest.raises(ValueError, match="either rng or step_noise"):
        sample_ddpm(Knows(_normal(0)), schedule, _normal(1), _normal(2))
    with pytest.raises(ValueError, match="3 steps, 100 are needed"):
        sample_ddpm(
            Knows(_normal(0)), schedule, _normal(1), _normal(2), step_noise=torch.zeros(3, *SHAPE)
        )
    with pytest.raises(ValueError, match="between 1 and 100"):
        sample_ddim(Knows(_normal(0)), schedule, _normal(1), _normal(2), steps=101, rng=_rng())
    with pytest.raises(ValueError, match="between 1 and 100"):
        sample_dpmpp_2m(Knows(_normal(0)), schedule, _normal(1), _normal(2), steps=0)


def test_guidance_extrapolates_from_a_pass_that_sees_nothing() -> None:
    arguments = (_normal(0), torch.zeros(3, dtype=torch.long), _normal(1))
    # conditional answer 11, unconditional 0
    assert Guided(SeesKeep(), 1.0)(*arguments)[0, 0, 0] == 11
    assert Guided(SeesKeep(), 2.0)(*arguments)[0, 0, 0] == 22
    assert Guided(SeesKeep(), 0.0)(*arguments)[0, 0, 0] == 0


@pytest.mark.parametrize("predicts", ["noise", "v"])
def test_other_parametrisations_sample_the_same(schedule: NoiseSchedule, predicts: str) -> None:
    best = PosteriorMean(schedule, mean=1.0, deviation=0.7)

    def other(x_t, times, condition, *, keep_condition=None, keep_target=None):
        x0 = best(x_t, times, condition)
        noise = schedule.noise_from_x0(x_t, times, x0)
        return noise if predicts == "noise" else schedule.velocity(x0, times, noise)

    start = _normal(1)
    direct = sample_dpmpp_2m(best, schedule, start, start, steps=20)
    through = sample_dpmpp_2m(
        PredictsX0(other, schedule, predicts), schedule, start, start, steps=20
    )
    torch.testing.assert_close(through, direct, atol=2e-2, rtol=2e-2)
