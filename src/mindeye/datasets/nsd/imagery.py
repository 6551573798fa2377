"""NSD-imagery: the subjects of NSD see, attend to and imagine eighteen targets in one session.

Twelve runs of 48 trials. A run of vision or imagery has one beta a trial, a run of attention two
(the cue and the detection epoch), 720 in all (NSD Data Manual, "Functional data (nsdimagery)").
Order of the runs, paths and columns are as read by public code that ran on the real files
(github.com/mynanshan/NHprojectNSDimagery, which also finds as many events in the GLM's design);
nothing was checked against the real files here:

- `nsddata/bdata/nsdimagery/nsdimagery_subjAA_RUN.tsv`, a row a trial: `TRIAL` from 1, `CONDITION`
  and `CUE`, the letter of a target. In vision `CONDITION` is what was seen, while the cue is right
  in half of the trials only; in imagery the cued target was imagined.
- `nsddata/experiments/nsdimagery/S_pair_list.mat`: `pair_list` (6, 3) cells: number from 1, file
  name, letter, of set S: A simple (bars and crosses), B complex (five of NSD's shared pictures and
  an artwork), C conceptual (words).
- `.../rawtargetimages/setA` and `setB`: the pictures. A concept has none: in vision every trial of
  it showed another picture. So set C is read only with pictures of one's own, stand-ins.
- `.../designmatrixGLMsingle.mat`: `stimulus`, a cell a run, (time, columns), 1 at an onset. Where
  it is there, its order of events must be that of the tables, or the pairing is refused.

Not established: that the two betas of a trial of attention follow each other, cue first (it is the
order of the events in time), and that `CUE` names the attended target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.images import read_picture
from mindeye.data.trials import complete_trials
from mindeye.datasets.nsd.imagery_tables import (
    PARTS,
    SETS,
    Epoch,
    Run,
    Task,
    check_design,
    read_targets,
    run_trials,
    runs_of,
    set_of,
)
from mindeye.datasets.nsd.layout import NsdPaths
from mindeye.datasets.nsd.single_session import (
    SATURATION,
    SESSION,
    SingleSessionConfig,
    need_file,
    open_session,
)
from mindeye.datasets.picture_folder import find_pictures
from mindeye.datasets.recording import Recording
from mindeye.errors import ConfigError, DataError

ImageryBetas = Literal[
    "nsdimagerybetas_fithrf_GLMdenoise_RR", "nsdimagerybetas_fithrf", "nsdimagerybetas_assumehrf"
]


@dataclass(frozen=True)
class ImageryConfig(SingleSessionConfig):
    """What to read of NSD-imagery, beside the fields of `SingleSessionConfig`.

    Parameters
    ----------
    betas
        Version of the betas: take the one that the decoder was trained on.
    task
        `vision`, `imagery` or `attention`: a subject is prepared for each.
    stimulus_sets
        Sets of targets, separated by commas: `simple`, `complex`, `conceptual`.
    concept_pictures
        Folder with a picture of your own for each concept, named like its target or its letter;
        needed for `conceptual`, whose targets are words.
    attention_epoch
        Beta of a trial of attention: that of the `cue` or of the `detection` epoch.
    """

    betas: ImageryBetas = "nsdimagerybetas_fithrf_GLMdenoise_RR"
    task: Task = "imagery"
    stimulus_sets: str = "simple,complex"
    concept_pictures: Path | None = None
    attention_epoch: Epoch = "cue"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (
            ("betas", get_args(ImageryBetas)),
            ("task", get_args(Task)),
            ("attention_epoch", get_args(Epoch)),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name}={getattr(self, name)!r}: choose one of {known}")
        if "conceptual" in self.sets() and self.concept_pictures is None:
            raise ConfigError(
                "stimulus_sets: conceptual targets are words and have no picture; give a folder of "
                "stand-ins as concept_pictures, or leave conceptual out"
            )

    def sets(self) -> list[str]:
        """Return the names of the chosen sets, in the order of `SETS`.

        Raises
        ------
        ConfigError
            If one is unknown.
        """
        names = [part.strip() for part in self.stimulus_sets.split(",")]
        unknown = [n for n in names if n not in SETS]
        if unknown:
            raise ConfigError(
                f"stimulus_sets={self.stimulus_sets!r}: {unknown[0]!r} is none of {list(SETS)}"
            )
        return [n for n in SETS if n in names]


def read_imagery(root: Path, config: ImageryConfig) -> Recording:
    """Read one subject's trials of one task of NSD-imagery.

    Parameters
    ----------
    root
        Folder that holds `nsddata` and `nsddata_betas`.
    config
        Subject, betas, voxels, task, sets of targets.

    Returns
    -------
    Recording
        One session, numbered 1. `trial` is the row of the file of betas, from 0; `run` from 0 over
        all twelve; `run_name`, `task`, `cue` (letter). `stimulus_id` is ``imagery_LETTER``.

    Raises
    ------
    DataError
        If a file is missing, unreadable, or does not fit the others.
    """
    paths = NsdPaths(Path(root), config.subject, config.betas)
    session = open_session(paths, "betas_nsdimagery", config)
    trials_a_run, rest = divmod(session.file.trials, PARTS)
    if rest or not trials_a_run:
        raise DataError(
            f"{session.file.path} has {session.file.trials} betas, not {PARTS} for every trial of "
            "a run (720 = 15 x 48: three runs of vision, six of imagery, three of attention twice)"
        )
    folder = paths.root / "nsddata/experiments/nsdimagery"
    lists = {s: read_targets(folder / f"{SETS[s]}_pair_list.mat", s) for s in config.sets()}
    targets = pd.concat(lists.values(), ignore_index=True)
    files = _find_targets(folder / "rawtargetimages", targets, config)
    every = _runs(config, trials_a_run)
    runs = [r for r in every if set_of(r.name) in lists]
    tables = [_behaviour_path(paths, r.name) for r in runs]
    trials = pd.concat(
        [run_trials(r, p, lists[set_of(r.name)]) for r, p in zip(runs, tables, strict=True)]
    )
    design = folder / "designmatrixGLMsingle.mat"
    if design.is_file():
        check_design(design, runs, trials, epoch=config.attention_epoch)
    trials = complete_trials(trials.assign(session=SESSION, task=config.task))
    rows = trials["trial"].to_numpy(dtype=np.int64)

    def session_betas(_: int) -> NDArray[np.float32]:
        return session.read(rows)

    def pictures(wanted: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
        for stimulus_id in wanted:
            if stimulus_id not in files:
                raise DataError(f"NSD-imagery has no target {stimulus_id!r}")
            yield read_picture(files[stimulus_id])

    seen = targets["stimulus_id"].isin(trials["stimulus_id"])
    pair_lists = [folder / f"{SETS[s]}_pair_list.mat" for s in lists]
    more = [design] if design.is_file() else []
    return Recording(
        subject=f"subj{config.subject:02d}",
        trials=trials,
        stimuli=targets[seen].reset_index(drop=True),
        voxels=session.voxels,
        read_betas=session_betas,
        read_pictures=pictures,
        inputs=(*session.inputs, *tables, *pair_lists, *more, *files.values()),
        info={
            "source": "NSD-imagery (Kneeland et al. 2025)",
            **session.info(paths, config),
            **_left_out(config, every),
            "order_checked_with_design_matrix": bool(more),
        },
        saturation=SATURATION,
    )


def _runs(config: ImageryConfig, trials: int) -> list[Run]:
    return runs_of(config.task, trials, epoch=config.attention_epoch)


def _left_out(config: ImageryConfig, runs: Sequence[Run]) -> dict[str, Any]:
    """Return what was chosen and how many trials of the task were not."""
    out = {r.name: len(r.rows) for r in runs if set_of(r.name) not in config.sets()}
    facts: dict[str, Any] = {
        "task": config.task,
        "stimulus_sets": config.sets(),
        "trials_left_out": out,
    }
    if config.task == "attention":
        facts["attention_epoch"] = config.attention_epoch
    if "conceptual" in config.sets():
        facts["concept_pictures"] = "chosen by whoever prepared this; nobody saw them"
    return facts


def _find_targets(folder: Path, targets: pd.DataFrame, config: ImageryConfig) -> dict[str, Path]:
    """Return the picture of every target by its stimulus id."""
    if targets["stimulus_id"].duplicated().any():
        letter = targets["cue"][targets["stimulus_id"].duplicated()].iloc[0]
        raise DataError(f"the lists of targets in {folder.parent} use letter {letter} twice")
    files = {}
    columns = (targets[c].astype(str).tolist() for c in ("stimulus_id", "set", "cue", "target"))
    for stimulus_id, name, cue, target in zip(*columns, strict=True):
        path = folder / f"set{SETS[name]}" / target
        if name == "conceptual" and config.concept_pictures is not None:
            path = _stand_in(config.concept_pictures, target, cue)
        files[stimulus_id] = need_file(path, f"picture of target {cue}")
    return files


def _stand_in(folder: Path, target: str, cue: str) -> Path:
    stem = Path(target).stem
    try:
        return find_pictures(folder, [stem])[stem]
    except DataError as error:
        if not folder.is_dir() or any(p.stem == stem for p in folder.rglob("*")):
            raise
        try:
            return find_pictures(folder, [cue])[cue]
        except DataError:
            raise DataError(f"{error}; or by the letter of the concept, {cue}.png") from error


def _behaviour_path(paths: NsdPaths, run: str) -> Path:
    name = f"nsdimagery_subj{paths.subject:02d}_{run}.tsv"
    return need_file(paths.root / "nsddata/bdata/nsdimagery" / name, f"trials of run {run}")
