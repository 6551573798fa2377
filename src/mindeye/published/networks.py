"""Checkpoints of the paper's authors: their parameter names, and models built from their shapes.

Nothing is ignored: a key that is missing, unexpected or of another shape is an error that names it
(the published code loads with `strict=False`). Reading the file itself is the caller's business;
these functions take its `model_state_dict`.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from mindeye.diffusion import NoiseSchedule
from mindeye.errors import CheckpointError
from mindeye.models.decoder import Decoder, NormName
from mindeye.models.lowlevel import LowLevelDecoder
from mindeye.models.prior_network import PriorNetwork, QueryMode
from mindeye.published.names import (
    State,
    count_keys,
    decoder_from_published,
    is_activation_first,
    lowlevel_from_published,
    prior_from_published,
)

Model = TypeVar("Model", bound=nn.Module)

PUBLISHED_UPSAMPLERS: dict[str, tuple[tuple[int, int, int], tuple[int, ...]]] = {
    "4x": ((64, 16, 16), (64, 128, 256)),
    "8x": ((256, 8, 8), (64, 128, 256, 256)),
    "16x": ((512, 4, 4), (64, 128, 256, 256, 512)),
}
"""Seed and `block_out_channels` of the published `ups_mode`s; the paper uses 4x."""


def load_strictly(model: nn.Module, state: State) -> None:
    """Load our names into a model; refuses missing, unexpected and mis-shaped keys by name."""
    own = model.state_dict()
    problems = [f"missing {key}" for key in own if key not in state]
    problems += [f"unexpected {key}" for key in state if key not in own]
    problems += [
        f"{key} is {tuple(value.shape)}, expected {tuple(own[key].shape)}"
        for key, value in state.items()
        if key in own and value.shape != own[key].shape
    ]
    if problems:
        raise CheckpointError(f"the weights do not fit the model: {'; '.join(problems)}")
    model.load_state_dict(dict(state))


def build_decoder(state: State, *, token_dim: int | None = None, load: bool = True) -> Decoder:
    """Build a `Decoder` from a published backbone; `load=False` takes the sizes only.

    `token_dim` is needed only if the checkpoint has no projector (default: one token).
    """
    ours = decoder_from_published(state)
    width, voxels = _shape(ours, "backbone.input.linear.weight")
    outputs, _ = _shape(ours, "output.weight")
    has_projector = "projector.norms.0.weight" in ours
    if has_projector:
        (found,) = _shape(ours, "projector.norms.0.weight")
        if token_dim not in (None, found):
            raise CheckpointError(f"token_dim is {token_dim}, the projector's is {found}")
        token_dim = found
    size = token_dim or outputs
    if outputs % size:
        raise CheckpointError(f"output.weight has {outputs} rows, no multiple of {size}")
    norm: NormName = "batch" if "backbone.input.norm.running_mean" in ours else "layer"
    model = Decoder(
        voxels,
        tokens=outputs // size,
        token_dim=size,
        width=width,
        blocks=count_keys(ours, r"backbone\.blocks\.\d+\.linear\.weight"),
        norm=norm,
        activation_first=is_activation_first(state),
        projector=has_projector,
        projector_width=_shape(ours, "projector.linears.0.weight")[0] if has_projector else 2048,
    )
    return _filled(model, ours, load)


def build_prior_network(
    state: State,
    *,
    learned_query_mode: QueryMode | None = None,
    causal: bool = False,
    load: bool = True,
) -> PriorNetwork:
    """Build a `PriorNetwork` from a published one; `load=False` takes the sizes only.

    The query mode follows from the shape of `learned_query`, except that "pos_emb" and "token"
    look alike: None takes "pos_emb", the published one.
    """
    ours = prior_from_published(state)
    num_tokens, dim = _shape(ours, "null_condition")
    if learned_query_mode is None:
        if "learned_query" not in ours:
            learned_query_mode = "none"
        else:
            rows, _ = _shape(ours, "learned_query")
            learned_query_mode = "all_pos_emb" if rows == 2 * num_tokens + 1 else "pos_emb"
    table = ours.get("time_embedding.weight")
    inner = _shape(ours, "transformer.layers.0.feed_forward.contract.weight")[1]
    model = PriorNetwork(
        dim=dim,
        depth=count_keys(ours, r"transformer\.layers\.\d+\.attention\.null_key_value"),
        heads=_shape(ours, "transformer.position_bias.table.weight")[1],
        dim_head=_shape(ours, "transformer.layers.0.attention.null_key_value")[1],
        num_tokens=num_tokens,
        num_timesteps=None if table is None else len(table),
        learned_query_mode=learned_query_mode,
        ff_mult=inner / dim,
        causal=causal,
    )
    return _filled(model, ours, load)


def build_lowlevel(state: State, *, load: bool = True) -> LowLevelDecoder:
    """Build a `LowLevelDecoder` from a published one; `load=False` takes the sizes only."""
    ours = lowlevel_from_published(state)
    width, voxels = _shape(ours, "backbone.input.linear.weight")
    outputs, _ = _shape(ours, "to_seed.weight")
    (channels,) = _shape(ours, "norm.weight")
    side = round((outputs / channels) ** 0.5)
    blocks_up = count_keys(ours, r"upsampler\.up_blocks\.\d+\.resnets\.0\.conv1\.weight")
    maps = ours.get("maps_projector.convolutions.0.weight")
    model = LowLevelDecoder(
        voxels,
        width=width,
        blocks=count_keys(ours, r"backbone\.blocks\.\d+\.linear\.weight"),
        seed=(channels, side, side),
        block_out_channels=tuple(
            _shape(ours, f"upsampler.up_blocks.{block}.resnets.0.conv1.weight")[0]
            for block in reversed(range(blocks_up))
        ),
        layers_per_block=count_keys(ours, r"upsampler\.up_blocks\.0\.resnets\.\d+\.conv1\.weight")
        - 1,
        latent_channels=_shape(ours, "upsampler.conv_out.weight")[0],
        maps_width=None if maps is None else len(maps),
    )
    return _filled(model, ours, load)


def check_schedule(state: State, schedule: NoiseSchedule) -> None:
    """Refuse published `noise_scheduler` buffers that are not those of `schedule`."""
    own = schedule.published()
    for name in own.keys() | state.keys():
        if name not in state or name not in own:
            state_of = "missing" if name not in state else "unexpected"
            raise CheckpointError(f"{state_of} noise_scheduler.{name}")
        value = state[name].to(own[name])
        if value.shape != own[name].shape or not torch.allclose(own[name], value, rtol=1e-5):
            raise CheckpointError(f"noise_scheduler.{name} belongs to another schedule")


def _filled(model: Model, state: State, load: bool) -> Model:
    if load:
        load_strictly(model, state)
    return model


def _shape(state: State, key: str) -> tuple[int, ...]:
    if key not in state:
        raise CheckpointError(f"missing {key}; its shape gives a size of the model")
    return tuple(state[key].shape)
