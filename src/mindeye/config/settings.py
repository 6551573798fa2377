"""From YAML presets, ``field=value`` words and flags to config dataclasses, by jsonargparse."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml
from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from mindeye.config import RunConfig
from mindeye.errors import ConfigError

C = TypeVar("C")


def field_docs(cls: type) -> dict[str, str]:
    """Return the doc line of every field of a config dataclass, those it inherits included."""
    docs = [parse_docstring(c.__doc__ or "") for c in reversed(cls.__mro__)]
    return {p.arg_name: " ".join((p.description or "").split()) for doc in docs for p in doc.params}


def dotted_fields(cls: type, prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield dotted name, doc line and default of every plain field, nested ones included."""
    hints, docs = get_type_hints(cls), field_docs(cls)
    for field in dataclasses.fields(cls):
        name = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(hints[field.name]):
            yield from dotted_fields(hints[field.name], f"{name}.")
        else:
            yield name, docs[field.name], field.default


def shipped_names(folder: str) -> list[str]:
    """Return the names of the YAML files in a folder of the package."""
    files = resources.files("mindeye").joinpath(folder).iterdir()
    return sorted(p.name.removesuffix(".yaml") for p in files if p.name.endswith("yaml"))


def shipped_path(name: str, folder: str, *, what: str, known: str) -> Path:
    """Return a YAML file: one of a folder of the package by its name, or a path of one's own.

    `what` and `known` are what one such file and all of them are called.

    Raises
    ------
    ConfigError
        If there is neither; lists the shipped ones.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
    else:
        path = Path(str(resources.files("mindeye") / folder / f"{Path(name).name}.yaml"))
    if not path.is_file():
        names = ", ".join(shipped_names(folder))
        raise ConfigError(f"no {what} {name!r}; known {known}: {names}; or give a .yaml file")
    return path


def preset_names() -> list[str]:
    """Return the names of the shipped presets."""
    return shipped_names("presets")


def preset_path(name: str) -> Path:
    """Return the YAML file of a preset: a shipped name or a path of one's own.

    Raises
    ------
    ConfigError
        If there is neither a preset nor a file of that name; lists the known presets.
    """
    return shipped_path(name, "presets", what="preset", known="presets")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a preset; only plain YAML values, never objects.

    Raises
    ------
    ConfigError
        If it is not readable YAML or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold fields of a run, like `seed: 0`")
    return content


def preset_content(name: str, *, as_published: bool = False) -> dict[str, Any]:
    """Return the fields of a preset, on request under the published code's choices.

    Parameters
    ----------
    name
        A shipped preset or a YAML file.
    as_published
        Lay `presets/overlays/as_published.yaml` over it.

    Raises
    ------
    ConfigError
        As `preset_path` and `read_yaml`.
    """
    content = read_yaml(preset_path(name))
    if as_published:
        folder = resources.files("mindeye") / "presets" / "overlays"
        content = _merged(content, read_yaml(Path(str(folder / "as_published.yaml"))))
    return content


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another."""
    joined = dict(below)
    for key, value in above.items():
        known = joined.get(key)
        both = isinstance(known, Mapping) and isinstance(value, Mapping)
        joined[key] = _merged(known, value) if both else value  # type: ignore[arg-type]
    return joined


def _run_parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(RunConfig)
    return parser


def _check_names(names: Sequence[str]) -> None:
    known = [name for name, _, _ in dotted_fields(RunConfig)]
    groups = {".".join(n.split(".")[: i + 1]) for n in known for i in range(n.count("."))}
    for name in names:
        if name not in known and name not in groups:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else "; `mindeye run --help` lists all"
            raise ConfigError(f"a run has no field {name!r}{hint}")


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _instantiate(parser: ArgumentParser, parsed: Namespace) -> RunConfig:
    return RunConfig(**parser.instantiate(parsed).as_dict())


def run_config(content: Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Return the checked configuration of a run.

    Parameters
    ----------
    content
        Nested fields, as read from a preset or a `run.json`.
    overrides
        Words like ``high.optim.epochs=20``.

    Raises
    ------
    ConfigError
        If a field is unknown or ill-typed, or fields contradict each other.
    """
    parser = _run_parser()
    flat = dict(_flat(content))
    for word in overrides:
        name, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is not of the form field=value")
        flat[name] = yaml.safe_load(value) if value else ""
    _check_names(list(flat))
    try:
        nested: dict[str, Any] = {}
        for name, value in flat.items():
            *groups, last = name.split(".")
            level = nested
            for group in groups:
                level = level.setdefault(group, {})
            level[last] = value
        return _instantiate(parser, parser.parse_object(nested))
    except ConfigError:
        raise
    except (ArgumentError, TypeError, ValueError, KeyError) as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, ConfigError):
            raise cause from error
        raise ConfigError(f"configuration: {_first_lines(error)}") from error


def _first_lines(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]


def add_fields(parser: ArgumentParser, cls: type) -> None:
    """Add a flag for every field of a dataclass: name, type, default and help from it.

    Fields of a dataclass within it become flags of their own, without a prefix; a tuple takes
    several words.
    """
    hints, docs = get_type_hints(cls), field_docs(cls)
    for field in dataclasses.fields(cls):
        hint, flag = hints[field.name], f"--{field.name.replace('_', '-')}"
        given: dict[str, Any] = {"type": hint, "help": docs[field.name]}
        if dataclasses.is_dataclass(hint):
            add_fields(parser, hint)  # type: ignore[arg-type]
            continue
        if hint is bool:
            parser.add_argument(flag, action="store_true", help=docs[field.name])
            continue
        if get_origin(hint) is tuple:
            given = {**given, "type": get_args(hint)[0], "nargs": "*"}
        if field.default is dataclasses.MISSING:
            given["required"] = True
        else:
            given["default"] = field.default
        parser.add_argument(flag, **given)


def from_flags(cls: type[C], flags: Namespace) -> C:
    """Build a dataclass from parsed flags."""
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            values[name] = from_flags(hint, flags)  # type: ignore[arg-type]
        else:
            value = flags[name]
            values[name] = tuple(value) if isinstance(value, list) else value
    return cls(**values)
