"""Configurations as plain dictionaries, their hashes, and where two of them differ."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from mindeye.config.bounds import Checked

SINCE = "since"
"""Key in a field's metadata: the version that brought the field. At its default such a field is
left out of hashes, so that runs of earlier versions keep theirs."""

RETIRED: dict[str, Any] = {"high.contrastive.chunk": 0, "low.contrastive_chunk": 0}
"""Fields that runs of version 0.1 have and that do nothing now, at the value that goes on being
hashed, so that the results of such runs are still known to be theirs."""


def config_dict(config: Any) -> dict[str, Any]:
    """Return a dataclass as nested plain dictionaries, ready for YAML and JSON."""
    return dataclasses.asdict(config)


def config_hash(*parts: Any) -> str:
    """Return a short hash of dataclasses or plain values, stable across processes and versions."""
    plain = [_hashed(part) for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _hashed(value: Any) -> Any:
    """Return what is hashed of a value; of a configuration what version 0.1 would have hashed."""
    if isinstance(value, dict):
        return {key: _hashed(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hashed(entry) for entry in value]
    if not dataclasses.is_dataclass(value):
        return value
    content = {
        field.name: _hashed(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if SINCE not in field.metadata or getattr(value, field.name) != field.default
    }
    if isinstance(value, Checked):
        retired = [(name.rpartition("."), old) for name, old in RETIRED.items()]
        content |= {name: old for (section, _, name), old in retired if section == value.section}
    return content


def differing_fields(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted names of fields whose values differ between two config dictionaries."""
    names = []
    for key in sorted(set(a) | set(b)):
        left, right = a.get(key), b.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            names += differing_fields(left, right, f"{prefix}{key}.")
        elif left != right:
            names.append(f"{prefix}{key}")
    return names


def filled(known: dict[str, Any], defaults: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a run's config dictionary of an earlier version as one of this version.

    Fields that it lacks stand at their defaults, retired ones are left out. `prefix` is the dotted
    name, with a dot behind it, of what both dictionaries are a part of.
    """
    kept = {name: value for name, value in known.items() if f"{prefix}{name}" not in RETIRED}
    joined = {**defaults, **kept}
    for key, value in defaults.items():
        if isinstance(value, dict) and isinstance(known.get(key), dict):
            joined[key] = filled(known[key], value, f"{prefix}{key}.")
    return joined
