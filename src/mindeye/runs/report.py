"""The stage that makes the page of a run, and the page of anybody's scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mindeye.config.fingerprints import config_dict
from mindeye.config.settings import run_config
from mindeye.data.subject_checks import describe
from mindeye.errors import DataError
from mindeye.files import MetricsLog, read_json, versions
from mindeye.metrics.points import Finding, Point, read_controls
from mindeye.metrics.systems import SYSTEMS
from mindeye.metrics.table import Row, rows_of
from mindeye.reporting.build import build_report
from mindeye.reporting.data import ReportData, SubjectFacts
from mindeye.runs.workspace import Workspace, open_run

FEW_STIMULI = 50
"""Test stimuli below which a warning says that intervals are wide; our own choice."""


def report(source: Workspace | Path | str | pd.DataFrame, path: Path | str | None = None) -> Path:
    """Write the page of a run, or of scores, as one self-contained HTML file.

    Parameters
    ----------
    source
        Folder of a run that was scored, or the opened run; folder that `mindeye evaluate` wrote;
        or the table that `mindeye.evaluate` returned.
    path
        HTML file to write, or a folder to put ``report.html`` in; by default the folder of the run
        or of the scores.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    DataError
        If the folder was not scored, or a table is given without `path`.

    Examples
    --------
    >>> import tempfile
    >>> table = pd.DataFrame({"metric": ["SSIM"], "value": [0.4], "n": [20]})
    >>> report(table, tempfile.mkdtemp()).name
    'report.html'
    """
    if isinstance(source, pd.DataFrame):
        if path is None:
            raise DataError("a page of scores needs a path to write it to")
        return build_report(ReportData("Scores", rows=rows_of(source)), Path(path))
    if not isinstance(source, Workspace):
        folder = Path(source)
        if not (folder / "run.json").is_file():
            return build_report(scores_data(folder), Path(path or folder))
        source = open_run(folder, run_config)
    return build_report(report_data(source), Path(path or source.folder))


def write_report(work: Workspace) -> None:
    """Write `report.html` from what the earlier stages left in the run."""
    report(work)


def scores_data(folder: Path) -> ReportData:
    """Collect what the page shows of scores without a run.

    Parameters
    ----------
    folder
        Folder that `mindeye evaluate` wrote.
    """
    table = _table(folder)
    return ReportData(
        title=f"Scores: {folder.resolve().name}",
        rows=[Row(**row) for row in table["rows"]],
        missing=table["missing"],
        configuration={k: v for k, v in table.items() if isinstance(v, str | int | float)},
        versions=table.get("provenance", {}).get("versions", {}),
        level=table.get("level", 0.95),
    )


def report_data(work: Workspace) -> ReportData:
    """Collect what the page shows of a run; pictures of the reconstructed stimuli only."""
    folder = work.folder
    table = _table(folder)
    points, findings = controls(folder / "controls.json")
    stages = [p for p in sorted(folder.iterdir()) if (p / "stage.json").is_file()]
    return ReportData(
        title=f"MindEye: {work.subject.info.get('subject', work.subject.path.name)}",
        subject=_facts(work),
        seen=work.subject.pictures_of(work.drawn_ids),
        ranks=_retrieved(work, "ranks"),
        pictures={
            name: np.load(path)
            for name, system in SYSTEMS.items()
            for path in [folder / "reconstruct" / f"{name}.npy"]
            if system.on_page and path.is_file()
        },
        retrieved=_retrieved(work, "matches"),
        gallery=work.subject.pictures_of(work.test_ids),
        truth=np.arange(len(work.drawn_ids)),
        rows=[Row(**row) for row in table["rows"]],
        missing=table["missing"],
        points=points,
        findings=findings,
        curves=_curves(work),
        configuration=config_dict(work.config),
        versions=versions(),
        timings={p.name: read_json(p / "stage.json")["seconds"] for p in stages},
        seeds={"run": work.config.seed},
        problems=_problems(work),
        stimulus_ids=work.drawn_ids,
        level=work.config.evaluate.level,
    )


def _table(folder: Path) -> dict[str, Any]:
    path = folder / "metrics.json"
    if not path.is_file():
        raise DataError(f"{path} is not there; score the folder with `mindeye evaluate` first")
    content: dict[str, Any] = read_json(path)
    return content


def _facts(work: Workspace) -> SubjectFacts:
    facts = describe(work.subject)
    extra = ("space", "units", "picture size", "repeats", "mean noise ceiling")
    return SubjectFacts(
        name=facts["subject"],
        **{
            name: facts[name]
            for name in (
                "source", "simulated", "voxels", "stimuli", "trials", "sessions", "licence"
            )
        },
        extra={name: str(facts[name]) for name in extra if facts[name] is not None},
    )  # fmt: skip


def _problems(work: Workspace) -> list[str]:
    problems = [work.null] if work.null else []
    reconstructed, test = len(work.drawn_ids), len(work.test_ids)
    if reconstructed < test:
        problems.append(
            f"Only the first {reconstructed} of {test} test stimuli were reconstructed."
        )
    if test < FEW_STIMULI:
        problems.append(f"Only {test} test stimuli: the intervals are wide, so read them first.")
    for name in ("high", "low"):
        pipeline = getattr(work.config, name)
        trained = getattr(work.config, f"{name}_enabled") and not pipeline.weights
        if trained and pipeline.optim.validate_on == "test":
            problems.append(f"Curves of {name} are measured on the test set, as published.")
    return problems


def _curves(work: Workspace) -> list[dict[str, Any]]:
    return [
        {**row, "name": f"{stage}/{row['name']}"}
        for stage in ("high", "low")
        for row in MetricsLog.rows(work.folder / stage / "log.jsonl")
    ]


def _retrieved(work: Workspace, name: str) -> NDArray[Any] | None:
    """Open what the brain embedding retrieved for the reconstructed stimuli; None without one."""
    path = work.folder / "retrieve" / f"brain_to_image_{name}.npy"
    return np.load(path)[: len(work.drawn_ids)] if path.is_file() else None


def controls(path: Path) -> tuple[list[Point], list[Finding]]:
    """Read the results of the controls; nothing where a run was scored without them.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    if not path.is_file():
        return [], []
    try:
        return read_controls(path)
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path} holds no points and findings of controls ({reason}); delete it and score the "
            "run again"
        ) from error
