"""Ablation plans: named rows, each an ordinary run that differs from the full one in some fields.

A plan is YAML, checked by name before anything is trained::

    base: demo                    # the preset that every row starts from
    fields: {seed: 1}             # laid over the preset, for all rows
    full: mindeye                 # the row that the others are compared with
    rows:
      mindeye: {claim: everything the paper proposes}
      no blocks:
        claim: residual blocks help retrieval
        fields: {high: {decoder: {blocks: 0}}}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mindeye.config import RunConfig
from mindeye.config.fields import flat
from mindeye.config.fingerprints import config_dict, differing_fields
from mindeye.config.settings import (
    preset_content,
    read_yaml,
    run_config,
    shipped_names,
    shipped_path,
)
from mindeye.errors import ConfigError

FOLDER = "presets/ablations"
"""Shipped plans, within the package."""

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
"""Names of rows become names of folders."""


@dataclass(frozen=True)
class AblationRow:
    """One row of an ablation table.

    Parameters
    ----------
    name
        Name of the row, safe as the name of a folder.
    claim
        Claim that the row tests, and what the paper predicts.
    config
        Configuration of the row's run.
    changes
        Fields in which it differs from the full row, with its own values.
    """

    name: str
    claim: str
    config: RunConfig
    changes: dict[str, Any]


@dataclass(frozen=True)
class AblationPlan:
    """Rows that are trained alike and compared with one of them.

    Parameters
    ----------
    name
        Name of the plan.
    base
        Preset that every row starts from.
    full
        Name of the row that the others are compared with.
    rows
        Rows of the plan, in the order of the table.
    """

    name: str
    base: str
    full: str
    rows: tuple[AblationRow, ...]


def plan_names() -> list[str]:
    """Return the names of the shipped plans."""
    return shipped_names(FOLDER)


def read_plan(name: str, overrides: Sequence[str] = ()) -> AblationPlan:
    """Return a plan with the checked configuration of every row.

    Parameters
    ----------
    name
        A shipped plan or a YAML file.
    overrides
        Words like ``seed=1`` for all rows, laid over the plan's own `fields`; what a row sets
        itself stays as the row has it.

    Raises
    ------
    ConfigError
        If a key or field is unknown, a name is not safe, there are no rows, the full row is not
        among them, or two rows are the same run.
    """
    path = shipped_path(name, FOLDER, what="ablation plan", known="plans")
    content = read_yaml(path)
    _only(content, {"base", "fields", "full", "rows"}, path, "a plan")
    for key in ("base", "full"):
        if not isinstance(content.get(key), str):
            raise ConfigError(f"{path}: a plan names its {key!r}, like `{key}: ...`")
    rows = _mapping(content, "rows", path)
    if not rows:
        raise ConfigError(f"{path}: a plan without rows; give at least the row {content['full']!r}")
    common = dict(flat(preset_content(content["base"])))
    common |= dict(flat(_mapping(content, "fields", path)))
    # A field of a row lies over the words of the command line: it is what makes the row.
    shared = dict(flat(config_dict(_config(common, f"{path}: fields", overrides))))
    claims, configs = {}, {}
    for title, row in rows.items():
        safe = _safe_name(title, path)
        if safe in configs:
            raise ConfigError(f"{path}: two rows are called {safe!r}; rename one of them")
        where = f"{path}: row {safe!r}"
        claims[safe] = _claim(row, where)
        own = dict(flat(_mapping(row, "fields", where)))
        configs[safe] = _config(shared | own, where)
    full = _safe_name(content["full"], path)
    if full not in configs:
        raise ConfigError(f"{path}: full is {full!r}, which is none of {', '.join(configs)}")
    _check_distinct(configs, path)
    made = tuple(
        AblationRow(n, claims[n], config, _changes(configs[full], config))
        for n, config in configs.items()
    )
    return AblationPlan(path.stem, content["base"], full, made)


def _only(content: Mapping[str, Any], known: set[str], where: object, what: str) -> None:
    for key in content:
        if key not in known:
            raise ConfigError(
                f"{where}: {what} has no entry {key!r}; known: {', '.join(sorted(known))}"
            )


def _mapping(content: Mapping[str, Any], key: str, where: object) -> Mapping[Any, Any]:
    mapping = content.get(key) or {}
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where}: {key} must be a mapping, not {type(mapping).__name__}")
    return mapping


def _safe_name(title: Any, where: object) -> str:
    """Return a row's name; what is not plainly a name is refused, it would become a path."""
    name = str(title).replace(" ", "_")
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: {title!r} cannot name a row; use up to 60 of a-z, 0-9, space, _ and -"
        )
    return name


def _claim(row: Any, where: str) -> str:
    if not isinstance(row, Mapping):
        raise ConfigError(f"{where} must be a mapping with a claim and fields")
    _only(row, {"claim", "fields"}, where, "a row")
    claim = row.get("claim")
    if not isinstance(claim, str) or not claim.strip():
        raise ConfigError(f"{where} says no claim; write in one line what it tests")
    return " ".join(claim.split())


def _config(fields: Mapping[str, Any], where: str, overrides: Sequence[str] = ()) -> RunConfig:
    try:
        return run_config(fields, overrides)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_distinct(configs: Mapping[str, RunConfig], where: object) -> None:
    first: dict[RunConfig, str] = {}
    for name, config in configs.items():
        if config in first:
            raise ConfigError(
                f"{where}: the rows {first[config]!r} and {name!r} are the same run; leave one out"
            )
        first[config] = name


def _changes(full: RunConfig, config: RunConfig) -> dict[str, Any]:
    ours = dict(flat(config_dict(config)))
    return {n: ours[n] for n in differing_fields(config_dict(full), config_dict(config))}
