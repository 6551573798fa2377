"""Published weights become networks: sizes from shapes, every misfit named as the file names it.

A network is built on the meta device and takes the tensors it is given; nothing is copied. A key
that is missing, unexpected or of another shape is an error that names it (the published code loads
with `strict=False`). Sizes are plain dictionaries, which `config.json` of an import holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mindeye.config import DecoderConfig, LowConfig, PriorConfig
from mindeye.diffusion import NoiseSchedule
from mindeye.errors import CheckpointError, MindEyeError
from mindeye.models.decoder import Decoder, DenseStyle
from mindeye.models.lowlevel import LowLevel, Upsampling
from mindeye.models.prior_network import PriorNetwork, PriorVariant
from mindeye.models.sizes import Sizes
from mindeye.published.names import (
    State,
    decoder_from_published,
    decoder_to_published,
    is_activation_first,
    lowlevel_from_published,
    lowlevel_to_published,
    prior_from_published,
    prior_to_published,
)

PUBLISHED_WIDTH = 768
"""D of the published embeddings; gives K where a backbone has no projector (`clip_size`)."""

NORM_GROUPS = 32
"""Groups of the norms in the published upsampler."""

SHOWN_PROBLEMS = 6
"""So many misfits are named in one message; the rest are counted."""

Model = TypeVar("Model", bound=nn.Module)


class Shapes:
    """Shapes of published tensors; a missing one is an error that names it.

    Parameters
    ----------
    state
        Published tensors by name.
    prefix
        What their names begin with in the file.
    """

    def __init__(self, state: State, prefix: str = "") -> None:
        self.state = state
        self.prefix = prefix

    def of(self, key: str, axes: int) -> tuple[int, ...]:
        """Return the shape of a tensor that must have so many axes, none of them empty."""
        if key not in self.state:
            raise CheckpointError(f"missing {self.prefix}{key}")
        shape = tuple(self.state[key].shape)
        if len(shape) != axes or 0 in shape:
            raise CheckpointError(
                f"{self.prefix}{key} is {shape}, expected {axes} axes, none empty"
            )
        return shape

    def count(self, template: str, axes: int) -> int:
        """Return how many tensors ``template`` names, ``{}`` counting from 0 without a gap.

        Ends at the first that is missing, so that a forged number costs nothing.
        """
        pattern = re.compile(re.escape(template.partition("{}")[0]) + r"(\d+)\.")
        numbers = [int(match.group(1)) for match in map(pattern.match, self.state) if match]
        for number in range(max(numbers, default=-1) + 1):
            self.of(template.format(number), axes)
        return max(numbers, default=-1) + 1


def decoder_sizes(state: State, prefix: str = "") -> dict[str, Any]:
    """Return the sizes of a published backbone (`voxel2clip`)."""
    shapes = Shapes(state, prefix)
    width, voxels = shapes.of("lin0.0.weight", 2)
    outputs, _ = shapes.of("lin1.weight", 2)
    projector = any(key.startswith("projector.") for key in state)
    if projector:
        (dim,) = shapes.of("projector.0.weight", 1)
    else:
        dim = outputs if outputs % PUBLISHED_WIDTH else PUBLISHED_WIDTH
    if outputs % dim:
        raise CheckpointError(f"{prefix}lin1.weight has {outputs} rows, no multiple of {dim}")
    sizes = {
        "voxels": voxels,
        "tokens": outputs // dim,
        "token_dim": dim,
        "width": width,
        "blocks": shapes.count("mlp.{}.0.weight", 2),
        "norm": "batch" if any(key.endswith("running_mean") for key in state) else "layer",
        "activation_first": is_activation_first(state),
        "projector": projector,
    }
    if projector:
        sizes["projector_width"] = shapes.of("projector.2.weight", 2)[0]
    return sizes


def build_decoder(sizes: Mapping[str, Any]) -> Decoder:
    """Build a decoder of `decoder_sizes`."""
    options = {name: sizes[name] for name in ("width", "blocks", "projector")}
    if sizes["projector"]:
        options["projector_width"] = sizes["projector_width"]
    return Decoder(
        DecoderConfig(input_layer="published", **options),
        Sizes(sizes["voxels"], sizes["tokens"], sizes["token_dim"], (0, 0, 0)),
        DenseStyle(norm=sizes["norm"], activation_first=sizes["activation_first"]),
    )


def prior_sizes(state: State, prefix: str = "") -> dict[str, Any]:
    """Return the sizes of a published prior (`net`).

    The query mode follows from the shape of `learned_query`, except that "pos_emb" and "token"
    look alike: it is taken for "pos_emb", the published one.
    """
    shapes, layers = Shapes(state, prefix), "causal_transformer.layers"
    tokens, dim = shapes.of("null_brain_embeds", 2)
    table = "causal_transformer.rel_pos_bias.relative_attention_bias.weight"
    mode, timesteps = "none", None
    if "learned_query" in state:
        rows, _ = shapes.of("learned_query", 2)
        mode = "all_pos_emb" if rows == 2 * tokens + 1 else "pos_emb"
    if "to_time_embeds.0.weight" in state:
        timesteps, _ = shapes.of("to_time_embeds.0.weight", 2)
    return {
        "dim": dim,
        "depth": shapes.count(f"{layers}.{{}}.0.null_kv", 2),
        "heads": shapes.of(table, 2)[1],
        "dim_head": shapes.of(f"{layers}.0.0.null_kv", 2)[1],
        "num_tokens": tokens,
        "num_timesteps": timesteps,
        "learned_query_mode": mode,
        "ff_mult": shapes.of(f"{layers}.0.1.5.weight", 2)[1] / dim,
        "causal": False,
    }


def build_prior(sizes: Mapping[str, Any]) -> PriorNetwork:
    """Build a prior network of `prior_sizes`."""
    config = PriorConfig(**{name: sizes[name] for name in ("depth", "heads", "dim_head")})
    names = ("num_timesteps", "learned_query_mode", "ff_mult", "causal")
    variant = PriorVariant(**{name: sizes[name] for name in names})
    return PriorNetwork(config, Sizes(0, sizes["num_tokens"], sizes["dim"], (0, 0, 0)), variant)


def low_sizes(state: State) -> dict[str, Any]:
    """Return the sizes of a published low-level model."""
    shapes, blocks = Shapes(state), "upsampler.up_blocks"
    width, voxels = shapes.of("lin0.0.weight", 2)
    outputs, _ = shapes.of("lin1.weight", 2)
    (channels,) = shapes.of("norm.weight", 1)
    side = round((outputs / channels) ** 0.5)
    levels = shapes.count(f"{blocks}.{{}}.resnets.0.conv1.weight", 4)
    projected = any(key.startswith("maps_projector.") for key in state)
    return {
        "voxels": voxels,
        "width": width,
        "blocks": shapes.count("mlp.{}.0.weight", 2),
        "seed": [channels, side, side],
        "block_out_channels": [
            shapes.of(f"{blocks}.{level}.resnets.0.conv1.weight", 4)[0]
            for level in reversed(range(levels))
        ],
        "layers_per_block": shapes.count(f"{blocks}.0.resnets.{{}}.conv1.weight", 4) - 1,
        "latent_channels": shapes.of("upsampler.conv_out.weight", 4)[0],
        "maps_width": shapes.of("maps_projector.0.weight", 4)[0] if projected else None,
    }


def build_low(sizes: Mapping[str, Any]) -> LowLevel:
    """Build a low-level model of `low_sizes`."""
    channels, height, width = sizes["seed"]
    grids = Upsampling(
        seed=(channels, height, width),
        widths=tuple(sizes["block_out_channels"]),
        latent_channels=sizes["latent_channels"],
        layers=sizes["layers_per_block"],
    )
    config = LowConfig(
        width=sizes["width"],
        blocks=sizes["blocks"],
        channels=NORM_GROUPS,
        norm_groups=NORM_GROUPS,
        dropout_block=0.25,
    )
    maps = None if sizes["maps_width"] is None else (height * width, sizes["maps_width"])
    return LowLevel(config, Sizes(sizes["voxels"], 0, 0, (0, 0, 0)), maps, grids)


def fit_decoder(state: State, prefix: str = "") -> tuple[Decoder, dict[str, Any]]:
    """Build a decoder around a published backbone; return its sizes, too."""
    sizes = decoder_sizes(state, prefix)

    def published(ours: State) -> dict[str, Tensor]:
        return decoder_to_published(ours, activation_first=sizes["activation_first"])

    return _fitted(state, prefix, build_decoder, sizes, decoder_from_published, published), sizes


def fit_prior(state: State, prefix: str = "net.") -> tuple[PriorNetwork, dict[str, Any]]:
    """Build a prior network around a published one; return its sizes, too."""
    sizes = prior_sizes(state, prefix)
    model = _fitted(state, prefix, build_prior, sizes, prior_from_published, prior_to_published)
    return model, sizes


def fit_low(state: State) -> tuple[LowLevel, dict[str, Any]]:
    """Build a low-level model around a published one; return its sizes, too."""
    state = lowlevel_to_published(lowlevel_from_published(state))  # attention may have new names
    sizes = low_sizes(state)
    model = _fitted(state, "", build_low, sizes, lowlevel_from_published, lowlevel_to_published)
    return model, sizes


def _fitted(
    state: State,
    prefix: str,
    build: Callable[[Mapping[str, Any]], Model],
    sizes: Mapping[str, Any],
    ours: Callable[[State], dict[str, Tensor]],
    published: Callable[[State], dict[str, Tensor]],
) -> Model:
    """Build a model of these sizes and give it these weights, strictly and without copying them."""
    try:
        with torch.device("meta"):
            model = build(sizes)
    except (MindEyeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{prefix}*: {reason}" if prefix else reason) from error
    expected = published(model.state_dict())
    problems = [f"missing {prefix}{key}" for key in expected if key not in state]
    for key, value in state.items():
        if key not in expected:
            problems.append(f"unexpected {prefix}{key}")
        elif value.shape != expected[key].shape:
            shapes = f"{tuple(value.shape)}, expected {tuple(expected[key].shape)}"
            problems.append(f"{prefix}{key} is {shapes}")
    if problems:
        more = len(problems) - SHOWN_PROBLEMS
        rest = f" and {more} more" if more > 0 else ""
        raise CheckpointError(", ".join(problems[:SHOWN_PROBLEMS]) + rest)
    weights = {k: v.float() if v.is_floating_point() else v for k, v in ours(state).items()}
    model.load_state_dict(weights, strict=True, assign=True)
    return model


def check_schedule(state: State, schedule: NoiseSchedule) -> None:
    """Refuse published `noise_scheduler` buffers that are not those of `schedule`."""
    known = schedule.published()
    for name in known.keys() | state.keys():
        if name not in state or name not in known:
            state_of = "missing" if name not in state else "unexpected"
            raise CheckpointError(f"{state_of} noise_scheduler.{name}")
        value = state[name].to(known[name])
        if value.shape != known[name].shape or not torch.allclose(known[name], value, rtol=1e-5):
            raise CheckpointError(f"noise_scheduler.{name} belongs to another schedule")
