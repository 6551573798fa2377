"""The configuration of a run from a preset, a YAML file or a mapping, with fields laid over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from mindeye.config.fields import build, closest, fields_of, flat
from mindeye.config.fingerprints import RETIRED
from mindeye.config.run import RunConfig
from mindeye.errors import ConfigError

Source = str | Path | Mapping[str, Any]
"""A shipped preset by name, a YAML file, or nested fields."""

ENDINGS = (".yaml", ".yml")


def run_config(
    source: Source | None = None,
    overrides: Sequence[str] = (),
    *,
    as_published: bool = False,
    **fields: Any,
) -> RunConfig:
    """Return the checked configuration of a run.

    Parameters
    ----------
    source
        Name of a shipped preset, path of a YAML file, or nested fields as in a `run.json`; by
        default every field stands at its default.
    overrides
        Words like ``high.optim.epochs=20``, laid over the source.
    as_published
        Lay the choices of the authors' code over the source, below all other fields.
    fields
        Fields of a run by name, nested ones as mappings; laid over everything else.

    Raises
    ------
    ConfigError
        If there is no such preset, a field is unknown, ill-typed or out of bounds, or fields
        contradict each other. Names the field.

    Examples
    --------
    >>> config = run_config("demo", ["seed=1"], high={"optim": {"epochs": 2}})
    >>> config.seed, config.high.optim.epochs, config.high.decoder.width
    (1, 2, 768)
    """
    values = dict(flat(_content(source)))
    for name in RETIRED:
        values.pop(name, None)
    if as_published:
        values |= dict(flat(_published()))
    for word in overrides:
        name, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is not of the form field=value")
        values[name] = value
    return build(RunConfig, values | dict(flat(fields)), what="a run")


def _content(source: Source | None) -> Mapping[str, Any]:
    if source is None or isinstance(source, Mapping):
        return source or {}
    return read_yaml(preset_path(source))


def _published() -> dict[str, Any]:
    overlays = resources.files("mindeye") / "presets" / "overlays"
    return read_yaml(Path(str(overlays / "as_published.yaml")))


def preset_content(name: str, *, as_published: bool = False) -> dict[str, Any]:
    """Return the fields of a preset by dotted name, on request under the published code's choices.

    Parameters
    ----------
    name
        A shipped preset or a YAML file.
    as_published
        Lay `presets/overlays/as_published.yaml` over it.

    Raises
    ------
    ConfigError
        If there is no such preset, or it cannot be read.
    """
    content = dict(flat(read_yaml(preset_path(name))))
    return content | dict(flat(_published())) if as_published else content


def preset_names() -> list[str]:
    """Return the names of the shipped presets."""
    return shipped_names("presets")


def preset_path(name: str | Path) -> Path:
    """Return the YAML file of a preset: a shipped name, or any path that ends in ``.yaml``.

    Raises
    ------
    ConfigError
        If there is neither a preset nor a file of that name; lists the known presets.
    """
    return shipped_path(str(name), "presets", what="preset", known="presets")


def shipped_names(folder: str) -> list[str]:
    """Return the names of the YAML files in a folder of the package."""
    files = resources.files("mindeye").joinpath(folder).iterdir()
    return sorted(p.name.removesuffix(".yaml") for p in files if p.name.endswith("yaml"))


def shipped_path(name: str, folder: str, *, what: str, known: str) -> Path:
    """Return a YAML file: one of a folder of the package by its name, or any other by its path.

    `what` and `known` are what one such file and all of them are called.

    Raises
    ------
    ConfigError
        If there is neither; lists the shipped ones.
    """
    if name.endswith(ENDINGS):
        path = Path(name)
    else:
        path = Path(str(resources.files("mindeye") / folder / f"{Path(name).name}.yaml"))
    if path.is_file():
        return path
    names = shipped_names(folder)
    close = closest(name, names)
    meant = f"did you mean {close}? " if close else ""
    raise ConfigError(
        f"no {what} {name!r}; {meant}known {known}: {', '.join(names)}; or give a .yaml file"
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping from YAML; only plain values, never objects.

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


def dotted_fields(cls: type) -> list[tuple[str, str, Any]]:
    """Return dotted name, doc line and default of every field, those of nested dataclasses too."""
    return [(field.name, field.doc, field.default) for field in fields_of(cls)]
