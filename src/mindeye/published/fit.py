"""Published weights become models: sizes from shapes, every misfit named as the file names it.

A model is built on the meta device and takes the tensors it is given; nothing is copied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from mindeye.errors import CheckpointError
from mindeye.models.decoder import Decoder, DenseLayer
from mindeye.models.lowlevel import LowLevelDecoder
from mindeye.models.prior_network import PriorNetwork
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
from mindeye.published.networks import build_decoder, build_lowlevel, build_prior_network

PUBLISHED_WIDTH = 768
"""D of the published embeddings; gives K where a backbone has no projector (`clip_size`)."""

SHOWN_PROBLEMS = 6
"""So many misfits are named in one message; the rest are counted."""

_LAYERS = "causal_transformer.layers."
_UPSAMPLER = "upsampler.up_blocks."

Model = TypeVar("Model", bound=nn.Module)


def fit_decoder(state: State, prefix: str) -> Decoder:
    """Build a `Decoder` around a published backbone; `prefix` is what its keys begin with."""
    keys = [("lin0.0.weight", 2), ("lin1.weight", 2), *_numbered(state, "mlp.", ".0.weight", 2)]
    projector = any(key.startswith("projector.") for key in state)
    if projector:
        keys += [("projector.0.weight", 1), ("projector.2.weight", 2)]
    demand(state, keys, prefix)
    fits = not projector and len(state["lin1.weight"]) % PUBLISHED_WIDTH == 0
    back = partial(decoder_to_published, activation_first=is_activation_first(state))
    build = partial(build_decoder, token_dim=PUBLISHED_WIDTH if fits else None, load=False)
    return _fit(state, prefix, build=build, rename=decoder_from_published, back=back)


def fit_prior(state: State) -> PriorNetwork:
    """Build a `PriorNetwork` around a published one (`net.*` without that prefix)."""
    keys = [
        ("null_brain_embeds", 2),
        ("causal_transformer.rel_pos_bias.relative_attention_bias.weight", 2),
        (f"{_LAYERS}0.1.5.weight", 2),
        *_numbered(state, _LAYERS, ".0.null_kv", 2),
    ]
    keys += [(key, 2) for key in ("learned_query", "to_time_embeds.0.weight") if key in state]
    demand(state, keys, "net.")
    build = partial(build_prior_network, load=False)
    return _fit(state, "net.", build=build, rename=prior_from_published, back=prior_to_published)


def fit_low(state: State) -> LowLevelDecoder:
    """Build a `LowLevelDecoder` around a published one."""
    state = lowlevel_to_published(lowlevel_from_published(state))  # attention may have new names
    keys = [("lin0.0.weight", 2), ("lin1.weight", 2), ("norm.weight", 1)]
    keys += [("upsampler.conv_out.weight", 4), *_numbered(state, "mlp.", ".0.weight", 2)]
    keys += _numbered(state, _UPSAMPLER, ".resnets.0.conv1.weight", 4)
    keys += _numbered(state, f"{_UPSAMPLER}0.resnets.", ".conv1.weight", 4)
    if any(key.startswith("maps_projector.") for key in state):
        keys.append(("maps_projector.0.weight", 4))
    demand(state, keys, "")
    build = partial(build_lowlevel, load=False)
    return _fit(state, "", build=build, rename=lowlevel_from_published, back=lowlevel_to_published)


def _numbered(state: State, before: str, after: str, axes: int) -> Iterator[tuple[str, int]]:
    """Give the key of every number from 0 to the highest that follows `before` in any key.

    Ends at the first that is missing, so that a forged number costs nothing.
    """
    pattern = re.compile(re.escape(before) + r"(\d+)\.")
    numbers = [int(match.group(1)) for match in map(pattern.match, state) if match]
    for number in range(max(numbers, default=-1) + 1):
        key = f"{before}{number}{after}"
        yield key, axes
        if key not in state:
            return


def demand(state: State, keys: Iterable[tuple[str, int]], prefix: str) -> None:
    """Refuse a state without a key that gives a size, or with another number of axes there."""
    for key, axes in keys:
        if key not in state:
            raise CheckpointError(f"missing {prefix}{key}")
        if state[key].ndim != axes or 0 in state[key].shape:
            shape = tuple(state[key].shape)
            raise CheckpointError(f"{prefix}{key} is {shape}, expected {axes} axes, none empty")


def _fit(
    state: State,
    prefix: str,
    *,
    build: Callable[[State], Model],
    rename: Callable[[State], dict[str, Tensor]],
    back: Callable[[State], dict[str, Tensor]],
) -> Model:
    """Build a model of the sizes in `state` and give it these weights, without copying them."""
    try:
        with torch.device("meta"):
            model = build(state)
    except (CheckpointError, ValueError, RuntimeError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{prefix}*: {reason}" if prefix else reason) from error
    expected = back(model.state_dict())
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
    weights = {k: v.float() if v.is_floating_point() else v for k, v in rename(state).items()}
    model.load_state_dict(weights, strict=True, assign=True)
    return model


def decoder_sizes(model: Decoder) -> dict[str, Any]:
    """Return the arguments that build this decoder again."""
    state, layer = model.state_dict(), cast(DenseLayer, model.backbone.input)
    width, voxels = layer.linear.weight.shape
    sizes = {
        "voxels": voxels,
        "tokens": model.tokens,
        "token_dim": model.token_dim,
        "width": width,
        "blocks": len(model.backbone.blocks),
        "norm": "batch" if "backbone.input.norm.running_mean" in state else "layer",
        "activation_first": layer.activation_first,
        "projector": model.projector is not None,
    }
    if model.projector is not None:
        sizes["projector_width"] = len(state["projector.linears.0.weight"])
    return sizes


def prior_sizes(model: PriorNetwork) -> dict[str, Any]:
    """Return the arguments that build this prior network again."""
    state = model.state_dict()
    first = "transformer.layers.0"
    table = state.get("time_embedding.weight")
    return {
        "dim": model.dim,
        "depth": len(model.transformer.layers),
        "heads": state["transformer.position_bias.table.weight"].shape[1],
        "dim_head": state[f"{first}.attention.null_key_value"].shape[1],
        "num_tokens": model.num_tokens,
        "num_timesteps": None if table is None else len(table),
        "learned_query_mode": model.learned_query_mode,
        "ff_mult": state[f"{first}.feed_forward.contract.weight"].shape[1] / model.dim,
        "causal": False,
    }


def low_sizes(model: LowLevelDecoder) -> dict[str, Any]:
    """Return the arguments that build this low-level model again."""
    state = model.state_dict()
    width, voxels = state["backbone.input.linear.weight"].shape
    convolution = "upsampler.up_blocks.{}.resnets.{}.conv1.weight"
    blocks, resnets = 0, 0
    while convolution.format(blocks, 0) in state:
        blocks += 1
    while convolution.format(0, resnets) in state:
        resnets += 1
    maps = state.get("maps_projector.convolutions.0.weight")
    return {
        "voxels": voxels,
        "width": width,
        "blocks": len(model.backbone.blocks),
        "seed": list(model.seed_shape),
        "block_out_channels": [
            len(state[convolution.format(block, 0)]) for block in reversed(range(blocks))
        ],
        "layers_per_block": resnets - 1,
        "latent_channels": len(state["upsampler.conv_out.weight"]),
        "maps_width": None if maps is None else len(maps),
    }
