"""From presets and hub ids to models and the parts of them that are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mindeye.config import RunConfig
from mindeye.config.bounds import REGISTRIES
from mindeye.config.settings import preset_content, run_config
from mindeye.errors import CheckpointError, ConfigError, UsageError
from mindeye.weights.find import find_weights, known_model
from mindeye.weights.record import record_of
from mindeye.weights.table import ADAPTER_BASES, Model, Weights, split_name

FIELDS = ("encoder", "maps", "vae", "generator")
"""Of `targets`, those that name a model."""
BUILT_IN = ("", "zoo", "none", "pixels")
"""Names that stand for no weights of others, besides those of `LOCAL`."""
LOCAL = ("pixels:", "timm:", "taesd:")
"""Beginnings of names whose files, if any, are people's own."""
LISTS = ("ENCODERS", "AUTOENCODERS", "GENERATORS")
"""Registries whose names stand for objects of this process."""
ADAPTER = "ip_adapter:"
"""Beginning of ``ip_adapter:BASE:FILE``, which names two models."""


@dataclass(frozen=True)
class Request:
    """A model and which parts of it are wanted: folders or files inside it, ("",) for all."""

    model: Model
    parts: tuple[str, ...]

    @property
    def weights(self) -> tuple[Weights, ...]:
        """Every weights file that is wanted, once."""
        return tuple(dict.fromkeys(f for part in self.parts for f in self.model.wanted(part)))


def requests_of(names: Sequence[str]) -> tuple[list[Request], list[str]]:
    """Return the models that names stand for, each once, and the local folders among them.

    Parameters
    ----------
    names
        Presets, own .yaml files, hub ids of the table, or folders and files inside those.

    Raises
    ------
    ConfigError
        If a name or what a preset names is not known.
    UsageError
        If there is nothing to fetch.
    """
    wanted: dict[str, list[str]] = {}
    local: list[str] = []
    for name in dict.fromkeys(n for given in names for n in _models_in(given)):
        if Path(name).expanduser().exists():
            local.append(name)
            continue
        model = known_model(name)
        inside = split_name(name)[1]
        model.wanted(inside)
        wanted.setdefault(model.id, []).append(inside)
    if not wanted and not local:
        raise UsageError(
            f"{', '.join(names) or 'nothing'} names no model to fetch: zoo, pixels and none are "
            "part of mindeye"
        )
    return [
        Request(known_model(identity), ("",) if "" in parts else tuple(dict.fromkeys(parts)))
        for identity, parts in wanted.items()
    ], local


def _models_in(name: str) -> Iterator[str]:
    """Yield the model names that a name stands for: those of a preset, or itself and its base."""
    if "/" in name and not name.endswith((".yaml", ".yml")):
        yield from parts_of(name)
        yield from ADAPTER_BASES.get(name, ())[:1]
    else:
        yield from models_of(run_config(preset_content(name)))


def models_of(config: RunConfig) -> list[str]:
    """Return the names of models of others, hub ids or folders, that a run uses, each once."""
    named = (getattr(config.targets, field) for field in FIELDS)
    return list(dict.fromkeys(part for name in named for part in parts_of(name)))


def found_models(config: RunConfig) -> list[dict[str, Any]]:
    """Return name, id, revision, commit and licence of every model of others that a run takes.

    Raises
    ------
    ConfigError, CheckpointError
        If one is not known or not there; names the field.
    """
    root = Path(config.weights) if config.weights else None
    found = []
    for field in FIELDS:
        for name in parts_of(getattr(config.targets, field)):
            try:
                found.append({"name": name, **record_of(find_weights(name, root))})
            except (ConfigError, CheckpointError) as error:
                raise type(error)(f"targets.{field}: {error}") from error
    return found


def parts_of(name: str) -> list[str]:
    """Return the models in a field of the configuration; a registered name is none of others."""
    if name in BUILT_IN or name.startswith(LOCAL):
        return []
    if name.startswith(ADAPTER):
        return name.removeprefix(ADAPTER).split(":")
    head = name.partition(":")[0]
    return [] if any(head in REGISTRIES.get(registry, ()) for registry in LISTS) else [name]
