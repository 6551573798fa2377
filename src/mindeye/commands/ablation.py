"""Ablations: every row of a plan as an ordinary run, and what each run scored, in one table.

::

    OUT/rows/NAME/          the run of a row
    OUT/ablation.json       the table; .csv and .md hold the same
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mindeye.commands.ablation_plan import AblationPlan, AblationRow
from mindeye.commands.ablation_table import write_tables
from mindeye.commands.ablation_tests import DIRECTIONS, RowResult
from mindeye.config import RunConfig
from mindeye.config.fingerprints import config_dict, differing_fields, filled
from mindeye.errors import ConfigError, DataError
from mindeye.files import read_json, stage_done
from mindeye.metrics.scored_runs import read_scored_run
from mindeye.metrics.systems import preferred_system, system
from mindeye.metrics.table import Row
from mindeye.progress import track
from mindeye.runs.pipeline import run_all, stage_keys
from mindeye.runs.workspace import Workspace, start_run

LAST = "evaluate"
"""Last stage of a row. It writes beside its folder, so it is not shared; all before it are."""


def run_ablation(plan: AblationPlan, subject_dir: Path, out: Path) -> Path:
    """Do every row of a plan that is not done yet and write the table.

    Parameters
    ----------
    plan
        Rows with their configurations.
    subject_dir
        A prepared subject.
    out
        Folder of the ablation; a second call with the same plan goes on where the first stopped.

    Returns
    -------
    Path
        The table as Markdown.

    Raises
    ------
    ConfigError
        If a row in `out` was made under another configuration.
    DataError
        If `out` holds something else, or the subject is not sound.
    """
    folder = out / "rows"
    _check_folder(plan, subject_dir, out)
    left = [r for r in plan.rows if not (folder / r.name / LAST / "stage.json").is_file()]
    work = None
    for row in track(left, "ablation", done=len(plan.rows) - len(left)):
        work = _run_row(row, subject_dir, folder)
    results = []
    for row in plan.rows:
        # Opened one by one: an open run holds its models in memory.
        work = _run_row(row, subject_dir, folder)
        results.append(_result(work, row))
    if work is not None and work.processes.is_first:
        write_tables(plan, results, work.subject, out)
    return out / "ablation.md"


def _check_folder(plan: AblationPlan, subject_dir: Path, out: Path) -> None:
    """Refuse a folder of something else and rows of another plan, before anything is trained."""
    folder = out / "rows"
    strange = out.is_dir() and any(p for p in out.iterdir() if p.resolve() != subject_dir.resolve())
    if strange and not folder.is_dir():
        raise DataError(f"{out} is not empty and not an ablation; give another --out")
    for row in plan.rows:
        path = folder / row.name / "run.json"
        if not path.is_file():
            continue
        known = filled(read_json(path)["config"], config_dict(RunConfig()))
        different = differing_fields(known, config_dict(row.config))
        if different:
            raise ConfigError(
                f"{path.parent} was run under another configuration (it differs in "
                f"{', '.join(different[:4])}); rename the row or give another --out"
            )


def _run_row(row: AblationRow, subject_dir: Path, folder: Path) -> Workspace:
    work = start_run(row.config, subject_dir, folder / row.name)
    if work.processes.is_first:
        share_stages(work, sorted(p for p in folder.iterdir() if p.name != row.name))
    work.processes.wait()
    run_all(work, until=LAST)
    return work


def share_stages(work: Workspace, others: list[Path]) -> list[str]:
    """Take stages from other runs that did them under the same key, by hard links.

    Every file of a run is replaced as a whole, never written into, so a file that two runs share
    stays what it was in either of them.

    Parameters
    ----------
    work
        The run that needs them. A stage it has begun itself is left to it.
    others
        Folders of other runs.

    Returns
    -------
    list of str
        Stages that were taken.
    """
    taken = []
    for name, key in stage_keys(work).items():
        if name == LAST:
            break
        target = work.folder / name
        if target.exists():
            continue
        for other in others:
            if stage_done(other / name, key):
                _link_stage(other / name, target)
                taken.append(name)
                break
    return taken


def _link_stage(source: Path, target: Path) -> None:
    """Link a stage's files under a name of their own, then move the whole folder into place."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for path in sorted(p for p in source.rglob("*") if p.is_file() and p.name != "stage.json"):
        copy = part / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, copy)
        except OSError:  # another disk, or one without links
            shutil.copy2(path, copy)
    part.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source / "stage.json", part / "stage.json")
    os.rename(part, target)


def _result(work: Workspace, row: AblationRow) -> RowResult:
    """Collect the scores of a finished run, over all test stimuli and of each."""
    run = read_scored_run(work.folder)
    scores: dict[str, Row] = {}
    hits: dict[str, NDArray[np.float64]] = {}
    for direction in DIRECTIONS:
        score = run.rows.get(("mindeye", f"{direction}_top1"))
        if score is not None:
            scores[f"{direction}_top1"] = score
            ranks = np.load(work.folder / "retrieve" / f"{direction}_ranks.npy")
            hits[direction] = (ranks <= 0).astype(np.float64)
    drew = [s for s, metric in run.rows if metric == "PixCorr" and system(s).noise == 1]
    pictures = preferred_system(drew)
    if not pictures:
        return RowResult(row, scores, "", hits)
    named = {"PixCorr": "PixCorr", "SSIM": "SSIM", "two_way": f"two_way_{work.encoder.id}"}
    scores |= {name: run.rows[pictures, metric] for name, metric in named.items()}
    drawn = {name: run.scores[pictures, metric] for name, metric in named.items()}
    return RowResult(row, scores, pictures, hits, drawn)
