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
  it showed another picture. So set C is read only with pictures that the user supplies.
- `.../designmatrixGLMsingle.mat`: `stimulus`, a cell a run, (time, columns), 1 at an onset. Where
  it is there, its order of events must be that of the tables, or the pairing is refused.

The runs of attention are not read: which of a trial's two betas is which is not established, nor
that `CUE` names the attended target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.data.images import read_picture
from mindeye.data.trials import complete_trials
from mindeye.datasets.nsd.imagery_tables import (
    PARTS,
    SETS,
    Run,
    Task,
    check_design,
    read_targets,
    run_trials,
    runs_of,
    set_of,
)
from mindeye.datasets.nsd.layout import require_file
from mindeye.datasets.nsd.single_session import SESSION, SingleSessionConfig, open_session
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
        `vision` or `imagery`: a subject is prepared for each.
    stimulus_sets
        Sets of targets, separated by commas: `simple`, `complex`, `conceptual`.
    concept_pictures
        Folder with a picture of your own for each concept, named like its target or its letter;
        needed for `conceptual`, whose targets are words.
    """

    betas: ImageryBetas = "nsdimagerybetas_fithrf_GLMdenoise_RR"
    task: Task = "imagery"
    stimulus_sets: str = "simple,complex"
    concept_pictures: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if "conceptual" in self.sets() and self.concept_pictures is None:
            raise ConfigError(
                "stimulus_sets: conceptual targets are words and have no picture; give a folder of "
                "pictures as concept_pictures, or leave conceptual out"
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
    session = open_session(root, config.betas, "betas_nsdimagery", config)
    root, trials_in_file = session.paths.root, session.file.trials
    if trials_in_file % PARTS:
        raise DataError(
            f"{session.file.path} has {trials_in_file} betas, not {PARTS} for every trial of "
            "a run (720 = 15 x 48: three runs of vision, six of imagery, three of attention twice)"
        )
    folder = root / "nsddata/experiments/nsdimagery"
    lists = {s: folder / f"{SETS[s]}_pair_list.mat" for s in config.sets()}
    targets = pd.concat([read_targets(path, s) for s, path in lists.items()], ignore_index=True)
    pictures = _find_targets(folder / "rawtargetimages", targets, config)
    every = runs_of(config.task, trials_in_file // PARTS)
    runs = {run: _table_of(root, config.subject, run) for run in every if set_of(run.name) in lists}
    trials = complete_trials(
        pd.concat([run_trials(r, p, targets) for r, p in runs.items()]).assign(
            session=SESSION, task=config.task
        )
    )
    design = folder / "designmatrixGLMsingle.mat"
    designs = (design,) if design.is_file() else ()
    if designs:
        check_design(design, list(runs), trials)

    def read_pictures(stimulus_ids: Sequence[str]) -> Iterator[NDArray[np.uint8]]:
        for stimulus_id in stimulus_ids:
            if stimulus_id not in pictures:
                raise DataError(f"NSD-imagery has no target {stimulus_id!r}")
            yield read_picture(pictures[stimulus_id])

    return session.recording(
        source="NSD-imagery (Kneeland et al. 2025)",
        trials=trials,
        stimuli=targets,
        read_pictures=read_pictures,
        inputs=(*runs.values(), *lists.values(), *designs, *pictures.values()),
        info={**_left_out(config, every), "order_checked_with_design_matrix": bool(designs)},
    )


def _left_out(config: ImageryConfig, runs: Sequence[Run]) -> dict[str, Any]:
    """Return what was chosen and how many trials of the task were not."""
    out = {r.name: len(r.rows) for r in runs if set_of(r.name) not in config.sets()}
    facts: dict[str, Any] = {
        "task": config.task,
        "stimulus_sets": config.sets(),
        "trials_left_out": out,
    }
    if "conceptual" in config.sets():
        facts["concept_pictures"] = "chosen by whoever prepared this; nobody saw them"
    return facts


def _find_targets(folder: Path, targets: pd.DataFrame, config: ImageryConfig) -> dict[str, Path]:
    """Return the picture of every target by its stimulus id."""
    twice = targets["stimulus_id"].duplicated()
    if twice.any():
        letter = targets["cue"][twice].iloc[0]
        raise DataError(f"the lists of targets in {folder.parent} use letter {letter} twice")
    files = {}
    for stimulus_id, name, cue, target in targets.itertuples(index=False):
        if name == "conceptual" and config.concept_pictures is not None:
            files[stimulus_id] = _concept_picture(config.concept_pictures, Path(target).stem, cue)
        else:
            path = folder / f"set{SETS[name]}" / target
            files[stimulus_id] = require_file(path, f"picture of target {cue}")
    return files


def _concept_picture(folder: Path, target: str, cue: str) -> Path:
    names = {path.stem for path in folder.rglob("*")}
    name = cue if cue in names and target not in names else target
    return find_pictures(folder, [name])[name]


def _table_of(root: Path, subject: int, run: Run) -> Path:
    name = f"nsdimagery_subj{subject:02d}_{run.name}.tsv"
    return require_file(root / "nsddata/bdata/nsdimagery" / name, f"trials of run {run.name}")
