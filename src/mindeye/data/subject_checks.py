"""Whether a prepared subject is sound, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mindeye import __version__
from mindeye.data.preprocess import betas_problems
from mindeye.data.splits import SPLITS, check_disjoint
from mindeye.data.subject import Subject, load_subject
from mindeye.data.trials import COLUMNS
from mindeye.errors import DataError
from mindeye.files import sha256
from mindeye.progress import track

GUARDS = ("leaks", "scaling", "broken voxels", "noise ceiling", "alignment")
"""Parts of a preparation's record that end in a verdict."""


def validate(subject: Subject) -> list[str]:
    """Return every inconsistency of a subject's content in words; empty if there is none."""
    return validate_tables(subject) + betas_problems(subject.betas)


def betas_checked(subject: Subject) -> bool:
    """Return whether this version found the betas sound when it wrote them, unchanged since."""
    record = subject.path / "subject.json"
    return (
        bool(subject.info.get("betas_checked"))
        and subject.info.get("versions", {}).get("mindeye") == __version__
        # The record is written last: betas that are younger were changed, or copied.
        and (subject.path / "betas.npy").stat().st_mtime_ns <= record.stat().st_mtime_ns
    )


def validate_tables(subject: Subject) -> list[str]:
    """Return every inconsistency of a subject's tables in words, without reading its betas."""
    problems = []
    missing = [c for c in COLUMNS if c not in subject.trials.columns]
    if missing:
        problems.append(f"trials.csv lacks the columns {missing}")
    unknown = sorted(set(subject.trials["stimulus_id"]) - set(subject.stimuli["stimulus_id"]))
    if unknown:
        problems.append(f"stimulus {unknown[0]!r} has trials but no picture ({len(unknown)} such)")
    if len(subject.pictures) != len(subject.stimuli):
        problems.append(f"{len(subject.pictures)} pictures for {len(subject.stimuli)} stimuli")
    doubled = subject.stimuli["stimulus_id"].duplicated()
    if doubled.any():
        problems.append(
            f"stimulus {subject.stimuli['stimulus_id'][doubled].iloc[0]!r} occurs twice"
        )
    try:
        check_disjoint(subject.splits)
    except DataError as error:
        problems.append(str(error))
    for name in SPLITS:
        unseen = [s for s in subject.splits[name] if s not in subject.rows_by_stimulus]
        if unseen:
            problems.append(f"stimulus {unseen[0]!r} of {name} has no trial ({len(unseen)} such)")
    return problems


def check_subject(folder: str | Path) -> Subject:
    """Verify a prepared subject: checksums of every file, then its content.

    Parameters
    ----------
    folder
        Folder of the subject, as `mindeye prepare` writes it.

    Raises
    ------
    DataError
        Naming the first file that changed or the first inconsistency.
    """
    subject = load_subject(folder)
    for name, expected in track(subject.info["sha256"].items(), "check"):
        path = (subject.path / name).resolve()
        if not path.is_relative_to(subject.path.resolve()):
            raise DataError(f"subject.json names a file outside the subject: {name!r}")
        if not path.is_file():
            raise DataError(f"{path} is missing; prepare the subject again")
        if sha256(path) != expected:
            raise DataError(f"{path} has changed since it was prepared; prepare the subject again")
    problems = validate(subject)
    if problems:
        raise DataError(f"{subject.path}: {problems[0]}")
    return subject


def describe(subject: Subject) -> dict[str, Any]:
    """Return the facts of a subject that `mindeye info` and the report show."""
    info = subject.info
    ceilings = subject.voxels.get("noise_ceiling")
    return {
        "subject": info.get("subject", subject.path.name),
        "source": info.get("source", "unknown"),
        "simulated": bool(info.get("simulated", False)),
        "licence": info.get("licence", "not stated"),
        "space": info.get("space", "not stated"),
        "units": info.get("units", "not stated"),
        "trials": int(subject.betas.shape[0]),
        "voxels": int(subject.betas.shape[1]),
        "sessions": int(subject.trials["session"].nunique()),
        "stimuli": len(subject.stimuli),
        "picture size": "{} x {}".format(*subject.pictures.shape[1:3]),
        **{f"{name} stimuli": len(ids) for name, ids in subject.splits.items()},
        "repeats": int(subject.trials["stimulus_id"].value_counts().max()),
        "mean noise ceiling": None if ceilings is None else round(float(ceilings.mean()), 4),
        **_preparation_facts(info.get("preparation", {})),
    }


def _preparation_facts(preparation: dict[str, Any]) -> dict[str, str]:
    """Return what splits and guards said when the subject was prepared."""
    chosen = preparation.get("chosen", {})
    guards = {name: preparation[name] for name in GUARDS if name in preparation}
    lines = {name: g["verdict"] if isinstance(g, dict) else str(g) for name, g in guards.items()}
    return {**{name: str(chosen[name]) for name in chosen}, **lines}
