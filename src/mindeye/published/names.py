"""Parameter names of the paper's authors and ours, both ways.

Every function renames a whole state; a key that no rule knows is an error that names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mindeye.errors import CheckpointError

State = Mapping[str, Tensor]

_BACKBONE = [
    ("lin0.0", "backbone.input.linear"),
    ("lin0.1", "backbone.input.norm"),
    ("mlp.{i}.0", "backbone.blocks.{i}.linear"),
    ("mlp.{i}.1", "backbone.blocks.{i}.norm"),
]
_DECODER = [
    *_BACKBONE,
    ("lin1", "output"),
    ("projector.0", "projector.norms.0"),
    ("projector.2", "projector.linears.0"),
    ("projector.3", "projector.norms.1"),
    ("projector.5", "projector.linears.1"),
    ("projector.6", "projector.norms.2"),
    ("projector.8", "projector.linears.2"),
]
_LAYER = "causal_transformer.layers.{i}"
_PRIOR = [
    ("learned_query", "learned_query"),
    ("null_brain_embeds", "null_condition"),
    ("null_image_embed", "null_target"),
    ("to_time_embeds.0.1.net.0.0", "time_embedding.linears.0"),
    ("to_time_embeds.0.1.net.1.0", "time_embedding.linears.1"),
    ("to_time_embeds.0.1.net.2", "time_embedding.linears.2"),
    ("to_time_embeds.0", "time_embedding"),
    (
        "causal_transformer.rel_pos_bias.relative_attention_bias",
        "transformer.position_bias.table",
    ),
    (f"{_LAYER}.0.null_kv", "transformer.layers.{i}.attention.null_key_value"),
    (f"{_LAYER}.0.norm.g", "transformer.layers.{i}.attention.norm.gain"),
    (f"{_LAYER}.0.to_q", "transformer.layers.{i}.attention.to_query"),
    (f"{_LAYER}.0.to_kv", "transformer.layers.{i}.attention.to_key_value"),
    (f"{_LAYER}.0.to_out.0", "transformer.layers.{i}.attention.to_output"),
    (f"{_LAYER}.0.to_out.1.g", "transformer.layers.{i}.attention.norm_output.gain"),
    (f"{_LAYER}.1.0.g", "transformer.layers.{i}.feed_forward.norm.gain"),
    (f"{_LAYER}.1.1", "transformer.layers.{i}.feed_forward.expand"),
    (f"{_LAYER}.1.5", "transformer.layers.{i}.feed_forward.contract"),
    ("causal_transformer.norm.g", "transformer.norm.gain"),
    ("causal_transformer.project_out", "transformer.project"),
]
_VAE_ATTENTION = "upsampler.mid_block.attentions.{i}"
_LOW_LEVEL = [
    *_BACKBONE,
    ("lin1", "to_seed"),
    ("norm", "norm"),
    (f"{_VAE_ATTENTION}.query", f"{_VAE_ATTENTION}.to_q"),
    (f"{_VAE_ATTENTION}.key", f"{_VAE_ATTENTION}.to_k"),
    (f"{_VAE_ATTENTION}.value", f"{_VAE_ATTENTION}.to_v"),
    (f"{_VAE_ATTENTION}.proj_attn", f"{_VAE_ATTENTION}.to_out.0"),
    ("upsampler", "upsampler"),
    ("maps_projector.0", "maps_projector.convolutions.0"),
    ("maps_projector.1", "maps_projector.norms.0"),
    ("maps_projector.3", "maps_projector.convolutions.1"),
    ("maps_projector.4", "maps_projector.norms.1"),
    ("maps_projector.6", "maps_projector.convolutions.2"),
]
"""Beginnings of names, published and ours; `{i}` is a number, the first rule that fits is used."""

_FREQUENCIES = "transformer.rotary.frequencies"
_PUBLISHED_FREQUENCIES = re.compile(r"causal_transformer\.layers\.(\d+)\.0\.rotary_emb\.freqs")


class PublishedParts(NamedTuple):
    """The three parts of a high-level `model_state_dict`, each under its own names."""

    decoder: dict[str, Tensor]
    prior: dict[str, Tensor]
    schedule: dict[str, Tensor]


def decoder_from_published(state: State) -> dict[str, Tensor]:
    """Give a published backbone (`voxel2clip`) our names."""
    moved = _move_norms(state, 2, 1) if is_activation_first(state) else state
    return _rename(moved, _DECODER)


def decoder_to_published(state: State, *, activation_first: bool = False) -> dict[str, Tensor]:
    """Give the state of a `Decoder` its published names."""
    renamed = _rename(state, _swapped(_DECODER))
    return _move_norms(renamed, 1, 2) if activation_first else renamed


def prior_from_published(state: State) -> dict[str, Tensor]:
    """Give a published prior network (`net`) our names.

    The rotary frequencies stand there once per layer; they must agree, and become one entry.
    """
    frequencies = {k: v for k, v in state.items() if _PUBLISHED_FREQUENCIES.fullmatch(k)}
    rest = {k: v for k, v in state.items() if k not in frequencies}
    renamed = _rename(rest, _PRIOR)
    if frequencies:
        name, first = next(iter(frequencies.items()))
        for other, value in frequencies.items():
            if not _same(first, value):
                raise CheckpointError(f"{other} differs from {name}; they are one tensor")
        renamed[_FREQUENCIES] = first
    return renamed


def prior_to_published(state: State) -> dict[str, Tensor]:
    """Give the state of a `PriorNetwork` its published names."""
    renamed = _rename({k: v for k, v in state.items() if k != _FREQUENCIES}, _swapped(_PRIOR))
    for layer in range(count_keys(renamed, rf"{_escape(_LAYER)}\.0\.null_kv")):
        name = f"causal_transformer.layers.{layer}.0.rotary_emb.freqs"
        renamed[name] = state[_FREQUENCIES]
    return renamed


def lowlevel_from_published(state: State) -> dict[str, Tensor]:
    """Give a published low-level model our names; its attention may have old or new ones."""
    return _rename(state, _LOW_LEVEL)


def lowlevel_to_published(state: State) -> dict[str, Tensor]:
    """Give the state of a `LowLevel` its published names (old diffusers)."""
    return _rename(state, _swapped(_LOW_LEVEL))


def split_published(state: State) -> PublishedParts:
    """Part a high-level `model_state_dict` (`voxel2clip.*`, `net.*`, `noise_scheduler.*`)."""
    parts: dict[str, dict[str, Tensor]] = {"voxel2clip": {}, "net": {}, "noise_scheduler": {}}
    for key, value in state.items():
        prefix, _, rest = key.partition(".")
        if prefix not in parts:
            raise CheckpointError(f"unexpected key {key}; known parts: {', '.join(parts)}")
        parts[prefix][rest] = value
    return PublishedParts(*parts.values())


def count_keys(state: State, pattern: str) -> int:
    """How many keys match the whole of a regular expression."""
    return sum(re.fullmatch(pattern, key) is not None for key in state)


def _same(one: Tensor, other: Tensor) -> bool:
    if one.is_meta or other.is_meta:
        return one.shape == other.shape
    return torch.equal(one, other)


def _escape(template: str) -> str:
    return re.escape(template).replace(re.escape("{i}"), r"(\d+)")


def _swapped(rules: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(ours, published) for published, ours in rules]


def _rename(state: State, rules: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Replace the beginning of every key by the first rule that fits; refuse keys without one."""
    compiled = [(re.compile(_escape(old) + r"(?=\.|$)"), new) for old, new in rules]
    return {_renamed(key, compiled): value for key, value in state.items()}


def _renamed(key: str, rules: Sequence[tuple[re.Pattern[str], str]]) -> str:
    for pattern, new in rules:
        match = pattern.match(key)
        if match is not None:
            number = match.group(1) if match.groups() else ""
            return new.replace("{i}", number) + key[match.end() :]
    raise CheckpointError(f"unexpected key {key}")


def is_activation_first(state: State) -> bool:
    """Whether the norms of a published backbone stand after the activation, third in line."""
    return any(key.startswith("lin0.2.") for key in state)


def _move_norms(state: State, old: int, new: int) -> dict[str, Tensor]:
    """Move the norms of a published backbone from one place of their Sequential to another."""
    return {
        re.sub(rf"^(lin0|mlp\.\d+)\.{old}\.", rf"\g<1>.{new}.", key): value
        for key, value in state.items()
    }
