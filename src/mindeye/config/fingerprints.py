"""Configurations as plain dictionaries, their hashes, and where two of them differ."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any


def config_dict(config: Any) -> dict[str, Any]:
    """Return a dataclass as nested plain dictionaries, ready for YAML and JSON."""
    return dataclasses.asdict(config)


def config_hash(*parts: Any) -> str:
    """Return a short hash of dataclasses or plain values, stable across processes."""
    plain = [dataclasses.asdict(p) if dataclasses.is_dataclass(p) else p for p in parts]  # type: ignore[arg-type]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


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


def filled(known: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return a config dictionary; fields it lacks, being of an older version, at their defaults."""
    joined = {**defaults, **known}
    for key, value in defaults.items():
        if isinstance(value, dict) and isinstance(known.get(key), dict):
            joined[key] = filled(known[key], value)
    return joined
