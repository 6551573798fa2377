"""Checks of schedule, prior loss and samplers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mindeye.diffusion import (
    Denoiser,
    Guided,
    NoiseSchedule,
    PredictsX0,
    ddim_times,
    embedding_scale,
    prior_loss,
    sample_ddim,
    sample_ddpm,
)
from mindeye.models.prior_network import PriorNetwork
from mindeye.published.names import prior_from_published
from parity.compare import EXACT, Comparison
from parity.fixtures import Entry
from parity.models import prior_network_of


def schedule_of(config: dict[str, Any]) -> NoiseSchedule:
    assert config.get("p2_loss_weight_gamma", 0.0) == 0.0, "loss weights are not offered"
    return NoiseSchedule.named(
        config.get("beta_schedule", "cosine"), config.get("num_timesteps", config["timesteps"])
    )


def network_of(entry: Entry) -> PriorNetwork:
    referred = entry.network()
    model = prior_network_of(referred.config).eval()
    model.load_state_dict(prior_from_published(referred.state))
    return model


def scale_of(config: dict[str, Any], token_dim: int) -> float:
    """The original takes sqrt(D) where no scale is given."""
    given = config.get("image_embed_scale")
    return embedding_scale(token_dim) if given is None else float(given)


def prediction_of(config: dict[str, Any]) -> str:
    if config.get("predict_v", False):
        return "v"
    return "x0" if config.get("predict_x_start", True) else "noise"


def check_schedules(entry: Entry, comparison: Comparison) -> None:
    for case in entry.config["schedules"]:
        buffers = schedule_of(case).published()
        for name, expected in entry.under(case["tag"]).items():
            comparison.close(f"{case['tag']}/{name}", buffers[name], expected, EXACT)
    comparison.covers(set(entry.arrays))


def check_prior_loss(entry: Entry, comparison: Comparison) -> None:
    model, arrays = network_of(entry), entry.arrays
    embedding, times, noise = arrays["in/image_embed"], arrays["in/times"], arrays["in/noise"]
    variants = entry.config["variants"]
    for name, config in variants.items():
        assert config.get("cond_drop_prob", 0.0) == 0.0, "draws are not recorded"
        result = prior_loss(
            model,
            schedule_of(config),
            embedding * scale_of(config, embedding.shape[-1]),
            condition=arrays["in/text_embed"],
            times=times,
            noise=noise,
            predicts=prediction_of(config),
            loss=config.get("loss_type", "l2"),
        )
        comparison.close(f"out/{name}/loss", result.loss, arrays[f"out/{name}/loss"], EXACT)
        comparison.close(f"out/{name}/pred", result.prediction, arrays[f"out/{name}/pred"])

    config = next(iter(variants.values()))
    schedule = schedule_of(config)
    target = embedding * scale_of(config, embedding.shape[-1])
    x_t = schedule.q_sample(target, times, noise)
    mean, variance, log_variance = schedule.posterior(target, x_t, times)
    forms = {
        "q_sample": x_t,
        "q_posterior_mean": mean,
        "q_posterior_variance": variance,
        "q_posterior_log_variance_clipped": log_variance,
        "noise_from_start": schedule.noise_from_x0(x_t, times, target),
        "start_from_noise": schedule.x0_from_noise(x_t, times, noise),
        "calculate_v": schedule.velocity(target, times, noise),
    }
    for name, value in forms.items():
        if f"out/{name}" in arrays:
            comparison.close(f"out/{name}", value, arrays[f"out/{name}"])
    comparison.covers({name for name in arrays if name.startswith("out/")})


def check_forward_drop(entry: Entry, comparison: Comparison) -> None:
    arrays, embedding = entry.arrays, entry.arrays["in/image_embed"]
    scale = scale_of(entry.config, embedding.shape[-1])
    result = prior_loss(
        network_of(entry),
        schedule_of(entry.config),
        embedding * scale,
        condition=arrays["in/text_embed"],
        times=arrays["drawn/times"],
        noise=arrays["drawn/noise"],
        keep_condition=arrays["drawn/brain_keep_mask"],
        keep_target=arrays["drawn/image_keep_mask"],
        predicts=prediction_of(entry.config),
    )
    comparison.close("out/loss", result.loss, arrays["out/loss"], EXACT)
    comparison.close("out/pred", result.prediction, arrays["out/pred"])
    comparison.close("out/aligned", result.prediction / scale, arrays["out/aligned"])
    comparison.covers({name for name in arrays if name.startswith("out/")})


class _Reshaped:
    """A denoiser whose prediction is changed afterwards (the original's clamping options)."""

    def __init__(self, denoiser: Denoiser, change: Callable[[Tensor], Tensor]) -> None:
        self.denoiser, self.change = denoiser, change

    def __call__(self, x_t: Tensor, times: Tensor, condition: Tensor, **keep: Any) -> Tensor:
        return self.change(self.denoiser(x_t, times, condition, **keep))


def _denoiser(entry: Entry, schedule: NoiseSchedule, scale: float) -> Denoiser:
    config = entry.config
    denoiser: Denoiser = Guided(network_of(entry), config.get("cond_scale", 1.0))
    predicts = prediction_of(config)
    if predicts != "x0":
        return _Reshaped(PredictsX0(denoiser, schedule, predicts), lambda x: x.clamp(-1, 1))
    if config.get("sampling_clamp_l2norm", False):
        return _Reshaped(denoiser, lambda x: scale * normalize(x, dim=-1))
    return denoiser


def _start(entry: Entry, scale: float) -> Tensor:
    start = entry.arrays["drawn/init"]
    if entry.config.get("init_image_embed_l2norm", False):
        return scale * normalize(start, dim=-1)
    return start


def _finished(entry: Entry, sample: Tensor, scale: float) -> Tensor:
    if entry.config.get("sampling_final_clamp_l2norm", False) and (
        prediction_of(entry.config) == "x0"
    ):
        return normalize(sample, dim=-1)
    return sample / scale


def _recorder() -> tuple[list[Tensor], Callable[[int, Tensor], None]]:
    path: list[Tensor] = []
    return path, lambda step, x: path.append(x)


def check_ddpm(entry: Entry, comparison: Comparison) -> None:
    arrays, schedule = entry.arrays, schedule_of(entry.config)
    scale = scale_of(entry.config, arrays["drawn/init"].shape[-1])
    path, record = _recorder()
    sample = sample_ddpm(
        _denoiser(entry, schedule, scale),
        schedule,
        _start(entry, scale),
        arrays["in/text_embed"],
        step_noise=arrays["drawn/step_noise"],
        on_step=record,
    )
    comparison.close("out/sample", _finished(entry, sample, scale), arrays["out/sample"])
    if "mid/path" in arrays:
        last = schedule.timesteps - 1
        kept = torch.stack([path[0], path[schedule.timesteps // 2], path[last]])
        comparison.close("mid/path", kept, arrays["mid/path"])


def check_ddim(entry: Entry, comparison: Comparison) -> None:
    arrays, config, schedule = entry.arrays, entry.config, schedule_of(entry.config)
    scale = scale_of(config, arrays["drawn/init"].shape[-1])
    pairs = ddim_times(schedule.timesteps, config["timesteps"], as_published=True)
    comparison.equal("mid/time_pairs", torch.tensor(pairs), arrays["mid/time_pairs"])
    sample = sample_ddim(
        _denoiser(entry, schedule, scale),
        schedule,
        _start(entry, scale),
        arrays["in/text_embed"],
        steps=config["timesteps"],
        eta=config.get("eta", 1.0),
        step_noise=arrays["drawn/step_noise"],
        as_published=True,
    )
    comparison.close("out/sample", _finished(entry, sample, scale), arrays["out/sample"])
