"""Checks of the networks: outputs of given weights, and names and shapes at full size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mindeye.diffusion import Guided, NoiseSchedule
from mindeye.models.decoder import Decoder
from mindeye.models.lowlevel import LowLevel, positions_last
from mindeye.models.positions import position_buckets
from mindeye.models.prior_network import PriorNetwork
from mindeye.published.names import (
    decoder_from_published,
    decoder_to_published,
    lowlevel_from_published,
    lowlevel_to_published,
    prior_from_published,
    prior_to_published,
    split_published,
)
from mindeye.published.networks import (
    build_decoder,
    build_low,
    build_prior,
    decoder_sizes,
    low_sizes,
    prior_sizes,
)
from parity.compare import Comparison
from parity.fixtures import Entry

NORM_NAMES = {"ln": "layer", "bn": "batch"}
PUBLISHED_MAPS_WIDTH = 512
PUBLISHED_UPSAMPLERS = {
    "4x": ([64, 16, 16], [64, 128, 256]),
    "8x": ([256, 8, 8], [64, 128, 256, 256]),
    "16x": ([512, 4, 4], [64, 128, 256, 256, 512]),
}
"""Seed and `block_out_channels` of the published `ups_mode`s; the paper uses 4x."""
PUBLISHED_PRIOR = {"depth": 6, "heads": 8, "dim_head": 64, "num_tokens": 257}
NOISE_BUFFERS = "noise_scheduler"


def _results(entry: Entry, prefix: str = "out/") -> set[str]:
    return {name for name in entry.arrays if name.startswith(prefix)}


def decoder_of(config: dict[str, Any]) -> Decoder:
    """A `Decoder` from the original's constructor arguments and its defaults."""
    token_dim = config.get("clip_size", 768)
    return build_decoder(
        {
            "voxels": config["in_dim"],
            "tokens": config["out_dim"] // token_dim,
            "token_dim": token_dim,
            "width": config.get("h", 4096),
            "blocks": config.get("n_blocks", 4),
            "norm": NORM_NAMES[config.get("norm_type", "ln")],
            "activation_first": config.get("act_first", False),
            "projector": config.get("use_projector", True),
            "projector_width": 2048,
        }
    )


def prior_network_of(config: dict[str, Any]) -> PriorNetwork:
    """A `PriorNetwork` from the original's constructor arguments."""
    return build_prior(
        {
            "dim": config["dim"],
            "learned_query_mode": config.get("learned_query_mode", "none"),
            "num_timesteps": config.get("num_timesteps"),
            "ff_mult": config.get("ff_mult", 4),
            "causal": config.get("causal", True),
            **{key: config.get(key, default) for key, default in PUBLISHED_PRIOR.items()},
        }
    )


def low_level_of(config: dict[str, Any]) -> LowLevel:
    """A `LowLevel` from the original's constructor arguments."""
    mode = config.get("ups_mode", "4x")
    seed, block_out_channels = PUBLISHED_UPSAMPLERS[mode]
    projected = config.get("use_cont", False) and mode == "4x"
    return build_low(
        {
            "voxels": config["in_dim"],
            "width": config.get("h", 4096),
            "blocks": config.get("n_blocks", 4),
            "seed": seed,
            "block_out_channels": block_out_channels,
            "layers_per_block": 1,
            "latent_channels": 4,
            "maps_width": PUBLISHED_MAPS_WIDTH if projected else None,
        }
    )


def check_backbone(entry: Entry, comparison: Comparison) -> None:
    config, betas = entry.config, entry.arrays["in/voxels"]
    model = decoder_of(config).eval()
    model.load_state_dict(decoder_from_published(entry.state))
    output = model(betas)
    comparison.close("out/backbone", output.backbone.flatten(1), entry.arrays["out/backbone"])
    if config.get("use_projector", True):
        comparison.close("out/projector", output.contrastive, entry.arrays["out/projector"])
    else:
        assert output.contrastive is None
    inferred = decoder_sizes(entry.state)
    flat = inferred["tokens"] * inferred["token_dim"]
    comparison.equal("inferred outputs", flat, model.tokens * model.token_dim)
    width = config.get("clip_size") if config.get("use_projector", True) else flat
    tokens = {"tokens": flat // width, "token_dim": width}
    again = build_decoder({**inferred, **tokens})
    comparison.equal("inferred sizes", _sizes(again), _sizes(model))
    back = decoder_to_published(model.state_dict(), activation_first=config.get("act_first", False))
    _check_states(comparison, back, entry.state)
    comparison.covers(_results(entry))


def check_prior_network(entry: Entry, comparison: Comparison) -> None:
    model = prior_network_of(entry.config).eval()
    model.load_state_dict(prior_from_published(entry.state))
    arrays = entry.arrays
    inputs = (arrays["in/image_embed"], arrays["in/timesteps"], arrays["in/brain_embed"])
    trials = len(inputs[0])
    nobody = torch.zeros(trials, dtype=torch.bool)
    for name in _results(entry):
        case = name.removeprefix("out/")
        network, keep = model, {}
        if case.startswith("cond_scale_"):
            network = Guided(model, float(case.removeprefix("cond_scale_")))
        elif case.startswith("learned_query_mode_"):
            network = _with_query_mode(entry, case.removeprefix("learned_query_mode_"))
        else:
            keep = {
                "cond": {},
                "null_brain": {"keep_condition": nobody},
                "null_image": {"keep_target": nobody},
                "null_both": {"keep_condition": nobody, "keep_target": nobody},
            }[case]
        comparison.close(name, network(*inputs, **keep), arrays[name])
    if "mid/attn_bias" in arrays:
        queries, keys = arrays["mid/attn_bias"].shape[1:]
        bias = model.transformer.position_bias(queries, keys)
        comparison.close("mid/attn_bias", bias, arrays["mid/attn_bias"])
    if "mid/time_embed" in arrays:
        time = model.time_embedding(arrays["in/timesteps"]).unsqueeze(1)
        comparison.close("mid/time_embed", time, arrays["mid/time_embed"])
    inferred = build_prior({**prior_sizes(entry.state), **_unseen(entry.config)}).eval()
    inferred.load_state_dict(model.state_dict())
    comparison.equal("inferred sizes", inferred(*inputs), model(*inputs))
    _check_states(comparison, prior_to_published(model.state_dict()), entry.state)
    comparison.covers(_results(entry) | _results(entry, "mid/"))


def _unseen(config: dict[str, Any]) -> dict[str, Any]:
    """What shapes do not tell of a prior network."""
    mode, causal = config.get("learned_query_mode", "none"), config.get("causal", True)
    return {"learned_query_mode": mode, "causal": causal}


def _with_query_mode(entry: Entry, mode: str) -> nn.Module:
    state = dict(entry.state)
    if mode == "none":
        state.pop("learned_query", None)
    model = prior_network_of({**entry.config, "learned_query_mode": mode})
    model.load_state_dict(prior_from_published(state))
    return model.eval()


def check_position_buckets(entry: Entry, comparison: Comparison) -> None:
    buckets = position_buckets(
        entry.arrays["in/relative_position"],
        buckets=entry.config["num_buckets"],
        max_distance=entry.config["max_distance"],
    )
    comparison.equal("out/bucket", buckets, entry.arrays["out/bucket"])


def check_lowlevel(entry: Entry, comparison: Comparison) -> None:
    betas, arrays = entry.arrays["in/voxels"], entry.arrays
    model = low_level_of(entry.config).eval()
    model.load_state_dict(lowlevel_from_published(entry.state))
    latents, maps = model(betas)
    seed = positions_last(model.seed_grid(betas))  # what stands for maps without a projector
    comparison.close("out/latents", latents, arrays["out/latents"])
    comparison.close("out/feats", seed if maps is None else maps, arrays["out/feats"])
    if "out/feats_use_cont_false" in arrays:
        plain = low_level_of({**entry.config, "use_cont": False}).eval()
        weights = {k: v for k, v in entry.state.items() if not k.startswith("maps_projector.")}
        plain.load_state_dict(lowlevel_from_published(weights))
        output = plain(betas)
        assert output.maps is None
        comparison.close("latents without maps", output.latents, arrays["out/latents"])
        name = "out/feats_use_cont_false"
        comparison.close(name, positions_last(plain.seed_grid(betas)), arrays[name])
    inferred = build_low(low_sizes(lowlevel_to_published(model.state_dict()))).eval()
    inferred.load_state_dict(model.state_dict())
    comparison.equal("inferred sizes", inferred(betas).latents, latents)
    _check_states(comparison, lowlevel_to_published(model.state_dict()), entry.state)
    comparison.covers(_results(entry))


def _check_states(
    comparison: Comparison, ours: dict[str, Tensor], theirs: dict[str, Tensor]
) -> None:
    """Names and values survive the way to our names and back."""
    comparison.equal("names", set(ours), set(theirs))
    for name, value in theirs.items():
        comparison.equal(name, ours[name], value)


def _shapes(state: dict[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in state.items()}


def _check_keys(comparison: Comparison, ours: dict[str, Tensor], document: dict[str, Any]) -> None:
    comparison.equal("keys and shapes", _shapes(ours), document["keys"])
    comparison.equal("number of keys", len(ours), document["n_keys"])


def _frequencies(model: nn.Module) -> int:
    """Rotary frequencies are a buffer here and one frozen parameter there."""
    return sum(b.numel() for name, b in model.named_buffers() if name.endswith("frequencies"))


def parameters(model: nn.Module | None) -> int:
    if model is None:
        return 0
    return sum(p.numel() for p in model.parameters()) + _frequencies(model)


def check_full_mindeye(entry: Entry, comparison: Comparison) -> None:
    document = entry.document
    config = document["config"]
    with torch.device("meta"):
        decoder = decoder_of(config["voxel2clip"])
        prior = prior_network_of(config["net"])
    schedule = NoiseSchedule.named(
        config["prior"].get("beta_schedule", "cosine"), config["prior"]["timesteps"]
    )
    parts = {
        "voxel2clip": decoder_to_published(
            decoder.state_dict(), activation_first=config["voxel2clip"].get("act_first", False)
        ),
        "net": prior_to_published(prior.state_dict()),
        NOISE_BUFFERS: schedule.published(),
    }
    joined = {f"{part}.{k}": v for part, state in parts.items() for k, v in state.items()}
    _check_keys(comparison, joined, document)
    split = split_published(joined)
    mode = config["net"].get("learned_query_mode", "none")
    with torch.device("meta"):
        inferred_decoder = build_decoder(decoder_sizes(split.decoder))
        inferred_prior = build_prior({**prior_sizes(split.prior), "learned_query_mode": mode})
    comparison.equal("inferred decoder", _sizes(inferred_decoder), _sizes(decoder))
    comparison.equal("inferred prior", _sizes(inferred_prior), _sizes(prior))

    projector = parameters(decoder.projector)
    totals = {
        "diffusion_prior (all)": parameters(decoder) + parameters(prior),
        "net": parameters(prior),
        "voxel2clip (with projector)": parameters(decoder),
        "voxel2clip.projector": projector,
        "voxel2clip without projector ('MLP backbone')": parameters(decoder) - projector,
        "voxel2clip.lin0": parameters(decoder.backbone.input),
        "voxel2clip.mlp": parameters(decoder.backbone.blocks),
        "voxel2clip.lin1": parameters(decoder.output),
    }
    comparison.equal("totals", totals, document["totals"])
    comparison.equal("parameters", totals["diffusion_prior (all)"], document["n_parameters"])
    trainable = sum(p.numel() for m in (decoder, prior) for p in m.parameters())
    comparison.equal("trainable", trainable, document["n_parameters_trainable"])
    for subject, wanted in document.get("totals_by_subject", {}).items():
        with torch.device("meta"):
            other = decoder_of(
                {**config["voxel2clip"], "in_dim": document["in_dim_by_subject"][subject]}
            )
        found = {
            "diffusion_prior (all)": parameters(other) + parameters(prior),
            "MLP backbone": parameters(other) - projector,
        }
        comparison.equal(f"totals of {subject}", found, wanted)


def check_full_backbone(entry: Entry, comparison: Comparison) -> None:
    document = entry.document
    with torch.device("meta"):
        decoder = decoder_of(document["config"])
    state = decoder_to_published(decoder.state_dict())
    _check_keys(comparison, state, document)
    comparison.equal("parameters", parameters(decoder), document["n_parameters"])
    with torch.device("meta"):
        inferred = build_decoder(decoder_sizes(state))
    comparison.equal("inferred decoder", _sizes(inferred), _sizes(decoder))


def check_full_lowlevel(entry: Entry, comparison: Comparison) -> None:
    models = {k: v for k, v in entry.document.items() if isinstance(v, dict) and "n_keys" in v}
    assert models, f"{entry.name} describes no model"
    for name, document in models.items():
        with torch.device("meta"):
            model = low_level_of(document["config"])
        state = lowlevel_to_published(model.state_dict())
        _check_keys(comparison, state, document)
        comparison.equal(f"{name}: parameters", parameters(model), document["n_parameters"])
        totals = {
            "lin0": parameters(model.backbone.input),
            "mlp": parameters(model.backbone.blocks),
            "lin1": parameters(model.to_seed),
            "norm": parameters(model.norm),
            "upsampler": parameters(model.upsampler),
            "maps_projector": parameters(model.maps_projector),
        }
        comparison.equal(f"{name}: totals", totals, document.get("totals", totals))
        with torch.device("meta"):
            inferred = build_low(low_sizes(state))
        comparison.equal(f"{name}: inferred", _sizes(inferred), _sizes(model))


def _sizes(model: nn.Module) -> dict[str, list[int]]:
    return _shapes(model.state_dict())
