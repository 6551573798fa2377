"""The order of the stages, what each depends on, and the verb that does them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from mindeye.config import HighConfig, LowConfig, RunConfig
from mindeye.config.fingerprints import config_dict, config_hash
from mindeye.errors import ConfigError
from mindeye.files import run_stage, stage_done
from mindeye.runs.baselines import ridge
from mindeye.runs.conditions import conditions
from mindeye.runs.drawing import predict, reconstruct
from mindeye.runs.learning import embed, train_high, train_low
from mindeye.runs.report import write_report
from mindeye.runs.scoring import evaluate, retrieve
from mindeye.runs.workspace import Workspace


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Parameters
    ----------
    work
        Does it; leaves its files in the folder of its name. One that is `shared` gets its key too.
    after
        Stages whose results it reads.
    depends
        Picks the parts of the configuration that change its result.
    shared
        Whether all processes work on it; else the first one does, and the others wait.
    paired
        Whether it reads which brain belongs to which stimulus, itself or through what it reads, so
        that a permutation null does it anew.
    """

    work: Callable[..., None]
    after: tuple[str, ...]
    depends: Callable[[RunConfig], Any]
    shared: bool = False
    paired: bool = True


C = TypeVar("C", HighConfig, LowConfig)


def _trained(config: C) -> C:
    """Set the fields that a training does not depend on to one value, so that no key sees them."""
    optim = replace(config.optim, checkpoint_steps=1)
    if isinstance(config, LowConfig):
        return replace(config, optim=optim)
    prior = replace(config.prior, sampler="dpmpp", sample_steps=1)
    return replace(config, optim=optim, prior=prior)


def _drawing(config: RunConfig) -> dict[str, Any]:
    """Return what pictures depend on: not whether the candidates that were not picked are kept."""
    content = config_dict(config.reconstruct)
    del content["keep_candidates"]
    return content


BASELINES = 3
"""Version of what the baselines are; another one makes old runs fit them anew."""

STAGES: dict[str, Stage] = {
    "embed": Stage(
        embed,
        (),
        lambda c: [config_hash(c.targets), c.low_enabled and c.low.contrastive_weight > 0, c.seed],
        shared=True,
        paired=False,
    ),
    "ridge": Stage(ridge, ("embed",), lambda c: [BASELINES, c.seed]),
    "high": Stage(
        train_high,
        ("embed",),
        lambda c: [config_hash(_trained(c.high)), c.high_enabled, c.seed, c.device],
        shared=True,
    ),
    "low": Stage(
        train_low,
        ("embed",),
        lambda c: [config_hash(_trained(c.low)), c.low_enabled, c.seed, c.device],
        shared=True,
    ),
    "predict": Stage(predict, ("high", "low"), lambda c: None),
    "conditions": Stage(
        conditions,
        ("high",),
        lambda c: [c.high_enabled and c.evaluate.controls, c.seed],
    ),
    "retrieve": Stage(retrieve, ("predict",), lambda c: None),
    "reconstruct": Stage(
        reconstruct,
        ("predict", "ridge"),
        lambda c: [config_hash(_drawing(c), c.high.prior), c.seed],
    ),
    "evaluate": Stage(
        evaluate,
        ("retrieve", "reconstruct", "conditions"),
        lambda c: [config_hash(c.evaluate), c.seed],
    ),
    "report": Stage(write_report, ("evaluate",), lambda c: None),
}
"""In the order in which they run."""


def stage_keys(work: Workspace) -> dict[str, str]:
    """Return each stage's key: its part of the config and the keys of what it reads."""
    keys: dict[str, str] = {}
    for name, stage in STAGES.items():
        upstream = [keys[before] for before in stage.after]
        # Recorded pairs leave no trace in a key, so that runs from before there were nulls go on.
        null = [work.config.permutation] if work.config.permutation and stage.paired else []
        keys[name] = config_hash(
            name, stage.depends(work.config), upstream, work.subject.fingerprint, *null
        )
    return keys


def run_all(
    work: Workspace, *, until: str = "report", announce: Callable[[str], None] | None = None
) -> dict[str, bool]:
    """Do every stage up to `until` that is not done yet.

    Parameters
    ----------
    work
        The run.
    until
        Name of the last stage to do.
    announce
        Gets a line like "stage 3 of 10: high" before a stage that has work to do begins.

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
    for number, (name, stage) in enumerate(STAGES.items(), start=1):
        folder = work.folder / name
        done[name] = not stage_done(folder, keys[name])
        work.processes.wait()  # all have looked before the first one marks it as done
        job = partial(stage.work, work, keys[name]) if stage.shared else partial(stage.work, work)
        if work.processes.is_first:
            if announce is not None and done[name]:
                announce(f"stage {number} of {len(STAGES)}: {name}")
            run_stage(folder, keys[name], job)
        elif stage.shared and done[name]:
            job()
        work.processes.wait()
        if name == until:
            break
    return done
