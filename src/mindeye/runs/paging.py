"""The stage that makes the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindeye.config.fingerprints import config_dict
from mindeye.data.subject_checks import describe
from mindeye.errors import DataError
from mindeye.files import MetricsLog, read_json, versions
from mindeye.metrics.points import Finding, Point, read_controls
from mindeye.metrics.systems import SYSTEMS
from mindeye.metrics.table import read_rows
from mindeye.reporting.build import build_report
from mindeye.reporting.data import ReportData, SubjectFacts
from mindeye.runs.workspace import Workspace


def report(work: Workspace) -> None:
    """Write `report.html` from what the earlier stages left in the run."""
    build_report(report_data(work), work.folder / "report.html")


def _facts(work: Workspace) -> SubjectFacts:
    facts = describe(work.subject)
    extra = ("space", "units", "picture size", "repeats", "mean noise ceiling")
    return SubjectFacts(
        name=facts["subject"],
        source=facts["source"],
        simulated=facts["simulated"],
        voxels=facts["voxels"],
        stimuli=facts["stimuli"],
        trials=facts["trials"],
        sessions=facts["sessions"],
        licence=facts["licence"],
        extra={name: str(facts[name]) for name in extra if facts[name] is not None},
    )


def _problems(work: Workspace) -> list[str]:
    problems = [work.null] if work.null else []
    drawn, test = len(work.drawn_ids), len(work.test_ids)
    if drawn < test:
        problems.append(f"Pictures were drawn of the first {drawn} of {test} test stimuli only.")
    if test < 50:
        problems.append(f"Only {test} test stimuli: intervals are wide, read them first.")
    for name in ("high", "low"):
        pipeline = getattr(work.config, name)
        trained = getattr(work.config, f"{name}_enabled") and not pipeline.weights
        if trained and pipeline.optim.validate_on == "test":
            problems.append(f"Curves of {name} are measured on the test set, as published.")
    return problems


def _curves(work: Workspace) -> list[dict[str, Any]]:
    curves = []
    for stage in ("high", "low"):
        for row in MetricsLog.rows(work.folder / stage / "log.jsonl"):
            side, name = row["name"].split("/")
            curves.append({**row, "name": f"{stage}/{side}/{name}"})
    return curves


def _retrieved(work: Workspace, name: str) -> NDArray[Any] | None:
    """Open what the brain embedding retrieved for the drawn stimuli; None without one."""
    path = work.folder / "retrieve" / f"brain_to_image_{name}.npy"
    return np.load(path)[: len(work.drawn_ids)] if path.is_file() else None


def controls(path: Path) -> tuple[list[Point], list[Finding]]:
    """Read what the controls said; nothing where a run was scored without them."""
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


def report_data(work: Workspace) -> ReportData:
    """Collect what the page shows; pictures of the drawn stimuli only."""
    folder = work.folder
    drawn = len(work.drawn_ids)
    pictures = {
        name: np.load(folder / "reconstruct" / f"{name}.npy")
        for name, one in SYSTEMS.items()
        if one.on_page and (folder / "reconstruct" / f"{name}.npy").is_file()
    }
    stages = [p for p in sorted(folder.iterdir()) if (p / "stage.json").is_file()]
    table = read_json(folder / "metrics.json")
    points, findings = controls(folder / "controls.json")
    return ReportData(
        title=f"MindEye: {work.subject.info.get('subject', work.subject.path.name)}",
        subject=_facts(work),
        seen=work.subject.pictures_of(work.drawn_ids),
        ranks=_retrieved(work, "ranks"),
        pictures=pictures,
        retrieved=_retrieved(work, "matches"),
        gallery=work.subject.pictures_of(work.test_ids),
        truth=np.arange(drawn),
        rows=read_rows(folder / "metrics.json"),
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
