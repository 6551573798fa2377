"""The order of the stages, what each depends on, and the verb that does them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from mindeye.config import RunConfig
from mindeye.errors import ConfigError
from mindeye.fingerprints import config_hash
from mindeye.runs import run_stage
from mindeye.stages.drawing import predict, reconstruct
from mindeye.stages.learning import embed, ridge, train_high, train_low
from mindeye.stages.paging import report
from mindeye.stages.scoring import evaluate, retrieve
from mindeye.stages.workspace import Workspace


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Parameters
    ----------
    work
        Does it; leaves its files in the folder of its name.
    after
        Stages whose results it reads.
    depends
        Picks the parts of the configuration that change its result.
    """

    work: Callable[[Workspace], None]
    after: tuple[str, ...]
    depends: Callable[[RunConfig], Any]


STAGES: dict[str, Stage] = {
    "embed": Stage(embed, (), lambda c: [config_hash(c.targets), c.low_enabled, c.seed]),
    "ridge": Stage(ridge, ("embed",), lambda c: c.seed),
    "high": Stage(train_high, ("embed",), lambda c: [config_hash(c.high), c.seed, c.device]),
    "low": Stage(train_low, ("embed",), lambda c: [config_hash(c.low), c.seed, c.device]),
    "predict": Stage(predict, ("high", "low"), lambda c: None),
    "retrieve": Stage(retrieve, ("predict",), lambda c: None),
    "reconstruct": Stage(
        reconstruct, ("predict", "ridge"), lambda c: [config_hash(c.reconstruct), c.seed]
    ),
    "evaluate": Stage(
        evaluate, ("retrieve", "reconstruct"), lambda c: [config_hash(c.evaluate), c.seed]
    ),
    "report": Stage(report, ("evaluate",), lambda c: None),
}
"""In the order in which they run."""


def stage_keys(work: Workspace) -> dict[str, str]:
    """Return each stage's key: its part of the config and the keys of what it reads."""
    keys: dict[str, str] = {}
    for name, stage in STAGES.items():
        upstream = [keys[before] for before in stage.after]
        keys[name] = config_hash(
            name, stage.depends(work.config), upstream, work.subject.fingerprint
        )
    return keys


def run_all(work: Workspace, *, until: str = "report") -> dict[str, bool]:
    """Do every stage up to `until` that is not done yet.

    Returns
    -------
    dict
        Whether each stage had work to do.

    Raises
    ------
    ConfigError
        If there is no stage of that name.
    """
    if until not in STAGES:
        raise ConfigError(f"no stage {until!r}; stages are {', '.join(STAGES)}")
    keys = stage_keys(work)
    done: dict[str, bool] = {}
    for name, stage in STAGES.items():
        done[name] = run_stage(work.folder / name, keys[name], partial(stage.work, work))
        if name == until:
            break
    return done
